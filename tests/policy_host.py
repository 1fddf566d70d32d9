"""A web server that has MTA-STS policies, and whatever else a test wants it to say; over real TLS."""

from __future__ import annotations

from certificates import authority
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site


class _Answer(Resource):
    isLeaf = True

    def __init__(self, host) -> None:
        super().__init__()
        self.host = host

    def render(self, request):
        self.host.requests.append((request.method.decode(), request.uri.decode(), request.content.read()))
        self.host.headers = {
            k.decode().lower(): v[0].decode() for k, v in request.requestHeaders.getAllRawHeaders()
        }
        if self.host.silent:
            return NOT_DONE_YET
        request.setResponseCode(self.host.status)
        for name, value in {"content-type": self.host.media_type, **self.host.more_headers}.items():
            request.setHeader(name, value)
        return self.host.body


class PolicyHost:
    """`body`, `status` and `media_type` are its answer; `requests` what it was asked: (method, path, body).
    The certificate is for `name`, from `signer`."""

    def __init__(self, name: str, body: bytes = b"", *, options=None) -> None:
        self.body = body
        self.status = 200
        self.media_type = "text/plain"
        self.more_headers: dict[str, str] = {}
        self.silent = False
        self.requests: list[tuple[str, str, bytes]] = []
        self.headers: dict[str, str] = {}
        site = Site(_Answer(self))
        site.noisy = False
        factory = TLSMemoryBIOFactory(options or authority().server(name), False, site)
        factory.noisy = False
        self._listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.port = self._listening.getHost().port

    async def close(self) -> None:
        await maybeDeferred(self._listening.stopListening)


class _Babbler(Protocol):
    def connectionMade(self) -> None:
        self.transport.write(b"220 this is not TLS\r\n")


def babbler():
    """A port at which something else is spoken."""
    factory = Factory.forProtocol(_Babbler)
    factory.noisy = False
    return reactor.listenTCP(0, factory, interface="127.0.0.1")
