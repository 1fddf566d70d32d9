"""The DNS as routing needs it: dnspython in a small pool of threads (RFC 1035, RFC 2181, RFC 6891).

Answers are remembered for as long as the DNS allows, five minutes at most, so that a stream of mail to
one domain costs a dictionary look-up a message. What does not exist is not remembered: the next attempt
is minutes away anyway, and somebody may be waiting for his new domain to work.

Left out on purpose: DNSSEC validation, which DANE will need, and /etc/hosts, which is no place for mail
routing; `localhost` alone is known without asking (RFC 6761 §6.3).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorThreads, IReactorTime
from twisted.internet.threads import deferToThread, deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from twisted_mta.interfaces import IResolver

EDNS_PAYLOAD = 1232  # octets of a UDP answer that no path fragments
MAX_TTL = 300.0  # seconds
MAX_CACHED = 10_000  # answers

_Records = tuple[str, ...]


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
    """Asks `nameservers` ("host" or "host:port" each, IP addresses), in order; those of /etc/resolv.conf when
    there are none. `timeout` is what one server gets for one try, `lifetime` what a question gets in all,
    both in seconds. `clock` is the reactor unless given."""

    def __init__(
        self,
        nameservers: Sequence[str] = (),
        *,
        reactor: IReactorThreads,
        clock: IReactorTime | None = None,
        timeout: float = 3.0,
        lifetime: float = 10.0,
        threads: int = 20,
    ) -> None:
        self._reactor = reactor
        self._clock = IReactorTime(reactor) if clock is None else clock
        self._resolver = _stub(nameservers)
        self._resolver.timeout = timeout
        self._resolver.lifetime = lifetime
        self._resolver.use_edns(0, 0, EDNS_PAYLOAD)
        self._pool = ThreadPool(minthreads=0, maxthreads=threads, name="dns")
        self._cache: dict[tuple[str, str], tuple[float, _Records]] = {}
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

    async def mx(self, domain: str) -> Sequence[tuple[int, str]] | None:
        """See IResolver. Raises ResolutionError."""
        found = await self._look_up(domain, "MX")
        return None if found is None else [_exchange(record) for record in found]

    async def addresses(self, name: str) -> Sequence[str] | None:
        """See IResolver. A family that cannot be looked up does not hide the other.
        Raises ResolutionError."""
        if name == "localhost" or name.endswith(".localhost"):
            return ["127.0.0.1", "::1"]
        questions = [Deferred.fromCoroutine(self._look_up(name, kind)) for kind in ("A", "AAAA")]
        found: list[str] = []
        exists = False
        failure: ResolutionError | None = None
        for question in questions:
            try:
                answer = await question
            except ResolutionError as error:
                failure = error
            else:
                exists = exists or answer is not None
                found += answer or ()
        if failure is not None and not found:
            raise failure
        return found if exists else None

    async def _look_up(self, name: str, kind: str) -> _Records | None:
        self._require_running(name, kind)  # a stopped pool would never answer
        now = self._clock.seconds()
        expiry, records = self._cache.get((name, kind), (0.0, ()))
        if expiry > now:
            return records
        answer = await deferToThreadPool(self._reactor, self._pool, self._ask, name, kind)
        if answer is None:
            return None
        ttl, records = answer
        if records:
            self._remember((name, kind), now + min(ttl, MAX_TTL), records)
        return records

    def _require_running(self, name: str, kind: str) -> None:
        if self._stopped:
            raise ResolutionError(f"{kind} of {name}: the server is stopping")

    def _remember(self, question: tuple[str, str], expiry: float, records: _Records) -> None:
        self._cache.pop(question, None)
        if len(self._cache) >= MAX_CACHED:
            del self._cache[next(iter(self._cache))]
        self._cache[question] = (expiry, records)

    def _ask(self, name: str, kind: str) -> tuple[float, _Records] | None:
        """In a thread: the time to live in seconds and the records; None for NXDOMAIN."""
        self._require_running(name, kind)
        try:
            absolute = dns.name.from_text(name, dns.name.root)
        except dns.exception.DNSException:
            return None  # a name that cannot stand in the DNS does not exist there
        try:
            answer = self._resolver.resolve(absolute, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN:
            return None
        except dns.resolver.LifetimeTimeout:
            raise ResolutionError(f"{kind} of {name}: no answer from the DNS") from None
        except dns.resolver.NoNameservers as error:
            raise ResolutionError(f"{kind} of {name}: {_reason(error)}") from error
        except Exception as error:  # whatever a parser may trip over in a stranger's octets
            raise ResolutionError(f"{kind} of {name}: {type(error).__name__}") from error
        if answer.rrset is None:
            return 0.0, ()
        ttl = answer.chaining_result.minimum_ttl
        return float(ttl), tuple(record.to_text() for record in answer.rrset)


def _stub(nameservers: Sequence[str]) -> dns.resolver.Resolver:
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


def _exchange(record: str) -> tuple[int, str]:
    preference, _, exchange = record.partition(" ")
    return int(preference), exchange.rstrip(".").lower()


def _reason(error: dns.resolver.NoNameservers) -> str:
    """What the last server said: SERVFAIL, REFUSED, or the trouble in talking to it."""
    errors = error.kwargs.get("errors") or [()]
    said = errors[-1][3:4]
    return str(said[0]) if said else "no usable answer from the DNS"
