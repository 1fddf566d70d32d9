"""check_host(): the judgement about one client (RFC 7208 §4, §5, §6).

How much a record can make us ask the DNS is limited (§4.6.4): ten terms that ask, two answers that are empty,
ten names of mail hosts or of a client. How long it takes is the caller's to limit.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from twisted_mta.interfaces import Found, IResolver
from twisted_mta.message.networks import address_of
from twisted_mta.resolver import ResolutionError
from twisted_mta.trust.spf.macros import (
    MacroString,
    SyntaxFault,
    address_values,
    is_name,
    parse,
)
from twisted_mta.trust.spf.record import Mechanism, Record, parse_record, select

MOST_TERMS = 10
MOST_VOID = 2
MOST_NAMES = 10
MOST_ADDRESSES = 100  # of one name; the RFC has no limit
LONGEST_EXPLANATION = 400  # characters of a stranger's that may stand in a reply

T = TypeVar("T")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class SpfResult:
    """`result` is none, neutral, pass, fail, softfail, temperror or permerror (§2.6); `domain` is whose
    record it was; `mechanism` what matched; `explanation` what the domain says about a failure (§6.2), "" for
    nothing; `problem` why there is no better result."""

    result: str
    domain: str
    mechanism: str = ""
    explanation: str = ""
    problem: str = ""


class _Ended(Exception):
    """The judgement ends here, whatever else there is: `permerror` or `temperror`."""

    def __init__(self, result: str, problem: str) -> None:
        super().__init__(problem)
        self.result = result


async def check_host(
    address: str,
    sender: str,
    helo: str,
    *,
    resolver: IResolver,
    receiver: str,
    seconds: Callable[[], float],
) -> SpfResult:
    """May a client at `address`, which said HELO as `helo`, send as `sender`? This is the reverse path
    without brackets, "" for the null path, for which the host name stands (§2.4). Never raises; what the DNS
    cannot say now is "temperror"."""
    client = address_of(address)
    assert client is not None
    local, _, domain = (sender or helo).rpartition("@")
    domain = domain.rstrip(".").lower()
    judgement = _Judgement(client, local or "postmaster", domain, helo, resolver, receiver, seconds)
    try:
        return await judgement.check(domain)
    except _Ended as ended:
        return SpfResult(ended.result, domain, problem=str(ended))


class _Judgement:
    """One call of check_host() with all the records it leads to, which share the limits."""

    def __init__(
        self,
        client: Address,
        local: str,
        domain: str,
        helo: str,
        resolver: IResolver,
        receiver: str,
        seconds: Callable[[], float],
    ) -> None:
        self._client = client
        self._resolver = resolver
        self._seconds = seconds
        self._values = {
            "s": f"{local}@{domain}",
            "l": local,
            "o": domain,
            "h": helo,
            "r": receiver or "unknown",
            **address_values(client),
        }
        self._terms = 0
        self._void = 0
        self._names: Sequence[str] | None = None  # of the client, each with an address that leads back to it

    async def check(self, domain: str, *, explain: bool = True) -> SpfResult:
        """The result for one domain. Raises _Ended."""
        if not is_name(domain):
            return SpfResult("none", domain, problem=f"{domain or 'nothing'} is no domain")
        record = await self._record(domain)
        if record is None:
            return SpfResult("none", domain, problem=f"{domain} says nothing about its hosts")
        for result, mechanism in record.directives:
            if await self._matches(mechanism, domain):
                found = SpfResult(result, domain, mechanism.text)
                if result == "fail" and explain:
                    found = replace(found, explanation=await self._explanation(record, domain))
                return found
        if record.redirect is None:
            return SpfResult("neutral", domain)
        return await self._redirected(record.redirect, domain, explain)

    async def _record(self, domain: str) -> Record | None:
        try:
            found = await self._resolver.txt(domain)
        except ResolutionError as error:
            raise _Ended("temperror", str(error)) from error
        texts = select(found.records if found else ())
        if not texts:
            return None
        if len(texts) > 1:
            raise _Ended("permerror", f"{domain} has {len(texts)} SPF records")
        try:
            return parse_record(texts[0])
        except SyntaxFault as fault:
            raise _Ended("permerror", f"the SPF record of {domain} is wrong: {fault}") from fault

    async def _redirected(self, redirect: MacroString, domain: str, explain: bool) -> SpfResult:
        self._count(f"redirect of {domain}")
        target = await self._name(redirect, domain)
        found = await self.check(target, explain=explain)
        if found.result == "none":
            raise _Ended("permerror", f"{domain} redirects to {target}, which has no SPF record")
        return replace(found, domain=domain)  # whoever points at another's record does not become him

    # Mechanisms (§5)

    async def _matches(self, mechanism: Mechanism, domain: str) -> bool:
        if mechanism.name == "all":
            return True
        if mechanism.network is not None:
            return self._client in mechanism.network
        self._count(mechanism.text)
        target = domain if mechanism.domain is None else await self._name(mechanism.domain, domain)
        match mechanism.name:
            case "include":
                return await self._included(target, domain)
            case "a":
                return self._is_near(await self._addresses(target), mechanism)
            case "mx":
                return await self._is_mail_host(target, mechanism)
            case "ptr":
                return any(_is_below(name, target) for name in await self._own_names())
            case _:
                return bool(await self._ask(self._resolver.ipv4, target))

    async def _included(self, target: str, domain: str) -> bool:
        found = await self.check(target, explain=False)
        if found.result == "none":
            raise _Ended("permerror", f"{domain} includes {target}, which has no SPF record")
        return found.result == "pass"

    async def _is_mail_host(self, target: str, mechanism: Mechanism) -> bool:
        exchanges = sorted(await self._ask(self._resolver.mx, target))
        if len(exchanges) > MOST_NAMES:
            raise _Ended("permerror", f"{target} has more than {MOST_NAMES} mail hosts")
        for _, exchange in exchanges:
            if exchange and self._is_near(await self._addresses(exchange), mechanism):
                return True
        return False

    def _is_near(self, addresses: Sequence[str], mechanism: Mechanism) -> bool:
        client = self._client
        spare = client.max_prefixlen - (mechanism.v4 if client.version == 4 else mechanism.v6)
        near = int(client) >> spare
        return any(
            found is not None and found.version == client.version and int(found) >> spare == near
            for found in map(address_of, addresses[:MOST_ADDRESSES])
        )

    # The DNS

    def _count(self, what: str) -> None:
        self._terms += 1
        if self._terms > MOST_TERMS:
            raise _Ended("permerror", f"more than {MOST_TERMS} look-ups, at {what[:60]}")

    async def _addresses(self, name: str) -> Sequence[str]:
        """Of the client's family."""
        ask = self._resolver.ipv4 if self._client.version == 4 else self._resolver.ipv6
        records: Sequence[str] = await self._ask(ask, name)
        return records

    async def _ask(self, question: Callable[[str], Awaitable[Found[T] | None]], name: str) -> Sequence[T]:
        """What a term asks about. What cannot stand in the DNS does not exist there."""
        if not is_name(name):
            return ()
        try:
            found = await question(name)
        except ResolutionError as error:
            raise _Ended("temperror", str(error)) from error
        records = found.records if found else ()
        if not records:
            self._count_void(name)
        return records

    def _count_void(self, name: str) -> None:
        self._void += 1
        if self._void > MOST_VOID:
            raise _Ended("permerror", f"more than {MOST_VOID} look-ups found nothing, the last was {name}")

    async def _own_names(self) -> Sequence[str]:
        """The names that the client's address has in the DNS, and that have its address (§5.5). Trouble in
        the DNS makes them fewer."""
        if self._names is None:
            try:
                found = await self._resolver.ptr(str(self._client))
            except ResolutionError:
                found = Found()
            names = found.records[:MOST_NAMES] if found else ()
            self._names = [name for name in names if await self._leads_back(name)]
            if not names:
                self._count_void(f"the name of {self._client}")
        return self._names

    async def _leads_back(self, name: str) -> bool:
        ask = self._resolver.ipv4 if self._client.version == 4 else self._resolver.ipv6
        try:
            found = await ask(name) if is_name(name) else None
        except ResolutionError:
            return False
        return any(
            address_of(address) == self._client
            for address in (found.records if found else ())[:MOST_ADDRESSES]
        )

    # Macros (§7) and explanations (§6.2)

    async def _name(self, text: MacroString, domain: str) -> str:
        return text.expand_name(await self._macros(text, domain))

    async def _macros(self, text: MacroString, domain: str) -> dict[str, str]:
        values = {**self._values, "d": domain}
        if "p" in text.letters:
            values["p"] = _best(await self._own_names(), domain)
        if "t" in text.letters:
            values["t"] = str(int(self._seconds()))
        return values

    async def _explanation(self, record: Record, domain: str) -> str:
        """Nobody's mail is judged otherwise for what goes wrong here."""
        if record.explanation is None:
            return ""
        try:
            name = await self._name(record.explanation, domain)
            found = await self._resolver.txt(name) if is_name(name) else None
            if found is None or len(found.records) != 1:
                return ""
            text = parse(found.records[0], explanation=True)
            return text.expand(await self._macros(text, domain))[:LONGEST_EXPLANATION]
        except (ResolutionError, SyntaxFault, _Ended):
            return ""


def _is_below(name: str, domain: str) -> bool:
    return name == domain or name.endswith("." + domain)


def _best(names: Sequence[str], domain: str) -> str:
    """Of the client's names: the domain itself, else one below it, else any (§7.3)."""
    if domain in names:
        return domain
    below = (name for name in names if _is_below(name, domain))
    return next(below, names[0] if names else "unknown")
