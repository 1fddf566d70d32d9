"""HTTPS as policies, reports and tokens need it: one request, one bounded answer (RFC 8461 §3.3,
RFC 8460 §3, RFC 7662 §2).

Names are resolved by the server's own resolver, the certificate must be right for the name (RFC 9525),
redirects are not followed, and time and size are bounded. The demand on the certificate is also what keeps
a stranger, whose DNS names the address, from making us talk to a host inside: that could not show a
certificate for the stranger's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from twisted_mta.interfaces import IResolver
from twisted_mta.resolver import ResolutionError

PATIENCE = 60.0  # seconds for a whole exchange (RFC 8461 §3.3)
CONNECTING = 20.0  # seconds for one address
_MOST_ADDRESSES = 4


class FetchError(Exception):
    """No answer that can be used; says why in plain words. `certificate`: the server's was not right."""

    def __init__(self, text: str, *, certificate: bool = False) -> None:
        super().__init__(text)
        self.certificate = certificate


@dataclass(frozen=True)
class Answer:
    """What a server says, whatever its status; names of fields in lower case, the first one of each."""

    status: int
    fields: dict[str, str]
    content: bytes

    @property
    def media_type(self) -> str:
        """In lower case, without parameters; "" when there is none."""
        return self.fields.get("content-type", "").partition(";")[0].strip().lower()


class HttpsClient:
    """`trust_root` signs the certificates to believe in; the platform's authorities when None. `port`:
    where the scheme's own is meant. `patience`: seconds for a whole exchange."""

    def __init__(
        self,
        *,
        reactor: Any,
        resolver: IResolver,
        trust_root: Certificate | None = None,
        port: int = 443,
        patience: float = PATIENCE,
    ) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._trust_root = trust_root
        self._port = port
        self._patience = patience

    async def get(self, url: str, *, limit: int) -> tuple[bytes, str]:
        """The body, of `limit` octets at most, and the media type in lower case without parameters.
        Raises FetchError."""
        return await self._accepted(b"GET", url, None, {}, limit)

    async def post(
        self, url: str, body: bytes, media_type: str, *, authorization: str = "", limit: int = 64 * 1024
    ) -> bytes:
        """The body of the answer, of `limit` octets at most. `authorization`: the field of that name, when it
        is wanted. Raises FetchError when it was not accepted with 2yz."""
        headers = {"content-type": [media_type]}
        if authorization:
            headers["authorization"] = [authorization]
        content, _ = await self._accepted(b"POST", url, _Body(body), headers, limit)
        return content

    async def ask(
        self, method: str, url: str, body: bytes = b"", media_type: str = "", *, limit: int = 64 * 1024
    ) -> Answer:
        """What the server says to this, an error of its own included; `limit` as above. Raises FetchError."""
        headers = {"content-type": [media_type]} if media_type else {}
        return await self._request(method.encode(), url, _Body(body) if body else None, headers, limit)

    async def _accepted(
        self, method: bytes, url: str, body: Any, headers: dict[str, list[str]], limit: int
    ) -> tuple[bytes, str]:
        answer = await self._request(method, url, body, headers, limit)
        good = answer.status == 200 if method == b"GET" else 200 <= answer.status < 300
        if not good:
            raise FetchError(f"{url}: HTTP status {answer.status}")
        return answer.content, answer.media_type

    async def _request(
        self, method: bytes, url: str, body: Any, headers: dict[str, list[str]], limit: int
    ) -> Answer:
        exchange = Deferred.fromCoroutine(self._exchange(method, url, body, headers, limit))
        try:
            return await exchange.addTimeout(self._patience, self._reactor)
        except FetchError:
            raise
        except ResolutionError as error:
            raise FetchError(f"{url}: {error}") from error
        except (ResponseNeverReceived, ResponseFailed) as error:
            reasons = [reason.value for reason in error.reasons]
            if any(isinstance(reason, CancelledError) for reason in reasons):
                raise FetchError(self._late(url)) from error
            tls = next((reason for reason in reasons if isinstance(reason, SSL.Error)), None)
            if tls is not None:
                raise FetchError(
                    f"{url}: {_tls_words(tls)}", certificate=_is_about_certificate(tls)
                ) from error
            unproven = next((reason for reason in reasons if "Verification" in type(reason).__name__), None)
            text = "the certificate is not for that name" if unproven else "the connection was lost"
            raise FetchError(f"{url}: {text}", certificate=unproven is not None) from error
        except TookTooLong as error:
            raise FetchError(self._late(url)) from error
        except Exception as error:  # whatever a stranger's octets make of an HTTP client
            raise FetchError(f"{url}: {ascii(str(error) or type(error).__name__)[:200]}") from error

    def _late(self, url: str) -> str:
        return f"{url}: no answer in {self._patience:g} seconds"

    async def _exchange(
        self, method: bytes, url: str, body: Any, headers: dict[str, list[str]], limit: int
    ) -> Answer:
        sent = Headers({"user-agent": ["twisted_mta"], **headers})
        endpoints = _Endpoints(self._reactor, self._resolver, self._trust_root, self._port)
        agent = Agent.usingEndpointFactory(self._reactor, endpoints)
        try:
            response: Any = await agent.request(method, url.encode("ascii"), sent, body)
            finished: Deferred[bytes] = Deferred()
            response.deliverBody(_Bounded(finished, limit))
            content = await finished
        finally:
            endpoints.abort()
        fields = {
            name.decode("ascii", "replace").lower(): values[0].decode("latin-1")
            for name, values in response.headers.getAllRawHeaders()
        }
        return Answer(response.code, fields, content)


