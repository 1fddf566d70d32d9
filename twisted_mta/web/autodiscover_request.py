"""What Outlook posts to be told its settings: POX as in [MS-OXDSCLI] §2.2.3."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.message.distrusted_xml import Elements, NotXml, read

_MOST_DEPTH = 10
_LONGEST_TEXT = 500  # characters
_MOST_SCHEMAS = 10


class NotARequest(Exception):
    """It cannot be read, or asks for nobody."""


@dataclass(frozen=True, slots=True)
class AutodiscoverRequest:
    """`address` as it was written; `schemas`: the forms of an answer that are understood."""

    address: str
    schemas: tuple[str, ...] = ()


def read_request(document: bytes) -> AutodiscoverRequest:
    """Raises NotARequest."""
    reading = _Reading()
    try:
        read(document, reading)
    except NotXml as error:
        raise NotARequest(str(error)) from error
    if not reading.address:
        raise NotARequest("it names no address")
    return AutodiscoverRequest(reading.address, tuple(reading.schemas))


class _Reading(Elements):
    def __init__(self) -> None:
        super().__init__("Autodiscover", most_depth=_MOST_DEPTH, longest_text=_LONGEST_TEXT)
        self.address = ""
        self.schemas: list[str] = []

    def ended(self, name: str, text: str) -> None:
        if self.names != ["Autodiscover", "Request"]:
            return
        if name == "EMailAddress":
            self.address = self.address or text
        elif name == "AcceptableResponseSchema" and len(self.schemas) < _MOST_SCHEMAS:
            self.schemas.append(text)
