"""The DNS as routing and judging need it: answers remembered, questions asked once (RFC 1035, RFC 2181).

Answers are remembered for as long as the DNS allows, five minutes at most, so that a stream of mail to one
domain costs a dictionary look-up a message. What does not exist is not remembered: the next attempt is
minutes away anyway, and somebody may be waiting for his new domain to work. Only that a name has no TXT or
TLSA records, as most have none, is remembered for a minute, and that a client's address has no name; and all
of it where strangers make us ask (`absent`). What is being asked already is not asked again.

DNSSEC is validated by the name servers that are asked, which say so with the AD bit (RFC 4035 §3.2.3, RFC
6840 §5.7). It counts only where nobody can have put it there on the way: from servers on the loopback, and
from those that the administrator declares to be as safe.

Left out on purpose: DNSSEC validation of our own, and /etc/hosts, which is no place for mail
routing; `localhost` alone is known without asking (RFC 6761 §6.3).
"""

from __future__ import annotations

import resource
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dns.rcode
import dns.reversename
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_mta.interfaces import Found, IResolver
from twisted_mta.resolver.asking import Asking
from twisted_mta.resolver.failure import ResolutionError
from twisted_mta.resolver.name_servers import NameServers
from twisted_mta.resolver.question import NoSuchName, Question
from twisted_mta.resolver.zone_text import WRITTEN
from twisted_mta.shared_questions import SharedQuestions, TooManyQuestions
from twisted_mta.steady import steady_seconds

MOST_ASKED = 1000  # questions on their way at the same time; each holds a socket
MOST_WAITING = 20_000  # questions that have no answer yet
MAX_TTL = 300.0  # seconds
MAX_CACHED = 10_000  # answers
LARGEST_CACHED = 16 * 1024  # characters of an answer: strangers choose how large theirs are
MOST_CACHED = 32 * 1024 * 1024  # octets of memory for all answers, about
RECORD_COST = 140  # of them for a record, beside its characters
SELDOM_THERE = {
    "TXT": 60.0,
    "TLSA": 60.0,
    "PTR": 60.0,
}  # seconds that the absence of such records is remembered


