"""What others say of an address or a domain: lists in the DNS, of the bad and of the good (RFC 5782, RFC
8904).

A list answers with addresses in 127.0.0.0/8, each a code of its own (RFC 5782 §2.1); NXDOMAIN is "not
listed". Anything else is a list that is no more, or a resolver that lies. 127.255.255.0/24 means that the
resolver is not served (an open one that everybody uses, or too many questions), and so does 127.0.0.1 or
127.0.0.255 with some. And a list that has closed may say of everybody that they are listed. So before an
answer counts, the entry that must not be there is asked for (RFC 5782 §5), once an hour; what fails there is
switched off for a while, and the operator told why.

No list is asked unless it is configured: each has its terms of use.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from twisted_mta.interfaces import IResolver
from twisted_mta.message.networks import address_of
from twisted_mta.resolver import ResolutionError
from twisted_mta.shared_questions import SharedQuestions, TooManyQuestions
from twisted_mta.trust.abuse.origin import registered

OFF = 3600.0  # seconds that a list is not asked when it has given an answer that cannot be right
REMEMBERED = 300.0  # seconds that an answer is, be it that there is none
MOST_REMEMBERED = 20_000
LONGEST_WORDS = 200  # characters of what a list says about an entry
MOST_QUESTIONS = 500  # at the same time; beyond that, nobody is listed
MOST_NAMES = 5  # domains of one message that are asked about

_CODES = ipaddress.ip_network("127.0.0.0/8")
_REFUSED = tuple(map(ipaddress.ip_network, ("127.255.255.0/24", "127.0.0.1/32", "127.0.0.255/32")))


@dataclass(frozen=True, slots=True)
class DnsList:
    """`zone` is what is asked below. `kind`: of addresses or of domains. `score`: points for who is listed,
    below 0 in a list of the good. `codes`: the networks of answers that count, () for all."""

    zone: str
    kind: Literal["address", "domain"] = "address"
    score: float = 1.0
    codes: tuple[ipaddress.IPv4Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """`subject`, an address or domain, stands in a list, with the code `answer`."""

    list: DnsList
    subject: str
    answer: str


class DnsLists:
    """Asks all of the lists at the same time. `seconds`: any steady clock. What cannot be asked is not
    listed."""

    log = Logger(namespace="twisted_mta.dnsbl")

    def __init__(
        self, lists: Sequence[DnsList], *, resolver: IResolver, seconds: Callable[[], float]
    ) -> None:
        self._lists = tuple(lists)
        self._resolver = resolver
        self._seconds = seconds
        self._known: dict[tuple[str, str], tuple[float, tuple[str, ...]]] = {}
        self._questions: SharedQuestions[tuple[str, str], tuple[str, ...]] = SharedQuestions(MOST_QUESTIONS)
        self._off: dict[str, float] = {}  # by zone, until when
        self._proven: dict[str, float] = {}  # by zone, until when it need not prove again that it is alive

    def __bool__(self) -> bool:
        return bool(self._lists)

    async def of_address(self, address: str) -> list[Listing]:
        """What lists of addresses say. Does not raise."""
        labels = reversed_labels(address)
        if not labels:
            return []
        return await self._gather((one, address, labels) for one in self._of("address"))

    async def of_domains(self, domains: Collection[str]) -> list[Listing]:
        """What lists of domains say of some names, and of the registered domains these are in: each list
        once, of the first name that it has. Does not raise."""
        names: dict[str, None] = {}
        for domain in domains:
            bare = domain.rstrip(".").lower()
            if "." in bare and not bare.startswith("[") and not bare.rpartition(".")[2].isdigit():
                names[registered(bare)] = names[bare] = None
        some = list(names)[: 2 * MOST_NAMES]
        found = await self._gather((one, name, name) for one in self._of("domain") for name in some)
        first: dict[str, Listing] = {}
        for listing in found:
            first.setdefault(listing.list.zone, listing)
        return list(first.values())

    async def words(self, listing: Listing) -> str:
        """What the list says about the entry, fit for a reply; "" for nothing. Does not raise."""
        name = listing.subject if listing.list.kind == "domain" else reversed_labels(listing.subject)
        try:
            found = await self._resolver.txt(f"{name}.{listing.list.zone}")
        except ResolutionError:
            return ""
        text = found.records[0] if found is not None and found.records else ""
        return "".join(char if " " <= char <= "~" else "?" for char in text[:LONGEST_WORDS])

    # Asking

    def _of(self, kind: str) -> list[DnsList]:
        now = self._seconds()
        return [one for one in self._lists if one.kind == kind and self._off.get(one.zone, 0.0) <= now]

    async def _gather(self, questions: Iterable[tuple[DnsList, str, str]]) -> list[Listing]:
        asked = [Deferred.fromCoroutine(self._ask(*question)) for question in questions]
        return [listing for listing in await gatherResults(asked) if listing is not None]

    async def _ask(self, one: DnsList, subject: str, labels: str) -> Listing | None:
        answers = await self._answers(one, labels)
        if answers and not await self._proves_itself(one):
            return None
        for answer in answers:
            if not one.codes or any(ipaddress.ip_address(answer) in codes for codes in one.codes):
                return Listing(one, subject, answer)
        return None

    async def _answers(self, one: DnsList, labels: str) -> tuple[str, ...]:
        now, key = self._seconds(), (one.zone, labels)
        until, known = self._known.get(key, (0.0, ()))
        if until > now:
            return known
        try:
            return await self._questions.ask(key, lambda: self._look_up(one, labels))
        except TooManyQuestions:
            return ()

    async def _look_up(self, one: DnsList, labels: str) -> tuple[str, ...]:
        try:
            found = await self._resolver.ipv4(f"{labels}.{one.zone}")
        except ResolutionError:
            return ()
        answers = found.records if found is not None else ()
        if problem := trouble(answers):
            self._switch_off(one.zone, problem)
            return ()
        key = (one.zone, labels)
        self._known.pop(key, None)
        if len(self._known) >= MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[key] = (self._seconds() + REMEMBERED, answers)
        return answers

    async def _proves_itself(self, one: DnsList) -> bool:
        """RFC 5782 §5: what must never be listed."""
        now = self._seconds()
        if self._proven.get(one.zone, 0.0) > now:
            return True
        _, never = test_entries(one.kind)
        try:
            found = await self._resolver.ipv4(f"{never}.{one.zone}")
        except ResolutionError:
            return self._off.get(one.zone, 0.0) <= now  # it has just answered; better luck next time
        if found is not None and found.records:
            self._switch_off(one.zone, "it lists everybody, even what must never be listed")
            return False
        self._proven[one.zone] = now + OFF
        return True

    def _switch_off(self, zone: str, problem: str) -> None:
        now = self._seconds()
        if self._off.get(zone, 0.0) <= now:
            self.log.error(
                "{zone} is not asked for an hour: {problem}. See dnsbl in the configuration",
                zone=zone,
                problem=problem,
            )
        self._off[zone] = now + OFF


def reversed_labels(address: str) -> str:
    """The labels to ask a list about an address with: octets (RFC 5782 §2.1) or nibbles (§2.4) backwards; ""
    for what is no address."""
    host = address_of(address)
    if host is None:
        return ""
    return host.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")


def test_entries(kind: str) -> tuple[str, str]:
    """The labels that must be listed, and those that must not (RFC 5782 §5)."""
    if kind == "domain":
        return "test", "invalid"
    return reversed_labels("127.0.0.2"), reversed_labels("127.0.0.1")


def trouble(answers: Collection[str]) -> str:
    """Why these cannot be a list's answers; "" when they can."""
    for answer in answers:
        address = ipaddress.ip_address(answer)
        if any(address in network for network in _REFUSED):
            return (
                f"it says {answer}, which means that it does not serve your DNS resolver: use a resolver of "
                "your own (dns.nameservers), not a public one, or pay for more questions"
            )
        if address not in _CODES:
            return f"it says {answer}, which is no answer of a list: it is gone, or the resolver lies"
    return ""


def fault(one: DnsList, ask: Callable[[str], Collection[str]]) -> str:
    """What is wrong with a list, by its test entries; "" for nothing. `ask` gives the addresses under a name
    and may raise ResolutionError."""
    listed, never = test_entries(one.kind)
    try:
        answers, wrong = ask(f"{listed}.{one.zone}"), ask(f"{never}.{one.zone}")
    except ResolutionError as error:
        return f"it cannot be asked: {error}"
    if problem := trouble(answers):
        return problem
    if wrong:
        return "it lists everybody, even what must never be listed"
    return "" if answers else f"it does not list {listed}, which every list must: is the name right?"
