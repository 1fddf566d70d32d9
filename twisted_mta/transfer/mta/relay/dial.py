"""A connection to a mail server, whichever way leads there: TCP from a local address that suits, a socket
of this machine, or a SOCKS5 proxy (RFC 1928).

Whatever goes wrong is Trouble at the stage CONNECT, temporary, in plain words.
"""

from __future__ import annotations

import errno
import os
from typing import Any, TypeVar, cast

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from twisted_mta.protocol.smtp.client_events import Stage
from twisted_mta.transfer.mta.relay.socks import SocksEngine, SocksError
from twisted_mta.transfer.mta.relay.verdict import Trouble, trouble
from twisted_mta.transfer.mta.route import Host, Proxy

P = TypeVar("P", bound=Protocol)


async def connect(
    reactor: Any, host: Host, protocol: P, *, source: str = "", proxy: Proxy | None = None, timeout: float
) -> P:
    """Connect `protocol` to the host, within `timeout` seconds. `source`: the local address to call from,
    of the host's family; "" for any. With a proxy it is the proxy that
    is called from there, if it is of that family, too. Raises Trouble."""
    if host.path:
        endpoint = UNIXClientEndpoint(reactor, host.path, timeout=timeout, checkPID=False)
        return await _connected(endpoint, protocol, f"socket {host.path}: ")
    if proxy is None:
        return await _connected(_tcp(reactor, host.address, host.port, source, timeout), protocol, "")
    try:
        engine = SocksEngine(host.address, host.port, user=proxy.user, password=proxy.password)
    except ValueError as failure:
        raise _trouble(str(failure)) from None
    started = IReactorTime(reactor).seconds()
    same_family = (":" in source) == (":" in proxy.host)
    endpoint = _tcp(reactor, proxy.host, proxy.port, source if same_family else "", timeout)
    asking = await _connected(endpoint, _Asking(engine, protocol), f"proxy {proxy.host}: ")
    left = timeout - (IReactorTime(reactor).seconds() - started)
    timer = IReactorTime(reactor).callLater(max(left, 0.0), asking.give_up)
    try:
        await asking.done
    finally:
        if timer.active():
            timer.cancel()
    return protocol


def _tcp(reactor: Any, address: str, port: int, source: str, timeout: float) -> Any:
    sixth = ":" in address
    if source and (":" in source) is not sixth:
        raise _trouble(f"The address to call from, {source}, is not of the same family")
    kind: Any = TCP6ClientEndpoint if sixth else TCP4ClientEndpoint
    return kind(reactor, address, port, timeout, (source, 0) if source else None)


async def _connected(endpoint: Any, protocol: P, where: str) -> P:
    try:
        return cast(P, await endpoint.connect(Factory.forProtocol(lambda: protocol)))
    except (error.TimeoutError, error.TCPTimedOutError):
        raise _trouble(f"{where}Connection timed out") from None
    except error.ConnectError as failure:
        raise _trouble(f"{where}{_reason(failure)}") from failure


def _reason(failure: error.ConnectError) -> str:
    """Why a connection could not be made, in plain words."""
    if isinstance(failure, error.ConnectionRefusedError):
        return "Connection refused"
    if isinstance(failure, error.NoRouteError):
        return "No route to host"
    if isinstance(failure, error.ConnectBindError) and failure.osError == errno.EADDRNOTAVAIL:
        return "The local address to call from is not one of this machine"
    why = os.strerror(failure.osError) if isinstance(failure.osError, int) else failure
    return ascii(f"Cannot connect: {why}").strip("'\"")


def _trouble(text: str) -> Trouble:
    return trouble(Stage.CONNECT, "4.4.1", text)


class _Asking(Protocol):
    """Speaks with the proxy, then hands the transport to `protocol`. done: fires then, or fails with
    Trouble."""

    transport: Any

    def __init__(self, engine: SocksEngine, protocol: Protocol) -> None:
        self._engine = engine
        self._protocol = protocol
        self.done: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(self._engine.take_output())

    def dataReceived(self, data: bytes) -> None:
        if self.done.called:
            return
        try:
            self._engine.receive(data)
        except SocksError as failure:
            self._fail(str(failure))
            return
        if output := self._engine.take_output():
            self.transport.write(output)
        if self._engine.established:
            self.transport.protocol = self._protocol
            self._protocol.makeConnection(self.transport)
            self.done.callback(None)
            if self._engine.rest:
                self._protocol.dataReceived(self._engine.rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._fail("The proxy has closed the connection")

    def give_up(self) -> None:
        """The time is over."""
        self._fail("The proxy does not answer in time")

    def _fail(self, text: str) -> None:
        if not self.done.called:
            self.done.errback(_trouble(text))
            self.transport.abortConnection()
