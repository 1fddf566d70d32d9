"""HTTP and HTTPS, as listeners like the others: limits, patience, an end.

Whoever sends a request has `PATIENCE` for it, from the connection, TLS included, or from the request before:
who drips octets makes no progress, and who does not read is cut off in the same time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from twisted_mta.message.networks import NARROW, Network, range_of, within
from twisted_mta.wire.admission import Verdict, everybody

PATIENCE = 60.0  # seconds for a request
MOST_AT_ONCE = 16  # requests that a client sends without waiting; others wait while they are answered
LARGEST_REQUEST = 64 * 1024  # octets of content


class _Request(Request):
    """Ends the connection of who sends more than anything here could want."""

    received = 0

    def gotLength(self, length: int | None) -> None:
        super().gotLength(min(length or 0, LARGEST_REQUEST))  # type: ignore[no-untyped-call]
        if length is not None and length > LARGEST_REQUEST:
            self._end_connection()

    def handleContentChunk(self, data: bytes) -> None:
        self.received += len(data)
        if self.received > LARGEST_REQUEST:
            self._end_connection()
            return
        super().handleContentChunk(data)  # type: ignore[no-untyped-call]

    def process(self) -> None:
        connection: Any = self.transport
        if connection.goes_on():
            if self.path == b"*":  # Twisted would answer by itself, and name itself
                self.path = b"/*"
            super().process()  # type: ignore[no-untyped-call]

    def _end_connection(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


class _Connection(ProtocolWrapper):
    factory: WebListener
    client: IAddress | None = None  # behind a proxy that says so, not the other end
    _timer: IDelayedCall | None = None
    _burst = 0  # requests in what was read last

    def getPeer(self) -> IAddress:
        return self.client or super().getPeer()  # type: ignore[no-untyped-call]

    @property
    def host(self) -> str:
        """The client's address."""
        return str(getattr(self.client, "host", ""))

    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)  # type: ignore[no-untyped-call]
        self._timer = self.factory.reactor.callLater(PATIENCE, self.abortConnection)
        if not self.factory.admit(self):
            self.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        self._burst = 0
        if not self.disconnecting:  # TLS may bring something after the last word
            super().dataReceived(data)  # type: ignore[no-untyped-call]

    def loseConnection(self) -> None:
        self.unregisterProducer()  # type: ignore[no-untyped-call]  # for whom TLS would wait
        super().loseConnection()  # type: ignore[no-untyped-call]

    def abortConnection(self) -> None:
        self.disconnecting = True
        transport: Any = self.transport
        transport.abortConnection()

    def goes_on(self) -> bool:
        """A request has come in whole. False when it is not to be answered."""
        self._burst += 1
        if self._burst > MOST_AT_ONCE:
            self.abortConnection()
        if self._timer is not None:
            self._timer.reset(PATIENCE)
        return not self.disconnecting

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        self.factory.release(self)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]


class WebListener(WrappingFactory):
    """Looks to the server like a `wire.listener.Listener`. `root` answers requests; `secure`: with TLS from
    the first octet; `admission` decides about each client by its address; hosts in the networks that are
    `spared` may have any number of connections."""

    noisy = False
    protocol = _Connection

    def __init__(
        self,
        root: IResource,
        *,
        reactor: IReactorTime,
        secure: bool,
        tls_context: CertificateOptions | None,
        max_connections: int,
        max_connections_per_host: int,
        admission: Callable[[str], Verdict] = everybody,
        spared: tuple[Network, ...] = (),
    ) -> None:
        site = Site(root, requestFactory=_Request, timeout=None)
        site.displayTracebacks = False
        site.noisy = False
        site.log = lambda request: None  # type: ignore[method-assign]  # who has something to tell, tells it
        super().__init__(site)  # type: ignore[no-untyped-call]
        self.reactor = reactor
        self.implicit_tls = secure
        self.tls_context = tls_context if secure else None
        self._max_connections = max_connections
        self._max_per_host = max_connections_per_host
        self._admission = admission
        self._spared = spared
        self._hosts: Counter[str] = Counter()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """See IProtocolFactory."""
        connection: Any = super().buildProtocol(addr)
        connection.client = addr
        return connection

    def admit(self, connection: _Connection) -> bool:
        """Count one more; False when it is too many, or not welcome."""
        host = _counted_as(connection)
        self._hosts[host] += 1
        return (
            len(self.protocols) <= self._max_connections
            and (self._hosts[host] <= self._max_per_host or within(connection.host, self._spared))
            and self._admission(connection.host) is Verdict.WELCOME
        )

    def release(self, connection: _Connection) -> None:
        """It is gone."""
        host = _counted_as(connection)
        self._hosts[host] -= 1
        if self._hosts[host] <= 0:
            del self._hosts[host]

    def end_all(self) -> Deferred[None]:
        """Nothing here takes long enough to be waited for."""
        for connection in list(self.protocols):
            connection.abortConnection()
        return succeed(None)


def _counted_as(connection: _Connection) -> str:
    return range_of(connection.host, *NARROW) or connection.host
