"""What there is to be seen: resources by path, and the door through which every request comes to them.

A request is for the longest path in the table that its own begins with. Some host names have a table of their
own, such as `mta-sts.` in front of each of our domains; what a request says of its host decides nothing else,
and is never repeated.

Left out on purpose: HTTP Strict Transport Security. The same name may have other web servers and other ports.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any

from twisted.web.pages import errorPage, notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from twisted_mta.message.networks import Network, within

LONGEST_PATH = 1000  # octets

# Nothing here needs to load, run or be framed by anything, to be guessed at, or to tell where one came from.
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Pages:
    """A table. Resources in it answer for everything below their path."""

    def __init__(self, is_ours: Callable[[str], bool]) -> None:
        self._is_ours = is_ours
        self._table: dict[tuple[str, str], IResource] = {}
        self._labels: set[str] = set()

    def add(self, path: str, resource: IResource, *, label: str = "") -> None:
        """`path` is in lower case, begins with a slash and has none at its end. `label`: at hosts named so in
        front of a domain of ours, where nothing else is to be seen; "": at all others."""
        self._table[label, path] = resource
        self._labels.add(label)

    def find(self, host: str, path: str) -> IResource | None:
        """None when there is nothing."""
        if len(path) > LONGEST_PATH:
            return None
        label = self.label(host)
        whole = path.lower()  # Outlook writes paths in several ways
        if whole == "/":
            return self._table.get((label, whole))
        while whole:
            if (resource := self._table.get((label, whole))) is not None:
                return resource
            whole = whole.rpartition("/")[0]
        return None

    def label(self, host: str) -> str:
        """Which of the tables a host has."""
        label, _, domain = host.lower().rstrip(".").partition(".")
        return label if label in self._labels and self._is_ours(domain) else ""


class Door(Resource):
    """What every request to a listener goes through.

    `secure`: they come through TLS. `plain` is the table for those that do not: what is in `pages` alone is
    moved to `base` then, which is "https://host" or "". `proxies`: who may say, with X-Forwarded-For and
    X-Forwarded-Proto, who their client is, and whether it has come through TLS. `allowed` counts a request of
    a client, and says whether it may be answered."""

    def __init__(
        self,
        pages: Pages,
        *,
        plain: Pages,
        secure: bool,
        base: str,
        proxies: tuple[Network, ...],
        allowed: Callable[[str], bool],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._pages = pages
        self._plain = plain
        self._secure = secure
        self._base = base.encode("ascii")
        self._proxies = proxies
        self._allowed = allowed

    def getChild(self, path: bytes, request: Request) -> IResource:
        """See IResource: takes the whole path at once."""
        request.postpath = []
        request.responseHeaders.removeHeader("server")
        for name, value in HEADERS.items():
            request.setHeader(name, value)
        client, secure = self._speaks_for(request)
        if not self._allowed(client):
            request.setHeader("retry-after", "60")
            return _plain_words(429, "Too many requests", "Please try again in a minute.")
        host = request.getRequestHostname().decode("ascii", "replace")
        whole = request.path.decode("ascii", "replace")
        found = (self._pages if secure else self._plain).find(host, whole)
        if found is not None:
            return found
        # To the one name that there is a certificate for; hosts with a table of their own are not moved.
        moved = not secure and self._base and not self._pages.label(host)
        if moved and self._pages.find("", whole) is not None:
            return _Moved(self._base + request.uri)
        missing: IResource = notFound()
        return missing

    def _speaks_for(self, request: Request) -> tuple[str, bool]:
        """The client's address, and whether TLS protects what it says."""
        peer = str(getattr(request.getClientAddress(), "host", ""))
        if not within(peer, self._proxies):
            return peer, self._secure
        headers = request.requestHeaders
        hops = _listed(headers.getRawHeaders(b"x-forwarded-for", []))
        schemes = _listed(headers.getRawHeaders(b"x-forwarded-proto", []))
        secure = schemes[-1].lower() == "https" if schemes else self._secure
        for hop in reversed(hops):
            address = _address(hop)
            if address is None:
                break
            peer = address
            if not within(peer, self._proxies):
                break
        return peer, secure


def _listed(values: Iterable[bytes]) -> list[str]:
    items = ",".join(value.decode("ascii", "replace") for value in values).split(",")
    return [item.strip() for item in items if item.strip()]


def _address(text: str) -> str | None:
    """Some proxies write a port behind it."""
    inner = text[1:].partition("]")[0] if text.startswith("[") else text
    if inner.count(":") == 1:
        inner = inner.partition(":")[0]
    try:
        return str(ipaddress.ip_address(inner))
    except ValueError:
        return None


def _plain_words(code: int, brief: str, detail: str) -> IResource:
    page: IResource = errorPage(code, brief, detail)
    return page


class Page(Resource):
    """What answers for everything below its path, to these methods."""

    isLeaf = True
    methods: tuple[bytes, ...] = (b"GET", b"HEAD")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def render(self, request: Request) -> Any:
        """See IResource."""
        if request.method in self.methods:
            return super().render(request)  # type: ignore[no-untyped-call]
        request.setHeader(b"allow", b", ".join(self.methods))
        return _plain_words(405, "Method not allowed", "This is not what is done here.").render(request)


def not_found(request: Request) -> bytes:
    """The answer for what there is not."""
    page: IResource = notFound()
    body: bytes = page.render(request)
    return body


class _Moved(Page):
    """302 is what Outlook follows; what is posted has to be posted again."""

    methods = (b"GET", b"HEAD", b"POST")

    def __init__(self, url: bytes) -> None:
        super().__init__()
        self._url = url

    def render_GET(self, request: Request) -> bytes:
        """See IResource."""
        return self._send(request, 302)

    def render_POST(self, request: Request) -> bytes:
        """See IResource."""
        return self._send(request, 307)

    def _send(self, request: Request, code: int) -> bytes:
        request.setResponseCode(code)
        request.setHeader(b"location", self._url)
        request.setHeader("content-type", "text/plain; charset=utf-8")
        return b"It is at " + self._url + b"\n"


class Content(Page):
    """Octets that do not change."""

    def __init__(self, content: bytes, media_type: str = "text/plain; charset=utf-8") -> None:
        super().__init__()
        self._content = content
        self._media_type = media_type

    def render_GET(self, request: Request) -> bytes:
        """See IResource."""
        request.setHeader("content-type", self._media_type)
        return self._content


def argument(request: Request, name: str) -> str:
    """The first value of a parameter in the URL, its name in any case; "" when there is none."""
    arguments: dict[bytes, list[Any]] = request.args or {}
    for key, values in arguments.items():
        if key.lower() == name.encode("ascii") and values:
            return str(values[0].decode("utf-8", "replace"))
    return ""
