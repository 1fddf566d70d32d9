"""The MIME structure of a message, found in one scan (RFC 2045, RFC 2046 §5, RFC 2183, RFC 3282, RFC 2557).

The scan reads a message once from left to right and yields a tree of `Part`, each with its offsets in the
message: what IMAP's BODYSTRUCTURE and BODY[section] need, and nothing decoded. It never raises and never
recurses; time is linear in the size of the message and the tree is bounded by MAX_DEPTH and MAX_PARTS.

Where mail is wrong:
- A delimiter line of any multipart that is still open ends everything inside it, finished or not, even in the
  middle of a header block. Of two open multiparts with one boundary the inner one has it.
- A boundary has to fill its line (but for white space behind it). RFC 2046 §5.1.1 allows a reader to accept
  more on the line; then a boundary that begins with another one's text could not be told from it.
- A multipart without boundary or without any part has one part: text/plain with all of its body. So nothing
  is hidden, and IMAP's grammar, which wants at least one part, is kept.
- A message/rfc822 in base64 or quoted-printable, which RFC 2046 §5.2.1 forbids, is application/octet-stream:
  its structure cannot be told in offsets. So is what lies beyond the limits.

Left out on purpose: decoding of content; message/global (RFC 6532), message/partial and external-body
are plain leaves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from twisted_mta.message.headers import EMPTY_LINE, FOLDED, header_end, unfold, without_comments
from twisted_mta.message.parameters import (
    MAX_VALUE,
    Parameters,
    parameter,
    parse_content_type,
    parse_disposition,
    parse_token,
)

MAX_DEPTH = 100  # parts within parts
MAX_PARTS = 10_000
MAX_LINE = 998  # octets without CRLF, RFC 5322 §2.1.1
MAX_BOUNDARY = MAX_LINE - 4  # octets, what fits between the hyphens; RFC 2046 §5.1.1 wants no more than 70

_CONTENT_FIELD = re.compile(
    rb"\nContent-(Type|Transfer-Encoding|ID|Description|Disposition|MD5|Language|Location)[ \t]*+:" + FOLDED,
    re.IGNORECASE,
)
_DASHES = re.compile(rb"\n--([^\n]*+)")
_LANGUAGE = re.compile(rb"[^\s,;]++")

_ContentType = tuple[bytes, bytes, Parameters]
_TEXT: _ContentType = (b"text", b"plain", ((b"charset", b"us-ascii"),))
_MESSAGE: _ContentType = (b"message", b"rfc822", ())
_OPAQUE: _ContentType = (b"application", b"octet-stream", ())


@dataclass(slots=True)
class Part:
    """A message or body part. Its header block is data[header_start:header_end], with the empty line; its
    body, as it stands in the message, is data[header_end:body_end]. A multipart's body includes preamble and
    epilogue.

    type, subtype, encoding and names of parameters are in lower case; all else is as it was sent, unfolded,
    and may hold any octet but LF. `lines` is the number of line ends in the body. `children` is for a
    multipart and then never empty; `message` is for message/rfc822 and then never None: the message that is
    the body. A missing Content-Type leaves the default of the place (RFC 2045 §5.2, RFC 2046 §5.1.5).
    """

    header_start: int
    header_end: int
    body_end: int = 0
    lines: int = 0
    type: bytes = b"text"
    subtype: bytes = b"plain"
    params: Parameters = ()
    id: bytes | None = None
    description: bytes | None = None
    encoding: bytes = b"7bit"
    md5: bytes | None = None
    disposition: tuple[bytes, Parameters] | None = None
    language: tuple[bytes, ...] = ()
    location: bytes | None = None
    children: list[Part] = field(default_factory=list)
    message: Part | None = None

    @property
    def size(self) -> int:
        """Octets of the body."""
        return self.body_end - self.header_end

    @property
    def is_multipart(self) -> bool:
        return self.type == b"multipart"

    @property
    def is_message(self) -> bool:
        return self.type == b"message" and self.subtype == b"rfc822"


def scan(data: bytes) -> Part:
    """The structure of a message in canonical form, CRLF; a bare LF is taken as a line end, too."""
    return _Scan(data).run()


def locate(message: Part, numbers: Sequence[int]) -> Part | None:
    """The part that IMAP calls by these part numbers (RFC 3501 §6.4.5), or None. Part 1 of a message that is
    not a multipart is the message itself; the numbers go on through a message/rfc822 into the message in it.
    No numbers at all are the message."""
    part: Part | None = message
    inside = message
    for depth, number in enumerate(numbers):
        if depth:
            assert part is not None
            if part.message is None and not part.is_multipart:
                return None
            inside = part.message or part
        if inside.is_multipart:
            part = inside.children[number - 1] if 0 < number <= len(inside.children) else None
        else:
            part = inside if number == 1 else None
        if part is None:
            return None
    return part


class _Open(NamedTuple):
    """A part whose end is not known yet. `boundary` is what its delimiters are told by, for a multipart that
    has one; `shadowed` the level of an outer multipart with the same boundary."""

    part: Part
    boundary: bytes | None
    shadowed: int | None


class _Delimiter(NamedTuple):
    """A delimiter line (RFC 2046 §5.1.1). `start` is where the line end begins that belongs to it, `end` is
    behind the line; `level` tells the multipart; `closing` is its last one."""

    start: int
    end: int
    level: int
    closing: bool


class _Scan:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._open: list[_Open] = []  # the message first, the innermost part last
        self._boundaries: dict[bytes, int] = {}  # those whose delimiters count at present, with their level
        self._parts = 0
        self._empty_line = (-1, 0)  # the latest one found: where it begins (the LF before it) and ends
        self._counted = 0  # the offset up to which lines were counted
        self._lines = 0

    def run(self) -> Part:
        root = part = self._begin(0, _TEXT)
        while True:
            if part.is_message:
                part.message = part = self._begin(part.header_end, _TEXT)
                continue
            delimiter = self._next_opening(part.header_end)
            if delimiter is None:
                break
            multipart = self._open[delimiter.level].part
            if self._parts >= MAX_PARTS:
                multipart.children.append(self._rest(delimiter.end))
                break
            part = self._begin(delimiter.end, _MESSAGE if multipart.subtype == b"digest" else _TEXT)
            multipart.children.append(part)
        self._close(0, len(self._data))
        return root

    def _next_opening(self, position: int) -> _Delimiter | None:
        """The delimiter line that begins the next part; all that ends before it is closed."""
        while delimiter := self._find_delimiter(position, len(self._data)):
            self._close(delimiter.level + 1, delimiter.start)
            if not delimiter.closing:
                return delimiter
            self._forget_boundary(delimiter.level)  # what follows is epilogue
            position = delimiter.end
        return None

    def _begin(self, start: int, default: _ContentType) -> Part:
        """Read the header block of the part at `start` and open the part."""
        part = Part(start, self._header_end(start))
        self._parts += 1
        _describe(part, b"\n" + self._data[start : part.header_end], default)
        full = len(self._open) >= MAX_DEPTH or self._parts >= MAX_PARTS
        if full and (part.is_multipart or part.is_message):
            part.type, part.subtype, part.params = _OPAQUE
        boundary = parameter(part.params, b"boundary") if part.is_multipart else None
        shadowed = None
        if boundary is not None:
            boundary = boundary.rstrip(b" \t\r") or None
        if boundary is not None and len(boundary) <= MAX_BOUNDARY:
            shadowed = self._boundaries.get(boundary)
            self._boundaries[boundary] = len(self._open)
        self._open.append(_Open(part, boundary, shadowed))
        part.lines = -self._count_lines(part.header_end)  # made good when the part is closed
        return part

    def _rest(self, start: int) -> Part:
        """All that is left of the message as one leaf."""
        part = Part(start, start, len(self._data))
        part.type, part.subtype, part.params = _OPAQUE
        before = self._count_lines(start)
        part.lines = self._count_lines(len(self._data)) - before
        return part

    def _close(self, level: int, end: int) -> None:
        """End the parts from the innermost up to `level`. A part may reach a line end further than `end`: the
        line end before a delimiter may be needed to end a header block or another delimiter."""
        while len(self._open) > level:
            part = self._open[-1].part
            end = max(end, part.header_end)
            part.body_end = end
            part.lines += self._count_lines(end)
            if part.is_multipart and not part.children:
                part.children.append(_whole_body(part))
            self._forget_boundary(len(self._open) - 1)
            self._open.pop()

    def _forget_boundary(self, level: int) -> None:
        _, boundary, shadowed = self._open[level]
        if boundary is None or self._boundaries.get(boundary) != level:
            return
        if shadowed is None:
            del self._boundaries[boundary]
        else:
            self._boundaries[boundary] = shadowed

    def _count_lines(self, position: int) -> int:
        """Line ends before a position. Positions never go back, so all lines are counted once."""
        self._lines += self._data.count(b"\n", self._counted, position)
        self._counted = position
        return self._lines

    def _header_end(self, start: int) -> int:
        """Where the header block at `start` ends: at the empty line, or before a delimiter, or never."""
        if not start:
            end = header_end(self._data)
            return len(self._data) if end < 0 else end
        # An empty line that is still ahead is not searched for again.
        if self._empty_line[0] < start - 1:
            match = EMPTY_LINE.search(self._data, start - 1)
            self._empty_line = match.span() if match else (len(self._data), len(self._data))
        end = self._empty_line[1]
        delimiter = self._find_delimiter(start, end)
        return end if delimiter is None else max(start, delimiter.start)

    def _find_delimiter(self, start: int, end: int) -> _Delimiter | None:
        """The first delimiter line of an open multipart that begins at `start` or later and before `end`."""
        if not self._boundaries:
            return None
        for match in _DASHES.finditer(self._data, start - 1, end):
            if len(match[1]) > MAX_LINE:
                continue
            if found := self._match_boundary(match[1].rstrip(b" \t\r")):
                line_feed, stop = match.span()
                before = line_feed - (self._data[line_feed - 1 : line_feed] == b"\r")
                return _Delimiter(before, min(stop + 1, len(self._data)), *found)
        return None

    def _match_boundary(self, text: bytes) -> tuple[int, bool] | None:
        """The level of the multipart and whether it ends there, for what stands behind the `--` of a line."""
        level = self._boundaries.get(text)
        if level is not None:
            return level, False
        if text.endswith(b"--"):
            level = self._boundaries.get(text[:-2])
            if level is not None:
                return level, True
        return None


def _whole_body(multipart: Part) -> Part:
    """The one part of a multipart that has none."""
    part = Part(multipart.header_end, multipart.header_end, multipart.body_end, multipart.lines)
    part.type, part.subtype, part.params = _TEXT
    return part


def _describe(part: Part, block: bytes, default: _ContentType) -> None:
    """Set what the Content fields say; `block` is the header block behind a LF. Of several fields with one
    name the first counts."""
    found: dict[bytes, bytes] = {}
    for match in _CONTENT_FIELD.finditer(block):
        found.setdefault(match[1].lower(), match[2][:MAX_VALUE])
    content_type: _ContentType | None = default
    if b"type" in found:
        content_type = parse_content_type(found[b"type"])
    # A field that cannot be understood counts as text/plain (RFC 2045 §5.2).
    part.type, part.subtype, part.params = content_type or _TEXT
    if b"transfer-encoding" in found:
        part.encoding = parse_token(found[b"transfer-encoding"]) or b"7bit"
        if part.is_message and part.encoding in (b"base64", b"quoted-printable"):
            part.type, part.subtype, part.params = _OPAQUE
    if b"disposition" in found:
        part.disposition = parse_disposition(found[b"disposition"])
    if b"language" in found:
        part.language = tuple(_LANGUAGE.findall(without_comments(unfold(found[b"language"]))))
    part.id = _text(found.get(b"id"))
    part.description = _text(found.get(b"description"))
    part.md5 = _text(found.get(b"md5"))
    part.location = _text(found.get(b"location"))


def _text(value: bytes | None) -> bytes | None:
    return None if value is None else unfold(value)
