"""The header block of a message or body part: its end, its fields, their values (RFC 5322 §2.2, §3.6).

Nothing here raises on bad input. Lines may end in CRLF or a bare LF; lines without a colon, 8-bit
octets and a header block that is never ended by an empty line are all taken as they come. The block
always ends at the first empty line and nowhere else: guessing that a body starts earlier would make
one message read differently here, at a signature check and at the next host.

Left out on purpose: the syntax of particular fields (see date, address_list, parameters, mime).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from twisted_mta.message.status import MailError

MAX_HEADER = 1024 * 1024  # octets of a header block that a message may bring

EMPTY_LINE = re.compile(rb"\n\r?\n")
# A field's value with its continuation lines. Possessive quantifiers: a field that is folded a million times
# must not cost a million saved states.
FOLDED = rb"([^\n]*+(?:\n[ \t][^\n]*+)*+)"
_FIELD = re.compile(rb"(?:([^\x00-\x20:]++)[ \t]*+:)?+" + FOLDED + rb"(?:\n|\Z)")
_COMMENT_MARK = re.compile(rb"\\.|[()]", re.DOTALL)
_OUTSIDE_COMMENT = re.compile(rb'(?:[^"(]++|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z))*+', re.DOTALL)


class Field(NamedTuple):
    """One field. `value` is what follows the colon, folding included, without the final line end.
    `start` and `end` are offsets in the data that was read; `end` is behind the final line end.
    A line that is no field (no colon, or white space in the name) has the name b""."""

    name: bytes
    value: bytes
    start: int
    end: int


def header_end(data: bytes | bytearray, start: int = 0) -> int:
    """The offset behind the empty line that ends the header block which begins at `start`; -1 when
    there is none, so that all of the data is header."""
    if data.startswith((b"\r\n", b"\n"), start):
        return start + (2 if data[start] == 0x0D else 1)
    match = EMPTY_LINE.search(data, start)
    return match.end() if match else -1


def fields(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Field]:
    """The fields of the header block at data[start:end] in order; stops at the empty line."""
    for match in _FIELD.finditer(data, start, len(data) if end is None else end):
        name, value = match.groups()
        # Looked for here and not in the pattern: the body behind the empty line may begin with white space.
        if name is None and (not match[0] or data.startswith((b"\r\n", b"\n"), match.start())):
            return
        yield Field(name or b"", value.removesuffix(b"\r"), match.start(), match.end())


def unfold(value: bytes) -> bytes:
    """The value on one line, without white space around it (RFC 5322 §2.2.3)."""
    if b"\n" in value:
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    return value.strip(b" \t\r")


@lru_cache(maxsize=256)
def named(name: bytes) -> re.Pattern[bytes]:
    """A pattern for fields called `name`; `name` is taken literally, in any case. It is to be searched
    in b"\\n" + header block: a pattern that begins with a literal LF is found at memchr speed. Group 1
    is the value, folding included."""
    return re.compile(rb"\n" + re.escape(name) + rb"[ \t]*+:" + FOLDED, re.IGNORECASE)


def values(block: bytes, name: bytes) -> list[bytes]:
    """The unfolded values of all fields called `name` in a header block (only the block, no body)."""
    return [unfold(match[1]) for match in named(name).finditer(b"\n" + block)]


def first_value(block: bytes, name: bytes) -> bytes | None:
    """The unfolded value of the first field called `name`, or None. b"" for an empty field."""
    match = named(name).search(b"\n" + block)
    return unfold(match[1]) if match else None


def comment_end(value: bytes, start: int) -> int:
    """The offset behind the comment whose parenthesis stands at `start`; comments nest. An unfinished
    comment runs to the end (RFC 5322 §3.2.2)."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(value, start):
        if mark[0] == b"(":
            depth += 1
        elif mark[0] == b")":
            depth -= 1
            if not depth:
                return mark.end()
    return len(value)


def without_comments(value: bytes) -> bytes:
    """The value with a space in place of each comment outside quoted strings (RFC 5322 §3.2.2)."""
    if b"(" not in value:
        return value
    kept: list[bytes] = []
    position = 0
    while position < len(value):
        plain = _OUTSIDE_COMMENT.match(value, position)
        assert plain is not None  # it matches the empty string
        kept.append(plain[0])
        if plain.end() == len(value):
            break
        kept.append(b" ")
        position = comment_end(value, plain.end())
    return b"".join(kept)


class HeaderCollector:
    """Keeps the header block of a message that arrives in chunks, and nothing of its body.

    After the empty line has been seen `feed` does nothing, so it may be called for every chunk.
    """

    def __init__(self, limit: int = MAX_HEADER) -> None:
        self.complete = False  # the empty line has been seen
        self._limit = limit
        self._first = b""  # the usual case: all of the block is in the first chunk, no copy is made
        self._held = bytearray()

    def feed(self, chunk: bytes) -> None:
        """The next octets of the message. Raises MailError (552 5.3.4) once when the header block is
        longer than the limit; what comes afterwards is ignored."""
        if self.complete:
            return
        if self._held:
            end, length = self._extend(chunk), len(self._held)
        else:
            end, length = header_end(chunk), len(chunk)
        if (length if end < 0 else end) > self._limit:
            self.complete = True
            self._held.clear()
            raise MailError(552, "5.3.4", "Message header too long")
        if end < 0:
            if not self._held:
                self._held += chunk
            return
        self.complete = True
        if self._held:
            del self._held[end:]
        else:
            self._first = chunk[:end]

    def _extend(self, chunk: bytes) -> int:
        """Add a chunk that is not the first; where the block ends, or -1."""
        seen = len(self._held) - 3  # the empty line may begin in the last three octets that came before
        self._held += chunk
        if seen <= 0:
            return header_end(self._held)
        match = EMPTY_LINE.search(self._held, seen)
        return match.end() if match else -1

    @property
    def block(self) -> bytes:
        """The header block with the empty line that ends it; while that has not come, all octets so far."""
        return self._first or bytes(self._held)
