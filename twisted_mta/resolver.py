"""The DNS as routing needs it: dnspython in a small pool of threads (RFC 1035, RFC 2181, RFC 6891).

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

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
import dns.reversename
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorThreads, IReactorTime
from twisted.internet.threads import deferToThread, deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from twisted_mta.interfaces import Found, IResolver

EDNS_PAYLOAD = 1232  # octets of a UDP answer that no path fragments
MAX_TTL = 300.0  # seconds
MAX_CACHED = 10_000  # answers
LARGEST_CACHED = 16 * 1024  # characters of an answer: strangers choose how large theirs are
SELDOM_THERE = {
    "TXT": 60.0,
    "TLSA": 60.0,
    "PTR": 60.0,
}  # seconds that the absence of such records is remembered

T = TypeVar("T")


class ResolutionError(Exception):
    """The DNS gave no usable answer: a server failure, silence or garbage. Always temporary.
    The text names the question and the trouble, in printable ASCII."""


def host_and_port(text: str, default_port: int) -> tuple[str, int]:
    """Split `host`, `host:port`, `[IPv6]` or `[IPv6]:port`; a bare IPv6 address is a host, too.
    Raises ValueError."""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError(f"{text!r} is not a host:port")
        port = port[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    if not host or (port and not port.isdigit()):
        raise ValueError(f"{text!r} is not a host:port")
    return host, int(port or default_port)


@implementer(IResolver)
class DnsResolver:
    """Asks `nameservers` ("host" or "host:port" each, IP addresses), in order; those of /etc/resolv.conf
    when there are none. `trusted`: what all of them say of DNSSEC counts; otherwise only what those on the
    loopback say. `absent`: seconds that any record is known not to be there. `timeout` is what one server
    gets for one try, `lifetime` what a question gets in all, both in seconds. `clock` is the reactor unless
    given."""

    def __init__(
        self,
        nameservers: Sequence[str] = (),
        *,
        reactor: IReactorThreads,
        clock: IReactorTime | None = None,
        trusted: bool = False,
        absent: float = 0.0,
        timeout: float = 3.0,
        lifetime: float = 10.0,
        threads: int = 20,
    ) -> None:
        self._reactor = reactor
        self._clock = IReactorTime(reactor) if clock is None else clock
        self._trusted = trusted
        self._absent = absent
        self._resolver = stub(nameservers)
        self._resolver.timeout = timeout
        self._resolver.lifetime = lifetime
        self._resolver.use_edns(0, 0, EDNS_PAYLOAD)
        self._resolver.set_flags(dns.flags.RD | dns.flags.AD)
        self._pool = ThreadPool(minthreads=0, maxthreads=threads, name="dns")
        self._cache: dict[tuple[str, str], tuple[float, Found[Any] | None]] = {}
        self._asking: dict[tuple[str, str], list[Deferred[Any]]] = {}  # who waits for what is asked now
        self._stopped = False

    async def start(self) -> None:
        """Begin to take questions."""
        self._pool.start()

    async def stop(self) -> None:
        """End the threads. A question on its way may finish the try it is at (`timeout`); those that wait for
        a thread, and all that come later, end with ResolutionError."""
        self._stopped = True
        self._resolver.lifetime = 0.0  # looked at before each try
        await deferToThread(self._pool.stop)

    async def mx(self, domain: str) -> Found[tuple[int, str]] | None:
        """See IResolver. Raises ResolutionError."""
        return await self._look_up(domain, "MX", _exchange)

    async def addresses(self, name: str) -> Found[str] | None:
        """See IResolver. A family that cannot be looked up does not hide the other.
        Raises ResolutionError."""
        if name == "localhost" or name.endswith(".localhost"):
            return Found(("127.0.0.1", "::1"))
        questions = [Deferred.fromCoroutine(self._look_up(name, kind, _address)) for kind in ("A", "AAAA")]
        answers: list[Found[str]] = []
        failure: ResolutionError | None = None
        for question in questions:
            try:
                answer = await question
            except ResolutionError as error:
                failure = error
            else:
                answers += [] if answer is None else [answer]
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
        return await self._look_up(name, "A", _address)

    async def ipv6(self, name: str) -> Found[str] | None:
        """See IResolver. Raises ResolutionError."""
        return await self._look_up(name, "AAAA", _address)

    async def txt(self, name: str) -> Found[str] | None:
        """See IResolver. Raises ResolutionError."""
        return await self._look_up(name, "TXT", _text)

    async def tlsa(self, name: str) -> Found[tuple[int, int, int, bytes]] | None:
        """See IResolver. Raises ResolutionError."""
        return await self._look_up(name, "TLSA", _association)

    async def ptr(self, address: str) -> Found[str] | None:
        """See IResolver. Raises ResolutionError."""
        reverse = dns.reversename.from_address(address).to_text(omit_final_dot=True)
        return await self._look_up(reverse, "PTR", _target)

    async def _look_up(self, name: str, kind: str, read: Callable[[Any], T]) -> Found[T] | None:
        self._require_running(name, kind)  # a stopped pool would never answer
        now = self._clock.seconds()
        expiry, known = self._cache.get((name, kind), (0.0, None))
        if expiry > now:
            return known
        waiting = self._asking.get((name, kind))
        if waiting is not None:
            waiter: Deferred[Any] = Deferred()
            waiting.append(waiter)
            shared: Found[T] | None = await waiter
            return shared
        waiting = self._asking[name, kind] = []
        try:
            ttl, found = await deferToThreadPool(self._reactor, self._pool, self._ask, name, kind, read)
        except BaseException as error:
            del self._asking[name, kind]
            if not isinstance(error, ResolutionError):
                error = ResolutionError(f"{kind} of {name}: {type(error).__name__}")
            for waiter in waiting:
                waiter.errback(error)
            raise
        del self._asking[name, kind]
        if found is not None and found.records:
            lasting = min(ttl, MAX_TTL)
        else:
            lasting = max(SELDOM_THERE.get(kind, 0.0), self._absent)
        if lasting:
            self._remember((name, kind), now + lasting, found)
        for waiter in waiting:
            waiter.callback(found)
        return found

    def _require_running(self, name: str, kind: str) -> None:
        if self._stopped:
            raise ResolutionError(f"{kind} of {name}: the server is stopping")

    def _remember(self, question: tuple[str, str], expiry: float, found: Found[Any] | None) -> None:
        self._cache.pop(question, None)
        if len(self._cache) >= MAX_CACHED:
            del self._cache[next(iter(self._cache))]
        self._cache[question] = (expiry, found)

    def _ask(self, name: str, kind: str, read: Callable[[Any], T]) -> tuple[float, Found[T] | None]:
        """In a thread: the time to live in seconds and what was found; None for NXDOMAIN."""
        self._require_running(name, kind)
        try:
            absolute = dns.name.from_text(name, dns.name.root)
        except dns.exception.DNSException:
            return 0.0, None  # a name that cannot stand in the DNS does not exist there
        try:
            answer = self._resolver.resolve(absolute, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN:
            return 0.0, None
        except dns.resolver.LifetimeTimeout:
            raise ResolutionError(f"{kind} of {name}: no answer from the DNS") from None
        except dns.resolver.NoNameservers as error:
            raise ResolutionError(f"{kind} of {name}: {_reason(error)}") from error
        except Exception as error:  # whatever a parser may trip over in a stranger's octets
            raise ResolutionError(f"{kind} of {name}: {type(error).__name__}") from error
        secure = bool(answer.response.flags & dns.flags.AD) and self._may_believe(answer.nameserver)
        canonical = answer.canonical_name.to_text(omit_final_dot=True).lower()
        if answer.rrset is None:
            return 0.0, Found((), secure, canonical)
        records = tuple(read(record) for record in answer.rrset)
        large = sum(len(str(record)) for record in records) > LARGEST_CACHED
        ttl = 0.0 if large else float(answer.chaining_result.minimum_ttl)
        return ttl, Found(records, secure, canonical)

    def _may_believe(self, nameserver: str | None) -> bool:
        """Whether what this server says of DNSSEC is what it said."""
        return self._trusted or (nameserver is not None and ipaddress.ip_address(nameserver).is_loopback)


def stub(nameservers: Sequence[str]) -> dns.resolver.Resolver:
    """What asks these name servers, or the system's when there are none; blocking."""
    if not nameservers:
        try:
            return dns.resolver.Resolver()
        except dns.resolver.NoResolverConfiguration:
            nameservers = ("127.0.0.1",)  # as resolver(3) does
    stub = dns.resolver.Resolver(configure=False)
    servers = [host_and_port(server, 53) for server in nameservers]
    stub.nameservers = [
        dns.nameserver.Do53Nameserver(str(ipaddress.ip_address(host)), port) for host, port in servers
    ]
    return stub


def _exchange(record: Any) -> tuple[int, str]:
    return record.preference, record.exchange.to_text(omit_final_dot=True).rstrip(".").lower()


def _address(record: Any) -> str:
    return str(record.address)


def _target(record: Any) -> str:
    return str(record.target.to_text(omit_final_dot=True)).lower()


def _text(record: Any) -> str:
    return b"".join(record.strings).decode("latin-1")


def _association(record: Any) -> tuple[int, int, int, bytes]:
    return record.usage, record.selector, record.mtype, bytes(record.cert)


def _reason(error: dns.resolver.NoNameservers) -> str:
    """What the last server said: SERVFAIL, REFUSED, or the trouble in talking to it."""
    errors = error.kwargs.get("errors") or [()]
    said = errors[-1][3:4]
    return str(said[0]) if said else "no usable answer from the DNS"
