"""HTTPS, as one more listener: one table of resources by host and path, shared by everything that has
something to show.

A request is for the longest path in the table that its own begins with, at its host; what stands there for
the host "" is for every host. What is not in the table is not found.

Left out on purpose: a certificate for each name (SNI); the server's own has to name them all.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

PATIENCE = 60.0  # seconds a connection may be idle
LARGEST_REQUEST = 64 * 1024  # octets of content


class Pages(Resource):
    """The table. Resources in it answer for everything below their path."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._table: dict[tuple[str, str], IResource] = {}

    def add(self, path: str, resource: IResource, *, host: str = "") -> None:
        """`path` begins with a slash and has none at its end; `host` is in lower case."""
        self._table[host, path] = resource

    def getChild(self, path: bytes, request: Request) -> IResource:
        """See IResource: takes the whole path at once."""
        whole = request.path.decode("ascii", "replace")
        request.postpath = []
        host = request.getRequestHostname().decode("ascii", "replace").lower()
        while whole:
            for name in (host, ""):
                if (resource := self._table.get((name, whole))) is not None:
                    return resource
            whole = whole.rpartition("/")[0]
        missing: IResource = notFound()
        return missing


class Text(Resource):
    """A text that does not change."""

    isLeaf = True

    def __init__(self, content: bytes) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._content = content

    def render_GET(self, request: Request) -> bytes:
        """See IResource."""
        request.setHeader("content-type", "text/plain; charset=utf-8")
        return self._content


class _Request(Request):
    """Ends the connection of who sends more than anything here could want."""

    received = 0

    def handleContentChunk(self, data: bytes) -> None:
        self.received += len(data)
        if self.received > LARGEST_REQUEST:
            transport: Any = self.transport
            transport.abortConnection()
            return
        super().handleContentChunk(data)  # type: ignore[no-untyped-call]


class _Counted(ProtocolWrapper):
    factory: WebListener
    host = ""  # the client's; behind a proxy not that of the other end

    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)  # type: ignore[no-untyped-call]
        if not self.factory.admits(self):
            transport.abortConnection()


class WebListener(WrappingFactory):
    """Looks to the server like a `wire.listener.Listener`: TLS from the first octet, limits, an end."""

    noisy = False
    protocol = _Counted
    implicit_tls = True

    def __init__(
        self,
        pages: Pages,
        *,
        tls_context: CertificateOptions | None,
        max_connections: int,
        max_connections_per_host: int,
    ) -> None:
        site = Site(pages, requestFactory=_Request, timeout=PATIENCE)
        site.displayTracebacks = False
        site.noisy = False
        site.log = lambda request: None  # type: ignore[method-assign]  # who has something to tell, tells it
        super().__init__(site)  # type: ignore[no-untyped-call]
        self.tls_context = tls_context
        self._max_connections = max_connections
        self._max_per_host = max_connections_per_host

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """See IProtocolFactory."""
        connection: Any = super().buildProtocol(addr)
        connection.host = str(getattr(addr, "host", ""))
        return connection

    def admits(self, connection: _Counted) -> bool:
        """Whether one more, that is counted already, is not too many."""
        hosts = Counter(each.host for each in self.protocols)
        return len(self.protocols) <= self._max_connections and hosts[connection.host] <= self._max_per_host

    def end_all(self) -> Deferred[None]:
        """Nothing here takes long enough to be waited for."""
        for connection in list(self.protocols):
            connection.abortConnection()
        return succeed(None)
