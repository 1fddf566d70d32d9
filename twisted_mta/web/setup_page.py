"""The page for people: their settings to be copied, and what sets their programs up. It works without
scripts, loads nothing from elsewhere, and is the same whether somebody has the address or not.
"""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import segno
from twisted.python.filepath import FilePath
from twisted.web.iweb import IRequest
from twisted.web.server import Request
from twisted.web.template import Element, Tag, XMLFile, renderElement, renderer

from twisted_mta.web import apple_profile
from twisted_mta.web.mail_services import MailService, Setup
from twisted_mta.web.pages import HEADERS, Page, argument, not_found

PATH = "/setup"
QR_PATH = "/setup/qr.svg"
STYLE_PATH = "/setup/style.css"
_HERE = Path(__file__).parent
STYLE = (_HERE / "setup.css").read_bytes()
_TEMPLATE = XMLFile(FilePath(str(_HERE / "setup.xhtml")))
_POLICY = (
    HEADERS["content-security-policy"].replace("form-action 'none'", "form-action 'self'")
    + "; style-src 'self'; img-src 'self'"
)
_NAMES = {
    "imap": "Incoming mail (IMAP)",
    "pop3": "Incoming mail (POP3)",
    "submission": "Outgoing mail (SMTP)",
    "managesieve": "Filters (ManageSieve)",
}


class SetupPage(Page):
    """For an address that is asked about, or asking for one."""

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self._setup = setup

    def render_GET(self, request: Request) -> Any:
        """See IResource."""
        text = argument(request, "address")[:320]
        address = self._setup.address(text)
        if text and not address:
            request.setResponseCode(404)
        request.setHeader("content-security-policy", _POLICY)
        request.setHeader("content-type", "text/html; charset=utf-8")
        return renderElement(request, _Page(self._setup, text, address), doctype=b"<!DOCTYPE html>")


class QrCode(Page):
    """The way to the profile, for a camera."""

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self._setup = setup

    def render_GET(self, request: Request) -> bytes:
        """See IResource."""
        address = self._setup.address(argument(request, "address"))
        if not address:
            return not_found(request)
        request.setHeader("content-type", "image/svg+xml")
        return qr_code(f"{self._setup.base}{_link(apple_profile.PATH, address)}")


@lru_cache(256)
def qr_code(text: str) -> bytes:
    """SVG."""
    drawn = io.BytesIO()
    segno.make(text, error="m", micro=False).save(drawn, kind="svg", scale=5, light="#fff")
    return drawn.getvalue()


def _link(path: str, address: str) -> str:
    return f"{path}?{urlencode({'address': address})}"


class _Page(Element):
    loader = _TEMPLATE

    def __init__(self, setup: Setup, text: str, address: str) -> None:
        super().__init__()
        self._setup = setup
        self._text = text
        self._address = address

    @renderer
    def asked(self, request: IRequest, tag: Tag) -> Tag:
        """What stands in the field."""
        return tag(value=self._address or self._text)

    @renderer
    def complaint(self, request: IRequest, tag: Tag) -> Tag | str:
        """When it is no address of ours."""
        return tag if self._text and not self._address else ""

    @renderer
    def settings(self, request: IRequest, tag: Tag) -> Tag | str:
        """All that belongs to an address."""
        if not self._address:
            return ""
        return tag.fillSlots(
            address=self._address,
            profile=_link(apple_profile.PATH, self._address),
            qr=_link(QR_PATH, self._address),
        )

    @renderer
    def rows(self, request: IRequest, tag: Tag) -> list[Tag]:
        """One for each service, the better ones first."""
        services = self._setup.of("imap", "submission", "pop3", "managesieve")
        return [tag.clone().fillSlots(**_row(service)) for service in services]


def _row(service: MailService) -> dict[str, str]:
    return {
        "name": _NAMES[service.protocol],
        "host": service.host,
        "port": str(service.port),
        "encryption": "SSL/TLS" if service.implicit_tls else "STARTTLS",
    }
