"""What follows from what SPF, DKIM, ARC and DMARC found out (RFC 7489 §6.7, RFC 7208 §8.4, RFC 7372).

A domain's policy is followed as far as the configuration says for it: "enforce" refuses what the domain wants
refused, "junk" puts that into the mailbox for junk instead, "record" does nothing. What the domain wants
quarantined is junk in the first two. "junk" is the usual way, for mail that a list or an alias has sent on
fails through no fault of its author, and RFC 7489's successor forbids to refuse it for the policy alone.

A chain of ARC seals by hosts that are trusted here excuses such mail, if the oldest of them that can be
believed saw it pass (RFC 8617 §9.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twisted_mta.message.headers import without_comments
from twisted_mta.message.shown import shown
from twisted_mta.message.status import MailError
from twisted_mta.trust.arc.chain import ArcSet
from twisted_mta.trust.check import Incoming, Verdict
from twisted_mta.trust.dmarc.evaluate import DmarcResult
from twisted_mta.trust.modes import Mode, SpfMode
from twisted_mta.trust.results import without_quotes


@dataclass(frozen=True, slots=True)
class TrustRules:
    """`service` is our name in Authentication-Results. `dmarc`: how far policies are followed; `domains`:
    otherwise for an author's domain, or "*.domain" for all below one. `spf`: what becomes of mail that its
    sender's domain disowns and that nothing else speaks for. `sealers`: domains whose ARC seals are believed.
    `dns`: seconds that the DNS has once the content is complete. From `junk_score` on a message is junk, from
    `reject_score` on it is refused, 0 for never."""

    service: str
    dmarc: Mode = "junk"
    domains: Mapping[str, Mode] = field(default_factory=dict)
    spf: SpfMode = "junk"
    sealers: frozenset[str] = frozenset()
    dns: float = 10.0
    junk_score: float = 6.0
    reject_score: float = 0.0

    def mode(self, author: str) -> Mode:
        """For this author's domain."""
        if author in self.domains:
            return self.domains[author]
        above = author.partition(".")[2]
        while above:
            if f"*.{above}" in self.domains:
                return self.domains[f"*.{above}"]
            above = above.partition(".")[2]
        return self.dmarc


@dataclass(frozen=True, slots=True)
class Conclusion:
    """`disposition` is what the author's domain is told became of the message, none, quarantine or reject, as
    far as its policy goes; `override` why that is not what it asked for, in the words of RFC 7489 §6.2:
    "", "trusted_forwarder" or "local_policy"; `comment` explains that."""

    verdict: Verdict
    disposition: str = "none"
    override: str = ""
    comment: str = ""


def conclude(message: Incoming, rules: TrustRules, chain: tuple[ArcSet, ...] = ()) -> Conclusion:
    """Of a message whose results are all there. `chain`: its ARC sets."""
    assert message.spf is not None and message.dmarc is not None and message.arc is not None
    dmarc = message.dmarc
    mode = rules.mode(dmarc.author)
    sealer = _excusing_sealer(message, rules, chain)
    if dmarc.result == "permerror" or dmarc.deceptive:
        return _misleading(dmarc, mode)
    if dmarc.result in ("fail", "temperror") and dmarc.policy != "none":
        if sealer:
            why = f"{sealer} saw it pass, and is trusted"
            return Conclusion(Verdict(why=why), override="trusted_forwarder", comment=why)
        if mode == "record":
            return Conclusion(Verdict(), override="local_policy", comment="policies are only recorded")
        if dmarc.result == "temperror":
            return _undecided(dmarc)
        return _failed(message, dmarc, mode)
    if dmarc.result != "pass" and not sealer:
        return Conclusion(_disowned(message, rules))
    return Conclusion(Verdict())


def _misleading(dmarc: DmarcResult, mode: Mode) -> Conclusion:
    """It leaves open who is the author, or wants to be taken for another's."""
    why = dmarc.reason if dmarc.deceptive else f"the message has no one author: {dmarc.reason}"
    if mode == "enforce":
        return Conclusion(Verdict("reject", MailError(554, "5.6.0", f"Refused: {why}"), why))
    return Conclusion(Verdict("junk" if mode == "junk" else "accept", why=why))


def _undecided(dmarc: DmarcResult) -> Conclusion:
    why = f"whether {dmarc.author} sent it cannot be found out now"
    error = MailError(451, "4.7.26", f"Try again later: {why}; the DNS did not answer")
    return Conclusion(Verdict("defer", error, why))


def _failed(message: Incoming, dmarc: DmarcResult, mode: Mode) -> Conclusion:
    author = dmarc.author
    why = f"nothing proves that {author} sent it, and that domain wants such mail {_WANTED[dmarc.policy]}"
    if dmarc.policy == "quarantine" or mode == "junk":
        softened = dmarc.policy == "reject"
        return Conclusion(
            Verdict("junk", why=why),
            "quarantine",
            "local_policy" if softened else "",
            "junk instead of a refusal" if softened else "",
        )
    text = (
        f"Refused: {why} (DMARC). {_spf_words(message)}; {_dkim_words(message)}. "
        f"Send it through a server of {author}; its administrator can sign it with DKIM as {author}"
    )
    return Conclusion(Verdict("reject", MailError(550, "5.7.26", text), why), "reject")


_WANTED = {"reject": "refused", "quarantine": "kept apart"}


def _spf_words(message: Incoming) -> str:
    assert message.spf is not None
    about = message.spf.domain or message.helo
    return f"SPF of {about[:80]} says {message.spf.result} for {message.address}"


def _dkim_words(message: Incoming) -> str:
    if not message.dkim:
        return "it has no DKIM signature"
    right = [found.domain for found in message.dkim if found.result == "pass"]
    if right:
        return f"DKIM is right for {right[0][:80]} only"
    first = message.dkim[0]
    return f"DKIM of {first.domain[:80] or 'it'} is wrong: {first.reason[:80]}"


def _disowned(message: Incoming, rules: TrustRules) -> Verdict:
    """SPF alone: its domain says that the client must not send for it, and no signature is right."""
    spf = message.spf
    assert spf is not None
    if spf.result != "fail" or rules.spf == "record" or any(one.result == "pass" for one in message.dkim):
        return Verdict()
    why = f"{spf.domain} says that {message.address} must not send for it"
    if rules.spf == "junk":
        return Verdict("junk", why=why)
    told = f". It explains: {spf.explanation[:200]}" if spf.explanation else ""
    return Verdict("reject", MailError(550, "5.7.23", f"Refused: {why} (SPF){told}"), why)


def _excusing_sealer(message: Incoming, rules: TrustRules, chain: tuple[ArcSet, ...]) -> str:
    """The oldest host in an unbroken row of trusted ones, from the newest on, that saw DMARC pass for this
    author; "" for none."""
    assert message.arc is not None and message.dmarc is not None
    if message.arc.result != "pass":
        return ""
    found = ""
    for one in reversed(chain):
        if not any(
            one.seal.domain == domain or one.seal.domain.endswith(f".{domain}") for domain in rules.sealers
        ):
            break
        if _saw_pass(one.findings, message.dmarc.author):
            found = one.seal.domain
    return found


def _saw_pass(findings: str, author: str) -> bool:
    """Whether Authentication-Results tell of a DMARC pass for this domain."""
    text = without_comments(findings.encode("utf-8", "replace")).decode("utf-8", "replace")
    for part in without_quotes(text).split(";")[1:]:
        words = part.split()
        if words[:1] == ["dmarc=pass"] and f"header.from={author}" in map(shown, words):
            return True
    return False
