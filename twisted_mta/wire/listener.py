"""What the connections of one listening service share: limits, the TLS context, the idle sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from twisted_mta.message.networks import NARROW, Network, range_of, within
from twisted_mta.metrics.tally import Tally
from twisted_mta.steady import steady_seconds
from twisted_mta.wire.admission import Verdict, everybody
from twisted_mta.wire.turn import breathe

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress
    from twisted.internet.ssl import CertificateOptions

    from twisted_mta.wire.connection import Connection

SWEEP_INTERVAL = 5.0  # seconds between two looks at the deadlines
END_LIMIT = 10.0  # seconds the sessions have to end when the server stops
END_SWEEP_INTERVAL = 1.0  # seconds between two looks at the deadlines then
LEAVING = 8  # one in so many connections may be one that was told to leave, beyond what there is room for
COMPLAINT_INTERVAL = 60.0  # seconds between two lines in the log about clients that were sent away


class Listener(Factory):
    """Makes connections of one kind. `make` builds the session; `overload` is sent, once, to a client that
    is one too many; `admission` decides about each client by its address; hosts in the networks that are
    `spared` may have any number of connections. One sweep per listener replaces a
    timer per connection.

    When there is no room left, those go first who have made no progress for longer than their own `patience`:
    a crowd that holds its connections open and says nothing keeps nobody out."""

    noisy = False
    log = Logger(namespace="twisted_mta.listener")

    def __init__(
        self,
        make: Callable[[], Connection[Any]],
        *,
        reactor: IReactorTime,
        tls_context: CertificateOptions | None = None,
        implicit_tls: bool = False,
        max_connections: int = 1000,
        max_connections_per_host: int = 100,
        overload: bytes = b"",
        admission: Callable[[str], Verdict] = everybody,
        spared: tuple[Network, ...] = (),
    ) -> None:
        self._make = make
        self._admission = admission
        self._reactor = reactor
        self.seconds = steady_seconds(reactor)  # its clock
        self.tls_context = tls_context
        self.implicit_tls = implicit_tls
        self._max_connections = max_connections
        self._max_per_host = max_connections_per_host
        self._spared = spared
        self._overload = overload
        self._hosts: Counter[str] = Counter()
        self._complained = float("-inf")
        self._emptied: Deferred[None] | None = None
        self._sweep = task.LoopingCall(self.sweep)
        self._sweep.clock = reactor
        self.connections: set[Connection[Any]] = set()
        self.tally = Tally()

    def follow(
        self,
        make: Callable[[], Connection[Any]],
        *,
        max_connections_per_host: int,
        spared: tuple[Network, ...],
    ) -> None:
        """Make and count connections so from now on; those that there are stay what they are."""
        self._make = make
        self._max_per_host = max_connections_per_host
        self._spared = spared

    async def breathe(self) -> None:
        """Let the reactor serve everybody else, then go on."""
        await breathe(self._reactor)

    def doStart(self) -> None:
        super().doStart()  # type: ignore[no-untyped-call]
        if not self._sweep.running:
            self._sweep.start(SWEEP_INTERVAL, now=False)

    def doStop(self) -> None:
        super().doStop()  # type: ignore[no-untyped-call]
        if self.numPorts == 0 and self._sweep.running:
            self._sweep.stop()

    def buildProtocol(self, addr: IAddress | None) -> Connection[Any]:
        connection = self._make()
        connection.listener = self
        connection.factory = self
        if addr is not None:
            connection.comes_from(str(getattr(addr, "host", "")))
        return connection

    def admit(self, connection: Connection[Any]) -> bool:
        """Count the connection in, or send it away when there are too many, or it is not welcome."""
        host = _host(connection)
        verdict = self._admission(connection.peer_host)
        if verdict is not Verdict.WELCOME:
            self._send_away(connection, f"{verdict.value}: ", silently=verdict is Verdict.BANNED)
            return False
        if self._has_enough(host, connection.peer_host) or not self._has_room():
            self._send_away(connection, "too many connections: ")
            return False
        self.connections.add(connection)
        self.tally.opened += 1
        self._hosts[host] += 1
        return True

    def _has_enough(self, host: str, address: str) -> bool:
        return self._hosts[host] >= self._max_per_host and not within(address, self._spared)

    def _has_room(self) -> bool:
        """Is there room for one more, or will there be when those have left who have been told to? They may
        take their time, but there must not be too many of them."""
        present, most = len(self.connections), self._max_connections
        if present < most:
            return True
        if present >= most + max(most // LEAVING, 1):
            return False
        staying = [connection for connection in self.connections if not connection.leaving]
        return len(staying) - self.expire_quiet(staying) < most

    def expire_quiet(self, connections: Iterable[Connection[Any]]) -> int:
        """Tell those of them to leave who have made no progress for longer than their patience. Returns how
        many these are."""
        now = self.seconds()
        quiet = [each for each in connections if not each.leaving and each.quiet(now) > each.patience]
        for connection in quiet:
            self._expire(connection)
        return len(quiet)

    def _send_away(self, connection: Connection[Any], why: str, *, silently: bool = False) -> None:
        self.tally.sent_away[why.rstrip(": ")] += 1
        self._complain(connection, why)
        if self.implicit_tls or silently:  # a handshake only to say no costs more than the session would
            connection.abort()
            return
        transport = connection.transport
        assert transport is not None
        transport.write(self._overload)
        connection.close()

    def _complain(self, connection: Connection[Any], why: str) -> None:
        if self.seconds() < self._complained + COMPLAINT_INTERVAL:
            return
        self._complained = self.seconds()
        transport = connection.transport
        assert transport is not None
        self.log.warn(
            "{why}{total} connections to port {port}, {own} of them from {host}, which is sent away",
            why=why,
            port=getattr(transport.getHost(), "port", ""),
            total=len(self.connections),
            own=self._hosts[_host(connection)],
            host=connection.peer_host,
        )

    def release(self, connection: Connection[Any]) -> bool:
        """Count the connection out; False when it had never been admitted."""
        if connection not in self.connections:
            return False
        self.connections.discard(connection)
        self._count_out(_host(connection))
        if not self.connections and self._emptied is not None:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)
        return True

    def recount(self, connection: Connection[Any], host: str) -> bool:
        """Count an admitted connection as one of `host`, whom it speaks for from now on; False when that one
        has too many or is not welcome."""
        before, after = _host(connection), _host_of(host)
        if before == after:
            return True
        if self._has_enough(after, host) or self._admission(host) is not Verdict.WELCOME:
            return False
        self._hosts[after] += 1
        self._count_out(before)
        return True

    def _count_out(self, host: str) -> None:
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]

    def sweep(self) -> None:
        """Close what has made no progress until its deadline."""
        now = self.seconds()
        for connection in [c for c in self.connections if c.deadline <= now]:
            self._expire(connection)

    def _expire(self, connection: Connection[Any]) -> None:
        try:
            connection.expire()
        except Exception:
            self.log.failure("a session could not be ended")
            connection.abort()

    def end_all(self) -> Deferred[None]:
        """Tell every session that the server stops; fires when all are gone. Who took
        everything and only leaves TLS open is cut off after a moment, the others after END_LIMIT."""
        emptied: Deferred[None] = Deferred()
        self._emptied = emptied
        for connection in list(self.connections):
            connection.end()
        if not self.connections:
            self._emptied = None
            emptied.callback(None)
            return emptied
        if self._sweep.running:
            self._sweep.stop()
        self._sweep.start(END_SWEEP_INTERVAL, now=False)
        cut = self._reactor.callLater(END_LIMIT, self._cut_all)

        def over(_: None) -> None:
            if cut.active():
                cut.cancel()
            if self._sweep.running:
                self._sweep.stop()

        return emptied.addCallback(over)

    def _cut_all(self) -> None:
        for connection in list(self.connections):
            connection.abort()


def _host(connection: Connection[Any]) -> str:
    """What counts as one host: an IPv4 address; an IPv6 host has a /64."""
    return _host_of(connection.peer_host)


def _host_of(address: str) -> str:
    return range_of(address, *NARROW) or address
