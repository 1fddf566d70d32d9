"""The octets that a section names (RFC 3501 §6.4.5)."""

from __future__ import annotations

import re
from functools import lru_cache

from twisted_mta.message.headers import FOLDED, fields, header_end
from twisted_mta.message.mime import Part, locate, scan
from twisted_mta.protocol.imap4.fetch_items import Section, Text


class Sections:
    """One message, `data` with CRLF line ends. With `parts` its structure is found here and now, which for
    a large message is work for a thread; otherwise when a part is first asked for."""

    def __init__(self, data: bytes, *, parts: bool = False) -> None:
        self._data = data
        self._root: Part | None = scan(data) if parts else None

    def __len__(self) -> int:
        return len(self._data)

    def extract(self, section: Section) -> bytes | None:
        """The section's octets; None when there is no such part, or when it has no text of that kind."""
        if not section.part:
            end = header_end(self._data)
            return self._text(section, 0, len(self._data) if end < 0 else end, len(self._data))
        if self._root is None:
            self._root = scan(self._data)
        part = locate(self._root, section.part)
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
    return re.compile(rb"\n(?:" + alternatives + rb")[ \t]*+:" + FOLDED, re.IGNORECASE)


def _only(block: bytes, names: frozenset[bytes]) -> bytes:
    """The fields of these names and the empty line."""
    padded = b"\n" + block
    found = [padded[match.start() + 1 : match.end() + 1] for match in _pattern(names).finditer(padded)]
    return b"".join(found) + _empty_line(block)


def _without(block: bytes, names: frozenset[bytes]) -> bytes:
    """All fields but those of these names, and the empty line."""
    kept = [block[field.start : field.end] for field in fields(block) if field.name.lower() not in names]
    return b"".join(kept) + _empty_line(block)


def _empty_line(block: bytes) -> bytes:
    """The empty line that ends the block, b"" when the message ends without one."""
    return b"\r\n" if block.endswith(b"\n\r\n") or block == b"\r\n" else b""
