"""Connections that come through a trusted proxy: the PROXY header is read before anything else happens,
before TLS too, and the session is made for the client that it names.

Who is not in the trusted networks is served as if there were no such protocol, so that a PROXY line of a
stranger is a command that nobody knows. Who is must send a header: to guess whether one is there would let
clients behind a careless proxy name themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_mta.message.networks import Network, within
from twisted_mta.protocol.proxy import NoProxyHeader, ProxiedPeer, ProxyHeader

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall
    from twisted.internet.tcp import Server

PATIENCE = 5.0  # seconds for the header, which a proxy sends at once
COMPLAINT_INTERVAL = 60.0  # seconds between two lines in the log about proxies that send none


@implementer(IProtocolFactory)
class ProxyAware:
    """In front of `factory`, for clients in `networks`."""

    noisy = False
    log = Logger(namespace="twisted_mta.listener")

    def __init__(
        self, factory: IProtocolFactory, *, networks: tuple[Network, ...], reactor: IReactorTime
    ) -> None:
        self.factory = factory
        self.reactor = reactor
        self._networks = networks
        self._complained = float("-inf")

    def doStart(self) -> None:
        """See IProtocolFactory."""
        self.factory.doStart()

    def doStop(self) -> None:
        """See IProtocolFactory."""
        self.factory.doStop()

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        """See IProtocolFactory."""
        if within(getattr(addr, "host", ""), self._networks):
            return ProxyReader(self, addr)
        built: IProtocol | None = self.factory.buildProtocol(addr)
        return built

    def complain(self, host: str, why: str) -> None:
        """Tell the log, now and then, of a proxy that is not set up to send the header."""
        if self.reactor.seconds() >= self._complained + COMPLAINT_INTERVAL:
            self._complained = self.reactor.seconds()
            self.log.warn("{host} is in proxy.networks and was cut off: {why}", host=host, why=why)


class ProxyReader(Protocol):
    """Owns a connection until its header has been read, then gives it to the session."""

    def __init__(self, owner: ProxyAware, addr: IAddress) -> None:
        self._owner = owner
        self._addr = addr
        self._header = ProxyHeader()
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._timer = self._owner.reactor.callLater(PATIENCE, self._drop, "it sent no PROXY header")

    def dataReceived(self, data: bytes) -> None:
        try:
            self._header.receive(data)
        except NoProxyHeader as error:
            self._drop(str(error))
            return
        if self._header.complete:
            self._hand_over()

    def _hand_over(self) -> None:
        self._stop_waiting()
        peer = self._header.peer
        session = self._owner.factory.buildProtocol(self._addr if peer is None else _address(peer))
        transport: Server = self.transport  # type: ignore[assignment]
        if session is None:
            transport.abortConnection()
            return
        transport.protocol = session
        session.makeConnection(transport)
        if self._header.rest:
            session.dataReceived(self._header.rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # A health check that only connects: nobody needs to hear of it.
        self._stop_waiting()

    def _drop(self, why: str) -> None:
        self._stop_waiting()
        self._owner.complain(str(getattr(self._addr, "host", "")), why)
        transport: Server = self.transport  # type: ignore[assignment]
        transport.abortConnection()

    def _stop_waiting(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


def _address(peer: ProxiedPeer) -> IPv4Address | IPv6Address:
    kind = IPv6Address if ":" in peer.host else IPv4Address
    return kind("TCP", peer.host, peer.port)