def _tls_words(error: SSL.Error) -> str:
    entries = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return ", ".join(entry[-1] for entry in entries) or "TLS handshake failed"


def _is_about_certificate(error: SSL.Error) -> bool:
    return "certificate" in _tls_words(error)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """For one exchange; remembers its connection."""

    def __init__(self, reactor: Any, resolver: IResolver, trust_root: Certificate | None, port: int) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._trust_root = trust_root
        self._port = port
        self._connected: list[IProtocol] = []

    def abort(self) -> None:
        """Cut what was connected: a server that goes on talking is not listened to."""
        for protocol in self._connected:
            transport: Any = protocol.transport  # type: ignore[attr-defined]
            transport.abortConnection()

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """Raises FetchError for what is not HTTPS."""
        if uri.scheme != b"https":
            raise FetchError("not an https URI")
        name = uri.host.decode("ascii")
        port = self._port if uri.port == 443 else uri.port
        inner = _Resolved(self._reactor, self._resolver, name, port, self._connected)
        return _Secured(optionsForClientTLS(name, trustRoot=self._trust_root), inner, self._reactor)


@implementer(IStreamClientEndpoint)
class _Secured:
    """TLS over what `inner` connects, as `wrapClientTLS` makes it, but by our reactor, which need not be that
    of the process."""

    def __init__(
        self, creator: IOpenSSLClientConnectionCreator, inner: IStreamClientEndpoint, reactor: Any
    ) -> None:
        self._creator = creator
        self._inner = inner
        self._reactor = reactor

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See IStreamClientEndpoint."""
        factory = TLSMemoryBIOFactory(self._creator, True, protocolFactory, clock=self._reactor)
        connected: Deferred[Any] = self._inner.connect(factory)
        return connected.addCallback(lambda protocol: protocol.wrappedProtocol)


@implementer(IStreamClientEndpoint)
class _Resolved:
    """The addresses that our own resolver knows, one after the other."""

    def __init__(
        self, reactor: Any, resolver: IResolver, name: str, port: int, connected: list[IProtocol]
    ) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._name = name
        self._port = port
        self._connected = connected

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See IStreamClientEndpoint. Fails with FetchError."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        found = await self._resolver.addresses(self._name)
        if found is None or not found.records:
            raise FetchError(f"{self._name} has no address")
        for address in found.records[:_MOST_ADDRESSES]:
            kind: Any = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            try:
                connected: IProtocol = await kind(self._reactor, address, self._port, CONNECTING).connect(
                    factory
                )
            except ConnectError:
                continue
            except ConnectingCancelledError as late:  # no time is left to call the next one
                raise CancelledError from late
            self._connected.append(connected)
            return connected
        raise FetchError(f"{self._name} cannot be reached at port {self._port}")


class _Bounded(Protocol):
    """Collects a body, and gives up on one that is too large."""

    def __init__(self, finished: Deferred[bytes], limit: int) -> None:
        self._finished: Deferred[bytes] | None = finished
        self._limit = limit
        self._data = bytearray()

    def dataReceived(self, data: bytes) -> None:
        if self._finished is None:
            return
        self._data += data
        if len(self._data) > self._limit:
            finished, self._finished = self._finished, None
            finished.errback(FetchError(f"more than {self._limit} octets"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        finished, self._finished = self._finished, None
        if finished is not None:
            if reason.check(ResponseDone, PotentialDataLoss):
                finished.callback(bytes(self._data))
            else:
                finished.errback(FetchError("the answer is incomplete"))


@implementer(IBodyProducer)
class _Body:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """See IBodyProducer."""
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """All has been written."""

    def resumeProducing(self) -> None:
        """All has been written."""

    def stopProducing(self) -> None:
        """All has been written."""
