"""What Outlook posts to be told its settings, read with distrust: POX as in [MS-OXDSCLI] §2.2.3.

A document type, and with it every entity of its own, is refused. Depth and lengths are bounded, and names
count with any namespace.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.parsers import expat

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
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.text
    try:
        parser.Parse(document, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the latter: its encoding
        raise NotARequest("it is not XML that can be read") from error
    if not reading.address:
        raise NotARequest("it names no address")
    return AutodiscoverRequest(reading.address, tuple(reading.schemas))


def _refuse(*_: object) -> None:
    raise NotARequest("it brings a document type or entities of its own")


class _Reading:
    def __init__(self) -> None:
        self.address = ""
        self.schemas: list[str] = []
        self._names: list[str] = []
        self._text = ""

    def start(self, name: str, _: object) -> None:
        name = name.rpartition(":")[2]
        if len(self._names) >= _MOST_DEPTH:
            raise NotARequest("it is nested too deeply")
        if not self._names and name != "Autodiscover":
            raise NotARequest("it is another kind of XML")
        self._names.append(name)
        self._text = ""

    def text(self, data: str) -> None:
        self._text += data[: max(_LONGEST_TEXT - len(self._text), 0)]

    def end(self, _: str) -> None:
        text, path = self._text.strip(), self._names[1:]
        if path == ["Request", "EMailAddress"]:
            self.address = self.address or text
        elif path == ["Request", "AcceptableResponseSchema"] and len(self.schemas) < _MOST_SCHEMAS:
            self.schemas.append(text)
        self._names.pop()
        self._text = ""