@implementer(IResolver)
class DnsResolver:
    """Asks `nameservers` ("host" or "host:port" each, IP addresses), in order; those of /etc/resolv.conf
    when there are none. `trusted`: what all of them say of DNSSEC counts; otherwise only what those on the
    loopback say. `absent`: seconds that any record is known not to be there. `timeout` is what one server
    gets for one try, `lifetime` what a question gets in all, both in seconds. `most`: questions on their way
    at the same time; fewer where the system lets us have few open files. `clock` is the reactor unless
    given."""

    def __init__(
        self,
        nameservers: Sequence[str] = (),
        *,
        reactor: Any,
        clock: IReactorTime | None = None,
        trusted: bool = False,
        absent: float = 0.0,
        timeout: float = 3.0,
        lifetime: float = 10.0,
        most: int = MOST_ASKED,
    ) -> None:
        clock = IReactorTime(reactor) if clock is None else clock
        self._steady = steady_seconds(clock)
        self._trusted = trusted
        self._absent = absent
        self._asking = Asking(
            NameServers(nameservers),
            reactor=reactor,
            clock=clock,
            timeout=timeout,
            lifetime=lifetime,
            most=min(most, _share_of_files()),
        )
        self._cache: dict[tuple[str, str], tuple[float, Found[Any] | None, int]] = {}
        self._cached = 0  # the sum of what they cost
        self._questions: SharedQuestions[tuple[str, str], Found[Any] | None] = SharedQuestions(MOST_WAITING)
        self._stopped = False

    async def start(self) -> None:
        """Nothing has to be there before the first question."""

    async def stop(self) -> None:
        """All questions on their way, and those that come later, end with ResolutionError."""
        self._stopped = True
        self._asking.stop()

    async def mx(self, domain: str) -> Found[tuple[int, str]] | None:
        """See IResolver. Raises ResolutionError."""
        return await self._look_up(domain, "MX")

    async def addresses(self, name: str) -> Found[str] | None:
        """See IResolver. A family that cannot be looked up does not hide the other.
        Raises ResolutionError."""
        if name == "localhost" or name.endswith(".localhost"):
            return Found(("127.0.0.1", "::1"))
        questions = [Deferred.fromCoroutine(self._look_up(name, kind)) for kind in ("A", "AAAA")]
        answers: list[Found[str]] = []
        failure: ResolutionError | None = None
        for _, answer in await DeferredList(questions, consumeErrors=True):
            if isinstance(answer, Found):
                answers.append(answer)
            elif isinstance(answer, Failure):
                answer.trap(ResolutionError)
                failure = answer.value
        full = [answer for answer in answers if answer.records]
        if failure is not None and not full:
            raise failure
        if not answers:
            return None
        counted = full or answers
        return Found(
            tuple(address for answer in full for address in answer.records),
            all(answer.secure for answer in counted),
            counted[0].canonical,
        )

    async def ipv4(self, name: str) -> Found[str] | None:
        """See IResolver. Raises ResolutionError."""
        return await self._look_up(name, "A")

    async def ipv6(self, name: str) -> Found[str] | None:
        """See IResolver. Raises ResolutionError."""
        return await self._look_up(name, "AAAA")

    async def txt(self, name: str) -> Found[str] | None:
        """See IResolver. Raises ResolutionError."""
        return await self._look_up(name, "TXT")

    async def tlsa(self, name: str) -> Found[tuple[int, int, int, bytes]] | None:
        """See IResolver. Raises ResolutionError."""
        return await self._look_up(name, "TLSA")

    async def records(self, name: str, kind: str) -> Found[str] | None:
        """See IResolver; of the kinds in `zone_text`. Raises ResolutionError."""
        found = await self._look_up(name, kind)
        return found and replace(found, records=tuple(map(WRITTEN[kind], found.records)))

    async def ptr(self, address: str) -> Found[str] | None:
        """See IResolver. Raises ResolutionError."""
        reverse = dns.reversename.from_address(address).to_text(omit_final_dot=True)
        return await self._look_up(reverse, "PTR")

    async def _look_up(self, name: str, kind: str) -> Found[Any] | None:
        if self._stopped:
            raise ResolutionError(f"{kind} of {name}: the server is stopping")
        expiry, known, _ = self._cache.get((name, kind), (0.0, None, 0))
        if expiry > self._steady():
            return known
        try:
            return await self._questions.ask((name, kind), lambda: self._ask(name, kind))
        except TooManyQuestions as error:
            raise ResolutionError(f"{kind} of {name}: {error}") from error

    async def _ask(self, name: str, kind: str) -> Found[Any] | None:
        """What was found, and is remembered from now on; None for NXDOMAIN. Raises ResolutionError."""
        began = self._steady()
        try:
            answer, server = await self._asking.ask(Question.of(name, kind))
        except NoSuchName:
            return None  # it does not exist there
        if answer.rcode == dns.rcode.NXDOMAIN:
            found = None
        else:
            secure = answer.authentic and (self._trusted or server.is_here)
            found = Found(answer.records, secure, answer.canonical)
        characters = sum(len(str(record)) for record in answer.records)
        if not answer.records:
            lasting = max(SELDOM_THERE.get(kind, 0.0), self._absent)
        elif characters > LARGEST_CACHED:
            lasting = 0.0
        else:
            lasting = min(float(answer.ttl), MAX_TTL)
        if lasting:
            cost = characters + RECORD_COST * (1 + len(answer.records))
            self._remember((name, kind), began + lasting, found, cost)
        return found

    def _remember(
        self, question: tuple[str, str], expiry: float, found: Found[Any] | None, cost: int
    ) -> None:
        self._forget(question)
        while len(self._cache) >= MAX_CACHED or (self._cache and self._cached + cost > MOST_CACHED):
            self._forget(next(iter(self._cache)))
        self._cache[question] = (expiry, found, cost)
        self._cached += cost

    def _forget(self, question: tuple[str, str]) -> None:
        *_, cost = self._cache.pop(question, (0,))
        self._cached -= cost


def _share_of_files() -> int:
    """How many sockets the DNS may take of the files that the system lets us open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_ASKED if limit == resource.RLIM_INFINITY else max(4, limit // 16)
