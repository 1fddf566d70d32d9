"""The DNS as it is beside what it should be, row by row, with what to do in plain words.

Meaning is compared, not text: a domain may send through others, too, may have several keys, or a DMARC policy
of its own; what counts is that this server's mail arrives and is believed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from twisted.internet.defer import Deferred, gatherResults

from twisted_mta.interfaces import Found, IResolver
from twisted_mta.resolver import ResolutionError
from twisted_mta.setup.records import Record
from twisted_mta.setup.zone import Mail, records
from twisted_mta.trust.dkim.tags import TagFault, parse_tags, without_space
from twisted_mta.trust.dmarc import record as dmarc
from twisted_mta.trust.spf import record as spf
from twisted_mta.trust.spf.check import check_host

State = Literal["ok", "missing", "wrong", "unknown"]
_MOST = 20  # records of a name that are looked at


@dataclass(frozen=True, slots=True)
class Row:
    """What is wanted, what is `found` as a zone file has it, and what to do about it or to know of it
    (`advice`, "" for nothing). `publish`: the record that would make it right, None when none has to come.
    "unknown": the DNS did not answer."""

    wanted: Record
    state: State
    found: tuple[str, ...] = ()
    advice: str = ""
    publish: Record | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    """One comparison. `found`: the records of the wanted kind; `secure`: DNSSEC vouches for that."""

    wanted: Record
    mail: Mail
    resolver: IResolver
    seconds: Callable[[], float]
    found: tuple[str, ...]
    secure: bool

    def row(self, state: State, advice: str = "") -> Row:
        return Row(self.wanted, state, self.found, advice)

    def publish(self, state: State, why: str = "", record: Record | None = None) -> Row:
        record = record or self.wanted
        where = "ask who runs that zone for" if self.wanted.elsewhere else "publish"
        advice = f"{why}{'; ' if why else ''}{where}: {record.line()}"
        return Row(self.wanted, state, self.found, advice, record)


async def rows(mail: Mail, resolver: IResolver, *, seconds: Callable[[], float]) -> list[Row]:
    """One for each record, in their order. Raises nothing for what the DNS says. `seconds` is a clock."""
    questions = [Deferred.fromCoroutine(_row(record, mail, resolver, seconds)) for record in records(mail)]
    answered: list[Row] = await gatherResults(questions)
    return answered


async def _row(wanted: Record, mail: Mail, resolver: IResolver, seconds: Callable[[], float]) -> Row:
    try:
        answer: Found[str] | None = await resolver.records(wanted.name, wanted.kind)
        found, secure = (answer.records[:_MOST], answer.secure) if answer is not None else ((), False)
        look = _Look(wanted, mail, resolver, seconds, found, secure)
        return await _COMPARISONS[wanted.kind](look)
    except ResolutionError as error:
        return Row(wanted, "unknown", advice=f"{error}; try again later")


async def _mx(look: _Look) -> Row:
    ours = [text for text in look.found if _target(text) == look.mail.hostname]
    others = [text for text in look.found if _target(text) != look.mail.hostname]
    if not look.found:
        return look.publish("missing", f"mail for {look.mail.domain} does not come here")
    if not ours:
        return look.publish("wrong", f"mail goes to {_listed(others)}")
    if any(_preference(text) <= min(map(_preference, ours)) for text in others):
        return look.publish(
            "wrong", f"mail goes to {_listed(others)} as well, or rather; remove what is not yours"
        )
    if others:
        return look.row("ok", f"{_listed(others)} must hand on to this server what it takes")
    return look.row("ok")


async def _address(look: _Look) -> Row:
    others = [text for text in look.found if text not in look.mail.addresses]
    if look.wanted.value not in look.found:
        return look.publish("wrong" if others else "missing")
    if others:
        return look.row("wrong", f"{_listed(others)} is not this server; remove it")
    return look.row("ok")


async def _ptr(look: _Look) -> Row:
    if look.wanted.value not in look.found:
        return look.publish("wrong" if look.found else "missing")
    if len(look.found) > 1:
        return look.row("wrong", f"the address has several names; keep only {look.wanted.value}")
    return look.row("ok")


async def _txt(look: _Look) -> Row:
    for beginning, compare in _TEXTS.items():
        if look.wanted.value.lower().startswith(beginning):
            return await compare(look)
    raise AssertionError(look.wanted.value)


async def _spf(look: _Look) -> Row:
    """Whether it lets our addresses pass, whatever else it says (RFC 7208 §4)."""
    there = spf.select(look.found)
    if len(there) != 1:
        return look.publish("wrong" if there else "missing", "two of them count as none" if there else "")
    if look.mail.smarthost and look.wanted.name == look.mail.domain:
        return look.row("ok", f"see to it that it lets pass what {look.mail.smarthost} sends")
    for address in look.mail.addresses:
        result = await check_host(
            address,
            f"postmaster@{look.wanted.name}",
            look.mail.hostname,
            resolver=look.resolver,
            receiver=look.mail.hostname,
            seconds=look.seconds,
        )
        if result.result != "pass":
            why = result.problem or f"it says {result.result} of {address}"
            version, *terms = there[0].split()
            own = "mx" if look.wanted.name == look.mail.domain else "a"
            text = " ".join([version, own, *(term for term in terms if term.lower() not in (own, f"+{own}"))])
            if text == " ".join(there[0].split()):
                broken = result.result == "permerror"
                cure = "mend it, or take it out" if broken else "it will be right with the other records"
                return look.row("wrong", f"{why}; {cure}")
            return look.publish("wrong", why, Record(look.wanted.name, "TXT", text, look.wanted.purpose))
    return look.row("ok")


async def _dkim(look: _Look) -> Row:
    wanted, keys = _key(look.wanted.value), [_key(text) for text in look.found]
    if wanted not in keys:
        return look.publish("wrong" if keys else "missing")
    if len(keys) > 1:
        return look.row("wrong", "the name has several records; keep only this server's")
    return look.row("ok")


def _key(text: str) -> str:
    try:
        return without_space(parse_tags(text).get("p", ""))
    except TagFault:
        return ""


async def _dmarc(look: _Look) -> Row:
    there = dmarc.select(look.found)
    if "._report._dmarc." in look.wanted.name:
        return look.row("ok") if there else look.publish("missing")
    policy = dmarc.parse_record(there[0]) if len(there) == 1 else None
    if policy is None:
        return look.publish("wrong" if there else "missing", "two of them count as none" if there[1:] else "")
    if policy.policy == "none":
        return look.row("ok", 'others only watch; when no mail of your own fails, write "p=quarantine"')
    return look.row("ok")


async def _sts(look: _Look) -> Row:
    there = [text for text in look.found if text.replace(" ", "").startswith("v=STSv1;")]
    if len(there) != 1:
        return look.publish("wrong" if there else "missing")
    return (
        look.row("ok")
        if _id(there[0]) == _id(look.wanted.value)
        else look.publish("wrong", "of another policy")
    )


def _id(text: str) -> str:
    return dict(part.strip().partition("=")[::2] for part in text.split(";")).get("id", "")


async def _tls_reports(look: _Look) -> Row:
    there = [text for text in look.found if text.replace(" ", "").startswith("v=TLSRPTv1;")]
    if len(there) != 1:
        return look.publish("wrong" if there else "missing")
    ours = f"mailto:{look.mail.tls_reports}" in there[0].lower()
    return look.row("ok", "" if ours else "the reports go elsewhere")


async def _alias(look: _Look) -> Row:
    """A CNAME, or addresses that are the same."""
    if look.wanted.value in look.found:
        return look.row("ok")
    there = await look.resolver.addresses(look.wanted.name)
    if there is not None and there.records and set(there.records) <= set(look.mail.addresses):
        return look.row("ok")
    return look.publish("wrong" if look.found or (there is not None and there.records) else "missing")


async def _tlsa(look: _Look) -> Row:
    there = {" ".join(text.lower().split()) for text in look.found}
    if look.wanted.value in there:
        return look.row("ok", "" if look.secure else "it counts once the zone is signed")
    if not there:
        return look.publish("missing", "only if the zone is signed by DNSSEC")
    if any(f"3 1 1 {digest}" in there for digest in look.mail.tls_digests):
        return look.publish("missing", "before the certificate's key changes")
    return look.publish("wrong", "senders that follow DANE cannot reach us")


async def _caa(look: _Look) -> Row:
    issue = [text for text in look.found if text.split()[1:2] == ["issue"]]
    if not issue:
        return look.publish("missing")
    if look.wanted.value.rstrip('"') in [text.partition(";")[0].rstrip(' "') for text in issue]:
        return look.row("ok")
    return look.publish("wrong", "no certificate can be had")


async def _srv(look: _Look) -> Row:
    places = [text.lower().split()[2:] for text in look.found]
    wanted = look.wanted.value.split()[2:]
    if places == [wanted] or (wanted[-1] == "." and not places):
        return look.row("ok")
    return look.publish("wrong" if places else "missing")


def _target(exchange: str) -> str:
    return exchange.split()[-1].rstrip(".").lower()


def _preference(exchange: str) -> int:
    return int(exchange.split()[0])


def _listed(found: Sequence[str]) -> str:
    return ", ".join(text.split()[-1].rstrip(".") for text in found)


_COMPARISONS: dict[str, Callable[[_Look], Awaitable[Row]]] = {
    "MX": _mx,
    "A": _address,
    "AAAA": _address,
    "PTR": _ptr,
    "TXT": _txt,
    "CNAME": _alias,
    "TLSA": _tlsa,
    "CAA": _caa,
    "SRV": _srv,
}
_TEXTS: dict[str, Callable[[_Look], Awaitable[Row]]] = {
    "v=spf1": _spf,
    "v=dkim1": _dkim,
    "v=dmarc1": _dmarc,
    "v=stsv1": _sts,
    "v=tlsrptv1": _tls_reports,
}
