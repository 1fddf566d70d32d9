"""The octets that a section names (RFC 9051 §6.4.5), as they are or without their transfer encoding
(RFC 3516 §4)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from twisted_mta.message.headers import FOLDED, fields, header_end
from twisted_mta.message.mime import Part, locate, scan
from twisted_mta.message.transfer_encoding import decode_transfer
from twisted_mta.protocol.imap4.fetch_items import Binary, Body, Section, Text

SMALL = 64 * 1024  # octets of a message that may be taken apart anywhere; larger ones are work for a thread


class Sections:
    """One message, `data` with CRLF line ends. Its structure and decoded parts are found when `prepare` asks
    for them, otherwise when they are first needed."""

    __slots__ = ("_body", "_data", "_decoded", "_root")

    def __init__(self, data: bytes) -> None:
        self._data = data
        end = header_end(data)
        self._body = len(data) if end < 0 else end
        self._root: Part | None = None
        self._decoded: dict[tuple[int, ...], bytes] = {}

    def __len__(self) -> int:
        """Octets, those of decoded parts among them."""
        return len(self._data) + sum(map(len, self._decoded.values()))

    def prepare(self, items: Iterable[Body | Binary]) -> None:
        """Do now what takes time in a large message."""
        for item in items:
            if isinstance(item, Binary):
                self.decoded(item.part)
            elif item.section.part:
                self._structure()

    def header(self) -> Sections:
        """The message without its body, for whoever needs no more."""
        return Sections(self._data[: self._body])

    def is_prepared(self, items: Iterable[Body | Binary]) -> bool:
        """True when these items can be had without work to speak of."""
        if len(self._data) <= SMALL:
            return True
        return all(
            item.part in self._decoded
            if isinstance(item, Binary)
            else self._root is not None or not item.section.part
            for item in items
        )

    def _structure(self) -> Part:
        if self._root is None:
            self._root = scan(self._data)
        return self._root

    def extract(self, section: Section) -> bytes | None:
        """The section's octets; None when there is no such part, or when it has no text of that kind."""
        if not section.part:
            if section.text is Text.ALL:
                return self._data
            return self._text(section, 0, self._body, len(self._data))
        part = locate(self._structure(), section.part)
        if part is None:
            return None
        if section.text is Text.ALL:
            return self._data[part.header_end : part.body_end]
        if section.text is Text.MIME:
            return self._data[part.header_start : part.header_end]
        inner = part.message
        if inner is None:
            return None
        return self._text(section, inner.header_start, inner.header_end, inner.body_end)

    def is_decodable(self, numbers: tuple[int, ...]) -> bool:
        """False when a part has an encoding that is not known."""
        part = self._leaf(numbers)
        return part is None or decode_transfer(b"", part.encoding) is not None

    def decoded(self, numbers: tuple[int, ...]) -> bytes | None:
        """A part without its transfer encoding; None when there is no such part. The whole message (no
        numbers) and what has parts of its own are never encoded (RFC 2045 §6.4)."""
        part = self._leaf(numbers)
        if part is None:
            return self.extract(Section(numbers))
        found = self._decoded.get(numbers)
        if found is None:
            octets = self._data[part.header_end : part.body_end]
            found = decode_transfer(octets, part.encoding) or b""
            if part.type == b"text" and b"\0" not in found:  # with NUL it is in 16 bits, or no text at all
                found = found.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            if found != octets:
                self._decoded[numbers] = found
        return found

    def _leaf(self, numbers: tuple[int, ...]) -> Part | None:
        part = locate(self._structure(), numbers) if numbers else None
        return None if part is None or part.is_multipart or part.message is not None else part

    def _text(self, section: Section, start: int, body: int, end: int) -> bytes:
        match section.text:
            case Text.HEADER:
                return self._data[start:body]
            case Text.TEXT:
                return self._data[body:end]
            case Text.HEADER_FIELDS:
                return _only(self._data[start:body], section.fields)
            case Text.HEADER_FIELDS_NOT:
                return _without(self._data[start:body], section.fields)
            case _:
                return self._data[start:end]


@lru_cache(maxsize=64)
def _pattern(names: frozenset[bytes]) -> re.Pattern[bytes]:
    alternatives = b"|".join(re.escape(name) for name in sorted(names))
    value = FOLDED.replace(b"(", b"(?:", 1)
    return re.compile(rb"\n((?:" + alternatives + rb")[ \t]*+:" + value + rb")", re.IGNORECASE)


def _only(block: bytes, names: frozenset[bytes]) -> bytes:
    """The fields of these names and the empty line."""
    found = _pattern(names).findall(b"\n" + block)
    if not found:
        return _empty_line(block)
    # A message that ends within its header may do so without a line end.
    at_end = not block.endswith(b"\n") and block.endswith(found[-1]) and _is_last(block, names, found[-1])
    return b"\n".join(found) + (b"" if at_end else b"\n" + _empty_line(block))


def _is_last(block: bytes, names: frozenset[bytes], field: bytes) -> bool:
    *_, last = fields(block)
    return last.name.lower() in names and last.end - last.start == len(field)


def _without(block: bytes, names: frozenset[bytes]) -> bytes:
    """All fields but those of these names, and the empty line."""
    text = b"\n" + block + b"\n"
    kept: list[bytes] = []
    position = 0
    for found in _pattern(names).finditer(text):
        kept.append(text[position : found.start()])
        position = found.end()
    if position < len(text) - 1:  # else the line end behind the last field is that of the one before it
        kept.append(text[position:-1])
    else:
        kept.append(b"\n")
    return b"".join(kept)[1:]


def _empty_line(block: bytes) -> bytes:
    """The empty line that ends the block, b"" when the message ends without one."""
    return b"\r\n" if block.endswith(b"\n\r\n") or block == b"\r\n" else b""
