"""The judgement about a message that strangers bring: who is asked what, and in which order.

    MAIL     SPF begins in the background: for the reverse-path, or for the host's name when that is null
    RCPT     the checks for any recipient (traps), then, if the mailbox exists, those for recipients
             (greylisting, lists in the DNS, allow and deny lists), side by side; they may refuse it
    content  DKIM and ARC hash it as it comes in, so that it is read once
    its end  DKIM, ARC and SPF together, then DMARC, which needs them, then the checks of the content
             (filters), side by side; last, `policy.py` and all verdicts make what becomes of the message

What has no answer in time is told so: "temperror" for what the DNS should have said, `Check.otherwise` for a
check. Messages that are judged at the same time are counted; one too many is refused for a while.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from twisted_mta.interfaces import IResolver
from twisted_mta.message.address import Address, a_labels
from twisted_mta.message.content import Content
from twisted_mta.message.status import MailError
from twisted_mta.trust import findings
from twisted_mta.trust.arc.validate import ArcResult, Validation
from twisted_mta.trust.check import Check, Incoming, Verdict
from twisted_mta.trust.dkim.verify import DkimResult, Verification
from twisted_mta.trust.dmarc.author import read_author
from twisted_mta.trust.dmarc.evaluate import DmarcResult, evaluate
from twisted_mta.trust.finding import Finding
from twisted_mta.trust.policy import Conclusion, TrustRules, conclude
from twisted_mta.trust.question import Question
from twisted_mta.trust.results import without_claimed
from twisted_mta.trust.spf.check import SpfResult, check_host

MOST_SPF = 500  # that are asked about at the same time, from MAIL on; of others the DNS does not say
MOST_JUDGED = 200  # messages whose content is complete, at the same time
MOST_FIELDS = 2000  # in a header: each is looked at for each signature
SPF_SECONDS = 20.0  # RFC 7208 §4.6.4, while the dialog goes on
DMARC_SECONDS = 3.0  # at least: who makes others slow must not be rid of a policy
MOST_TOLD = 50  # sentences in the journey
LONGEST_REASON = 400  # characters of why it is junk
KEEPING = 10.0  # seconds to put what is refused by

_SILENCE = "the DNS did not answer in time"
_FIELD = re.compile(rb"\n[^ \t\r\n]")

T = TypeVar("T")
Hear = Callable[[Incoming, Conclusion], None]
Keep = Callable[[Incoming, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Judged:
    """What becomes of a message. `refusal`: None when it is taken. `junk`: why it goes to the mailbox for
    junk, "" when it does not. `told`: each finding and each check's verdict in plain words. `fields`: those
    that checks want in front of it."""

    findings: tuple[Finding, ...]
    refusal: MailError | None
    junk: str
    told: tuple[str, ...]
    fields: bytes = b""


class Judge:
    """One for the server. `recipient` and `content` are the checks of these stages, `any_recipient` those
    that are asked before it is known whether the mailbox exists. `hear` is told of each message that is taken
    or refused for good, in the reactor; `keep` may put a message by before it is refused for good."""

    def __init__(
        self,
        rules: TrustRules,
        *,
        resolver: IResolver,
        reactor: IReactorTime,
        any_recipient: Sequence[Check] = (),
        recipient: Sequence[Check] = (),
        content: Sequence[Check] = (),
        hear: Hear | None = None,
        keep: Keep | None = None,
    ) -> None:
        self.rules = rules
        self.resolver = resolver
        self.reactor = reactor
        self.any_recipient = any_recipient
        self.recipient = recipient
        self.content = content
        self.hear = hear
        self.keep = keep
        self.spf = 0  # questions, now
        self.judged = 0  # messages, now


class Judgement:
    """About one message, from MAIL on. `message` is what is known of it; whoever learns more about the client
    says so there. `told_at_rcpt`: the verdicts about the recipient that was asked about last."""

    log = Logger(namespace="twisted_mta.trust")

    def __init__(self, judge: Judge, message: Incoming) -> None:
        self.message = message
        self._judge = judge
        self._verdicts: dict[tuple[str, str], Verdict] = {}  # at RCPT, by recipient and check
        self._told: list[str] = []
        self.told_at_rcpt: list[str] = []
        self._verification: Verification | None = None
        self._validation: Validation | None = None
        self._spf = self._ask(self._check_spf(), SpfResult("temperror", "", problem=_SILENCE), SPF_SECONDS)
        message.asked_spf = self._spf

    def forget(self) -> None:
        """Nobody wants to know any more. Idempotent."""
        self._spf.close()

    # RCPT

    async def any_recipient(self, forward_path: Address) -> None:
        """Before it is known whether there is such a mailbox. Raises MailError."""
        self.told_at_rcpt = []
        await self._recipient(self._judge.any_recipient, forward_path)

    async def recipient(self, forward_path: Address) -> None:
        """May it be sent to this mailbox, which exists? Raises MailError."""
        await self._recipient(self._judge.recipient, forward_path)

    async def _recipient(self, checks: Sequence[Check], forward_path: Address) -> None:
        if not checks:
            return
        before = len(self._told)
        verdicts = await self._consult(checks, self.message.to(forward_path))
        self.told_at_rcpt += self._told[before:]
        key = forward_path.key
        for check, verdict in zip(checks, verdicts, strict=True):
            self._verdicts[key, check.name] = verdict
        error = _refusal(verdicts)
        if error is not None and not _is_postmaster(forward_path):
            raise error

    # The content

    def header(self, block: bytes) -> bytes:
        """The header block has come: how it is to be kept, without what claims to be our finding. Raises
        MailError (552) when it has too many fields."""
        if len(_FIELD.findall(block)) > MOST_FIELDS:
            raise MailError(552, "5.3.4", f"Message header has more than {MOST_FIELDS} fields")
        self.message.header, self.message.author = block, read_author(block)
        self._verification = Verification(block, first=self.message.author.domain)
        self._validation = Validation(block)
        return without_claimed(block, self._judge.rules.service)

    def body(self, piece: bytes) -> None:
        """The next octets behind the header."""
        assert self._verification is not None and self._validation is not None
        self._verification.feed(piece)
        self._validation.feed(piece)

    async def end(self, content: Callable[[], Awaitable[Content]]) -> Judged:
        """All has come: what becomes of the message. `content` gives it whole, should somebody want it.
        Raises MailError (451) when too many are judged."""
        judge = self._judge
        if judge.judged >= MOST_JUDGED:
            raise MailError(451, "4.3.2", "Too many messages are being judged, try again later")
        judge.judged += 1
        try:
            return await self._end(content)
        finally:
            judge.judged -= 1

    async def _end(self, content: Callable[[], Awaitable[Content]]) -> Judged:
        judge, message = self._judge, self.message
        found = await self._methods()
        at_rcpt = self._said_at_rcpt()
        message.findings = (*found, *(one for verdict in at_rcpt for one in verdict.findings))
        self._told[:0] = map(findings.in_words, found)
        assert self._validation is not None
        concluded = conclude(message, judge.rules, tuple(self._validation.sets))
        assert message.dmarc is not None
        message.disowned = concluded.verdict.action != "accept" and message.dmarc.policy != "none"
        verdicts: list[Verdict] = []
        if judge.content:
            message.content = await content()
            verdicts = await self._consult(judge.content, message)
        together = [concluded.verdict, *at_rcpt, *verdicts]
        score = sum([verdict.score for verdict in together])
        refusal, junk = self._sum(together, score)
        if refusal is not None and refusal.permanent and judge.keep is not None:
            message.content = message.content or await content()
            await self._ask(_quietly(judge.keep(message, refusal.text)), None, KEEPING).known()
        if judge.hear is not None and (refusal is None or refusal.permanent):  # it will come again
            judge.hear(message, _as_done(concluded, refusal, junk))
        found = [*message.findings, *(one for verdict in verdicts for one in verdict.findings)]
        if junk or score:
            points = {"policy.score": f"{score:.1f}", "policy.limit": f"{judge.rules.junk_score:.1f}"}
            found.append(Finding("x-junk", "yes" if junk else "no", points, junk))
        return Judged(
            tuple(found),
            refusal,
            junk,
            tuple(self._told),
            b"".join(verdict.fields for verdict in verdicts),
        )

    def _said_at_rcpt(self) -> list[Verdict]:
        """What each check has to say of the message: from what it said of the recipients that were taken."""
        accepted = {forward_path.key for forward_path in self.message.forward_paths}
        by_check: dict[str, list[Verdict]] = {}
        for (recipient, name), verdict in self._verdicts.items():
            if recipient in accepted:
                by_check.setdefault(name, []).append(verdict)
        return [_strongest(said) for said in by_check.values()]

    async def _methods(self) -> list[Finding]:
        """SPF, DKIM and ARC side by side, in the time that the DNS has; then DMARC."""
        judge, message = self._judge, self.message
        assert self._verification is not None and self._validation is not None
        resolver, seconds = judge.resolver, judge.reactor.seconds
        over = seconds() + judge.rules.dns
        self._spf.hurry(judge.rules.dns)
        silent = [DkimResult("temperror", _SILENCE)] if self._verification.wants_body else []
        dkim = self._ask(self._verification.results(resolver, seconds), silent, judge.rules.dns)
        unknown = ArcResult("fail", _SILENCE, temporary=True)
        arc = self._ask(self._validation.result(resolver), unknown, judge.rules.dns)
        message.spf, message.dkim, message.arc = (
            await self._spf.known(),
            await dkim.known(),
            await arc.known(),
        )
        dmarc = self._ask(
            evaluate(message.author, message.spf, message.dkim, resolver=resolver),
            DmarcResult("temperror", _SILENCE),
            max(over - seconds(), DMARC_SECONDS),
        )
        message.dmarc = await dmarc.known()
        found = [
            findings.of_dmarc(message.dmarc, dmarc.took),
            findings.of_spf(message.spf, message.reverse_path, message.helo, self._spf.took),
            *findings.of_dkim(message.dkim, dkim.took),
        ]
        if message.arc.result != "none":
            found.append(findings.of_arc(message.arc, message.address, arc.took))
        if message.reverse:
            found.append(findings.of_iprev(message.reverse, message.name, message.address))
        return found

    def _sum(self, verdicts: Sequence[Verdict], score: float) -> tuple[MailError | None, str]:
        """What all verdicts come to: a refusal, or why it is junk; score: of all. Who writes to postmaster
        alone is not refused for good (RFC 5321 §4.5.1)."""
        rules = self._judge.rules
        against = [one.why for one in verdicts if one.why and (one.score > 0 or one.action != "accept")]
        why = "; ".join(dict.fromkeys(against))[:LONGEST_REASON]
        actions = {verdict.action for verdict in verdicts}
        refusal, allowed = _refusal(verdicts), "allow" in actions
        if refusal is None and not allowed and rules.reject_score and score >= rules.reject_score:
            refusal = MailError(550, "5.7.1", f"Refused: {score:.1f} points speak against it: {why}")
        if refusal is not None and refusal.permanent and all(map(_is_postmaster, self.message.forward_paths)):
            return None, why or refusal.text
        if refusal is not None or allowed:
            return refusal, ""
        if "junk" in actions:
            return None, why or "a filter says so"
        if rules.junk_score and score >= rules.junk_score:
            return None, f"{score:.1f} points speak against it: {why}"
        return None, ""

    # Asking

    async def _check_spf(self) -> SpfResult:
        judge, message = self._judge, self.message
        sender = "" if message.reverse_path is None else _ascii(message.reverse_path)
        if sender is None:
            return SpfResult("none", "", problem="the sender has no domain in the DNS")
        if not sender and message.helo.startswith("["):
            return SpfResult("none", "", problem="the host's name is an address")
        if not message.address:
            return SpfResult("none", sender.rpartition("@")[2], problem="the client's address is not known")
        if judge.spf >= MOST_SPF:
            return SpfResult(
                "temperror", sender.rpartition("@")[2], problem="too much is asked at the same time"
            )
        judge.spf += 1
        try:
            return await check_host(
                message.address,
                sender,
                message.helo,
                resolver=judge.resolver,
                receiver=judge.rules.service,
                seconds=judge.reactor.seconds,
            )
        finally:
            judge.spf -= 1

    async def _consult(self, checks: Sequence[Check], message: Incoming) -> list[Verdict]:
        """All of them side by side; what they say is remembered for the journey."""
        asked = [self._ask(self._guarded(check, message), check.otherwise, check.seconds) for check in checks]
        verdicts = [await question.known() if question.open else question.answer for question in asked]
        for check, question, verdict in zip(checks, asked, verdicts, strict=True):
            why = f" ({verdict.why})" if verdict.why else ""
            points = f" {verdict.score:+.1f}" if verdict.score else ""
            if len(self._told) < MOST_TOLD:
                self._told.append(f"{check.name}: {verdict.action}{points}{why}, {question.took:.3f} s")
        return verdicts

    async def _guarded(self, check: Check, message: Incoming) -> Verdict:
        try:
            return await check.judge(message)
        except Exception:  # an accident in one check is no reason to be without the others
            self.log.failure("the check {name} failed", name=check.name)
            return check.otherwise

    def _ask(self, asked: Coroutine[Any, Any, T], otherwise: T, seconds: float) -> Question[T]:
        return Question(asked, otherwise, reactor=self._judge.reactor, seconds=seconds)


def _refusal(verdicts: Sequence[Verdict]) -> MailError | None:
    """What these come to: rejections first, then what is put off, unless somebody speaks for it."""
    first: dict[str, Verdict] = {}
    for verdict in verdicts:
        first.setdefault(verdict.action, verdict)
    action = "reject" if "reject" in first else "" if "allow" in first else "defer"
    return first[action].error or _REFUSALS[action] if action in first else None


_REFUSALS = {
    "reject": MailError(550, "5.7.1", "Refused by a filter"),
    "defer": MailError(451, "4.7.1", "Try again later"),
}


def _strongest(said: Sequence[Verdict]) -> Verdict:
    """It speaks for the message only if it does so for all recipients; and whom it would have refused, had
    that not been postmaster, was meant alone."""
    against = [verdict for verdict in said if verdict.action != "allow"]
    if not against:
        return said[0]
    found = against[0]
    if len(against) > 1:
        found = max(against, key=lambda verdict: (verdict.action == "junk", verdict.score))
    return found if found.action in ("junk", "accept") else replace(found, action="accept", error=None)


def _as_done(concluded: Conclusion, refusal: MailError | None, junk: str) -> Conclusion:
    """With the disposition that the message really gets, as far as DMARC asked for one."""
    if concluded.disposition == "quarantine" and not (junk or refusal):
        return replace(concluded, disposition="none", override="local_policy", comment="allowed here")
    if concluded.disposition == "reject" and refusal is None:
        comment = "mail for postmaster is taken"
        return replace(concluded, disposition="quarantine", override="local_policy", comment=comment)
    return concluded


def _is_postmaster(forward_path: Address) -> bool:
    return forward_path.local.lower() == "postmaster"


def _ascii(reverse_path: Address) -> str | None:
    """The reverse-path as the DNS can be asked about it."""
    try:
        domain = "" if reverse_path.is_literal else a_labels(reverse_path.domain).lower()
    except MailError:
        return None
    return f"{reverse_path.local}@{domain}" if domain else None


async def _quietly(done: Awaitable[None]) -> None:
    try:
        await done
    except Exception:  # what cannot be put by is refused all the same
        Judgement.log.failure("a refused message could not be put by")
