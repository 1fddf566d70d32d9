"""A SOCKS5 proxy on a real socket: it connects, or does what it is told (RFC 1928)."""

from __future__ import annotations

import ipaddress

from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol


class ScriptedProxy(Factory):
    """refusal: the code of every reply, 0 to connect. user, password: the login it wants. silent: it takes
    connections and says nothing. asked: the (address, port) pairs of the requests."""

    noisy = False

    def __init__(self, *, refusal=0, user="", password="", silent=False, closes=False):
        self.refusal, self.user, self.password = refusal, user, password
        self.silent, self.closes = silent, closes
        self.asked = []
        self.open = set()

    def listen(self):
        self._listening = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.port = self._listening.getHost().port
        return self

    async def close(self):
        await maybeDeferred(self._listening.stopListening)
        for connection in list(self.open):
            connection.transport.abortConnection()

    def buildProtocol(self, addr):
        return _Client(self)


class _Client(Protocol):
    def __init__(self, proxy):
        self.proxy = proxy
        self.held = b""
        self.step = self.greet
        self.other = None

    def connectionMade(self):
        self.proxy.open.add(self)
        if self.proxy.closes:
            self.transport.loseConnection()

    def connectionLost(self, reason=None):
        self.proxy.open.discard(self)
        if self.other is not None:
            self.other.transport.loseConnection()

    def dataReceived(self, data):
        if self.other is not None:
            self.other.transport.write(data)
        elif not self.proxy.silent:
            self.held += data
            self.step()

    def greet(self):
        assert self.held[0] == 5
        wanted = 2 if self.proxy.user else 0
        offered = self.held[2:]
        self.held = b""
        self.step = self.login if wanted else self.connect
        self.transport.write(bytes((5, wanted if wanted in offered else 255)))

    def login(self):
        right = b"\1%c%b%c%b" % (
            len(self.proxy.user),
            self.proxy.user.encode(),
            len(self.proxy.password),
            self.proxy.password.encode(),
        )
        self.transport.write(bytes((1, self.held != right)))
        self.held, self.step = b"", self.connect

    def connect(self):
        assert self.held[:4] == b"\5\1\0\1"
        address, port = str(ipaddress.ip_address(self.held[4:8])), int.from_bytes(self.held[8:10], "big")
        self.proxy.asked.append((address, port))
        if self.proxy.refusal:
            self.transport.write(bytes((5, self.proxy.refusal, 0, 1)) + bytes(6))
            return
        done = connectProtocol(TCP4ClientEndpoint(reactor, address, port), _Host(self))
        done.addErrback(lambda failure: self.transport.write(b"\5\5\0\1" + bytes(6)))


class _Host(Protocol):
    def __init__(self, client):
        self.client = client

    def connectionMade(self):
        self.client.other = self
        self.client.transport.write(b"\5\0\0\1" + bytes(6))

    def dataReceived(self, data):
        self.client.transport.write(data)

    def connectionLost(self, reason=None):
        self.client.transport.loseConnection()
