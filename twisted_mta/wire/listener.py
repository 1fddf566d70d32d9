"""What the connections of one listening service share: limits, the TLS context, the idle sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from twisted_mta.wire.turn import breathe

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress
    from twisted.internet.ssl import CertificateOptions

    from twisted_mta.wire.connection import Connection

SWEEP_INTERVAL = 5.0  # seconds between two looks at the deadlines
END_LIMIT = 10.0  # seconds the sessions have to end when the server stops
END_SWEEP_INTERVAL = 1.0  # seconds between two looks at the deadlines then
COMPLAINT_INTERVAL = 60.0  # seconds between two lines in the log about clients that were sent away


class Listener(Factory):
    """Makes connections of one kind. `make` builds the session; `overload` is sent, once, to a client that
    is one too many. One sweep per listener replaces a timer per connection."""

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
    ) -> None:
        self._make = make
        self._reactor = reactor
        self.tls_context = tls_context
        self.implicit_tls = implicit_tls
        self._max_connections = max_connections
        self._max_per_host = max_connections_per_host
        self._overload = overload
        self._hosts: Counter[str] = Counter()
        self._complained = float("-inf")
        self._emptied: Deferred[None] | None = None
        self._sweep = task.LoopingCall(self.sweep)
        self._sweep.clock = reactor
        self.connections: set[Connection[Any]] = set()

    def seconds(self) -> float:
        """The reactor's clock."""
        return self._reactor.seconds()

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
        return connection

    def admit(self, connection: Connection[Any]) -> bool:
        """Count the connection in, or send it away when there are too many."""
        host = connection.peer_host
        if len(self.connections) >= self._max_connections or self._hosts[host] >= self._max_per_host:
            self._send_away(connection)
            return False
        self.connections.add(connection)
        self._hosts[host] += 1
        return True

    def _send_away(self, connection: Connection[Any]) -> None:
        self._complain(connection)
        if self.implicit_tls:  # a handshake only to say no costs more than the session would
            connection.abort()
            return
        transport = connection.transport
        assert transport is not None
        transport.write(self._overload)
        connection.close()

    def _complain(self, connection: Connection[Any]) -> None:
        if self.seconds() < self._complained + COMPLAINT_INTERVAL:
            return
        self._complained = self.seconds()
        transport = connection.transport
        assert transport is not None
        self.log.warn(
            "too many connections to port {port}: {total}, {own} of them from {host}, which is sent away",
            port=getattr(transport.getHost(), "port", ""),
            total=len(self.connections),
            own=self._hosts[connection.peer_host],
            host=connection.peer_host,
        )

    def release(self, connection: Connection[Any]) -> bool:
        """Count the connection out; False when it had never been admitted."""
        if connection not in self.connections:
            return False
        self.connections.discard(connection)
        host = connection.peer_host
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]
        if not self.connections and self._emptied is not None:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)
        return True

    def sweep(self) -> None:
        """Close what has made no progress until its deadline."""
        now = self.seconds()
        for connection in [c for c in self.connections if c.deadline <= now]:
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
