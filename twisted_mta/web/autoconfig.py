"""What Thunderbird, and with it K-9, Evolution, KMail and others ask for: one document for a domain, in the
format config-v1.1 of "Thunderbird: Autoconfiguration".

They ask at https://autoconfig.DOMAIN/mail/config-v1.1.xml?emailaddress=ADDRESS and at
https://DOMAIN/.well-known/autoconfig/mail/config-v1.1.xml, some without an address, and over HTTP as well.

Left out on purpose: OAuth, which would need a client of ours to be registered with the program; the names of
people; "password-encrypted", which stands for CRAM-MD5.
"""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from twisted.web.server import Request

from twisted_mta.web.mail_services import MailService, Setup
from twisted_mta.web.pages import Page, argument, not_found

PATHS = ("/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml")
_KINDS = {"imap": ("incomingServer", "imap"), "pop3": ("incomingServer", "pop3")}
_OUTGOING = ("outgoingServer", "smtp")


class Autoconfig(Page):
    """The same for everybody in a domain: programs put their user's address in themselves."""

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self._setup = setup

    def render_GET(self, request: Request) -> bytes:
        """See IResource."""
        domain = self._domain(argument(request, "emailaddress"), request.getRequestHostname())
        if not domain:
            return not_found(request)
        request.setHeader("content-type", "text/xml; charset=utf-8")
        return document(self._setup, domain)

    def _domain(self, address: str, host: bytes) -> str:
        """Of the address, or of the host when there is none; "" when it is none of ours."""
        if address:
            return self._setup.address(address).rpartition("@")[2]
        name = host.decode("ascii", "replace").lower().rstrip(".")
        is_ours: Callable[[str], bool] = self._setup.is_ours
        return next((one for one in (name, name.removeprefix("autoconfig.")) if is_ours(one)), "")


def document(setup: Setup, domain: str) -> bytes:
    """XML."""
    root = Element("clientConfig", version="1.1")
    provider = SubElement(root, "emailProvider", id=domain)
    for name in ("domain", "displayName", "displayShortName"):
        SubElement(provider, name).text = domain
    for service in setup.of("imap", "pop3", "submission"):
        _add(provider, service)
    if setup.base:
        shown = SubElement(provider, "documentation", url=f"{setup.base}/setup")
        SubElement(shown, "descr", lang="en").text = "Settings for other mail programs"
    indent(root)
    written: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _add(provider: Element, service: MailService) -> None:
    name, kind = _KINDS.get(service.protocol, _OUTGOING)
    server = SubElement(provider, name, type=kind)
    for key, value in (
        ("hostname", service.host),
        ("port", str(service.port)),
        ("socketType", "SSL" if service.implicit_tls else "STARTTLS"),
        ("authentication", "password-cleartext"),
        ("username", "%EMAILADDRESS%"),
    ):
        SubElement(server, key).text = value
