"""What Outlook asks for: POX ([MS-OXDSCLI]), where an address is posted and settings for IMAP, POP3 and SMTP
come back; and the newer JSON, which only says where the former is to be had.

It asks at https://DOMAIN/autodiscover/autodiscover.xml and https://autodiscover.DOMAIN/…, or follows
redirections from there and an SRV record.

Left out on purpose: Exchange, ActiveSync, EWS and MAPI, which are not here: whoever asks for them hears so in
the words that are meant for it.
"""

from __future__ import annotations

import datetime
import json
from urllib.parse import unquote
from xml.etree.ElementTree import Element, SubElement, tostring

from twisted.web.server import Request

from twisted_mta.web.autodiscover_request import AutodiscoverRequest, NotARequest, read_request
from twisted_mta.web.mail_services import MailService, Setup
from twisted_mta.web.pages import Page, argument, not_found

POX = "/autodiscover/autodiscover.xml"
JSON = "/autodiscover/autodiscover.json"
_FRAME = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
_OUTLOOK = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
_INVALID, _NO_PROVIDER = 600, 601  # [MS-ASCMD] §2.2.3.64
_TYPES = {"imap": "IMAP", "pop3": "POP3", "submission": "SMTP"}


class Autodiscover(Page):
    """POX."""

    methods = (b"POST",)

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self._setup = setup

    def render_POST(self, request: Request) -> bytes:
        """See IResource. Errors of the protocol are answered with 200, as programs expect it."""
        request.setHeader("content-type", "text/xml; charset=utf-8")
        assert request.content is not None
        try:
            asked = read_request(request.content.read())
        except NotARequest:
            return _error(_INVALID, "Invalid Request")
        address = self._setup.address(asked.address)
        if not address:
            return not_found(request)
        if not _understands(asked):
            return _error(_NO_PROVIDER, "Provider is not available")
        return settings(self._setup, address)


def _understands(asked: AutodiscoverRequest) -> bool:
    """Some write https: in the name of the schema."""
    known = _OUTLOOK.partition(":")[2]
    return not asked.schemas or any(schema.lower().partition(":")[2] == known for schema in asked.schemas)


def settings(setup: Setup, address: str) -> bytes:
    """XML, with the best service of each kind: Outlook takes one of them."""
    root = Element("Autodiscover", xmlns=_FRAME)
    response = SubElement(root, "Response", xmlns=_OUTLOOK)
    SubElement(SubElement(response, "User"), "DisplayName").text = address
    account = SubElement(response, "Account")
    SubElement(account, "AccountType").text = "email"
    SubElement(account, "Action").text = "settings"
    for protocol in _TYPES:
        for service in setup.of(protocol)[:1]:
            _add(account, service, address)
    return _written(root)


def _add(account: Element, service: MailService, address: str) -> None:
    protocol = SubElement(account, "Protocol")
    values = [
        ("Type", _TYPES[service.protocol]),
        ("Server", service.host),
        ("Port", str(service.port)),
        ("LoginName", address),
        ("DomainRequired", "off"),
        ("SPA", "off"),  # NTLM, which is the default
        ("SSL", "on"),
        ("AuthRequired", "on"),
    ]
    if service.protocol == "submission":
        values += [("UsePOPAuth", "off"), ("SMTPLast", "off")]
    values.append(("Encryption", "SSL" if service.implicit_tls else "TLS"))
    for name, value in values:
        SubElement(protocol, name).text = value


def _error(code: int, message: str) -> bytes:
    root = Element("Autodiscover", xmlns=_FRAME)
    now = datetime.datetime.now(datetime.UTC)
    error = SubElement(SubElement(root, "Response"), "Error", Time=f"{now:%H:%M:%S.%f}", Id="0")
    SubElement(error, "ErrorCode").text = str(code)
    SubElement(error, "Message").text = message
    SubElement(error, "DebugData")
    return _written(root)


def _written(root: Element) -> bytes:
    written: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


class AutodiscoverJson(Page):
    """Version 2. The address is a parameter, or stands in the path: …/autodiscover.json/v1.0/ADDRESS."""

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self._setup = setup

    def render_GET(self, request: Request) -> bytes:
        """See IResource."""
        below = unquote(request.path.decode("ascii", "replace")[len(JSON) :])
        text = argument(request, "email") or below.rpartition("/")[2]
        protocol = argument(request, "protocol")
        request.setHeader("content-type", "application/json; charset=utf-8")
        if not text or not protocol:
            missing = "Protocol" if text else "Email"
            return _refused(
                request, 400, "MandatoryParameterMissing", f"The parameter '{missing}' is missing."
            )
        if not self._setup.address(text):
            return _refused(request, 404, "UserNotFound", "There is no such domain here.")
        if protocol.lower() != "autodiscoverv1":
            why = "This protocol is not here. Supported values are 'AutodiscoverV1'."
            return _refused(request, 400, "InvalidProtocol", why)
        return _json({"Protocol": "AutodiscoverV1", "Url": f"{self._setup.base}{POX}"})


def _refused(request: Request, status: int, code: str, why: str) -> bytes:
    request.setResponseCode(status)
    return _json({"ErrorCode": code, "ErrorMessage": why})


def _json(value: dict[str, str]) -> bytes:
    return json.dumps(value).encode("ascii")
