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
- Behind MAX_DASHED lines that only begin like a delimiter everything belongs to the part at hand.
- A message in base64 or quoted-printable is application/octet-stream (see part_header). So is what lies
  beyond the limits.

message/global (RFC 6532) is the same as message/rfc822. Left out on purpose: decoding of content;
message/partial and external-body are plain leaves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from twisted_mta.message.header_block import NO_FIELDS, HeaderBlock
from twisted_mta.message.headers import EMPTY_LINE, header_end
from twisted_mta.message.parameters import Parameters, parameter
from twisted_mta.message.part_header import (
    MESSAGE,
    OPAQUE,
    TEXT,
    ContentType,
    holds_message,
    read_part_header,
)

MAX_DEPTH = 100  # parts within parts
MAX_PARTS = 10_000
MAX_HEADER = 16 * 1024 * 1024  # octets of a header block in which fields are looked for
MAX_DASHED = 1_000_000  # lines that begin like a delimiter and are none; then no more are looked for
MAX_LINE = 998  # octets without CRLF, RFC 5322 §2.1.1
MAX_BOUNDARY = MAX_LINE - 4  # octets, what fits between the hyphens; RFC 2046 §5.1.1 wants no more than 70

_FEW_DASHED = 64  # lines in a row that only begin like a delimiter; then they are looked at many at a time
_WINDOW = 256 * 1024  # octets in which they are, at most

_DASHES = re.compile(rb"\n--([^\n]{0,%d}+)" % (MAX_LINE + 1))


@dataclass(slots=True)
class Part:
    """A message or body part. Its header block is data[header_start:header_end], with the empty line; its
    body, as it stands in the message, is data[header_end:body_end]. A multipart's body includes preamble and
    epilogue.

    What its header block says stands in `fields` and, from `type` to `location`, as in PartHeader. `lines` is
    the number of line ends in the body. `children` is for a multipart and then never empty; `message` is for
    message/rfc822 and message/global and then never None: the message that is the body.
    """

    header_start: int
    header_end: int
    fields: HeaderBlock = field(default=NO_FIELDS, repr=False, compare=False)
    type: bytes = b"text"
    subtype: bytes = b"plain"
    params: Parameters = ()
    encoding: bytes = b"7bit"
    id: bytes | None = None
    description: bytes | None = None
    md5: bytes | None = None
    disposition: tuple[bytes, Parameters] | None = None
    language: tuple[bytes, ...] = ()
    location: bytes | None = None
    body_end: int = 0
    lines: int = 0
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
        return holds_message(self.type, self.subtype)


def scan(data: bytes) -> Part:
    """The structure of a message in canonical form, CRLF; a bare LF is taken as a line end, too."""
    end = header_end(data)
    root = _read_part(data, 0, len(data) if end < 0 else end, TEXT)
    if root.is_multipart or root.is_message:
        _Scan(data).run(root)
    else:
        root.body_end = len(data)
        root.lines = data.count(b"\n", root.header_end)
    return root


def parts(message: Part) -> Iterator[Part]:
    """Every part in the order of the message, with those of enclosed messages."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        yield part
        if part.message is not None:
            waiting.append(part.message)
        waiting.extend(reversed(part.children))


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
        self._open: list[Part] = []  # parts whose end is not known yet: the message first, the innermost last
        self._boundaries: dict[bytes, int] = {}  # those whose delimiters count at present, with their level
        # The same by level; with the level of an outer multipart that has the same boundary.
        self._shadowed: dict[int, tuple[bytes, int | None]] = {}
        self._parts = 0
        self._dashed = 0  # lines that begin with "--" and were no delimiters
        self._empty_line = (-1, 0)  # the latest one found: where it begins (the LF before it) and ends
        self._counted = 0  # the offset up to which lines were counted
        self._lines = 0

    def run(self, root: Part) -> None:
        """Find all that is inside the message `root`, whose header block was read."""
        self._open_part(root)
        part = root
        while True:
            if part.is_message:
                part.message = part = self._begin(part.header_end, TEXT)
                continue
            delimiter = self._next_opening(part.header_end)
            if delimiter is None:
                break
            multipart = self._open[delimiter.level]
            if self._parts >= MAX_PARTS:
                multipart.children.append(self._rest(delimiter.end))
                break
            part = self._begin(delimiter.end, MESSAGE if multipart.subtype == b"digest" else TEXT)
            multipart.children.append(part)
        self._close(0, len(self._data))

    def _next_opening(self, position: int) -> _Delimiter | None:
        """The delimiter line that begins the next part; all that ends before it is closed."""
        while delimiter := self._find_delimiter(position, len(self._data)):
            self._close(delimiter.level + 1, delimiter.start)
            if not delimiter.closing:
                return delimiter
            self._forget_boundary(delimiter.level)  # what follows is epilogue
            position = delimiter.end
        return None

    def _begin(self, start: int, default: ContentType) -> Part:
        """Read the header block of the part at `start` and open the part."""
        part = _read_part(self._data, start, self._header_end(start), default)
        full = len(self._open) >= MAX_DEPTH or self._parts + 1 >= MAX_PARTS
        if full and (part.is_multipart or part.is_message):
            part.type, part.subtype, part.params = OPAQUE
        self._open_part(part)
        return part

    def _open_part(self, part: Part) -> None:
        if part.is_multipart:
            boundary = (parameter(part.params, b"boundary") or b"").rstrip(b" \t\r")
            if 0 < len(boundary) <= MAX_BOUNDARY:
                level = len(self._open)
                self._shadowed[level] = boundary, self._boundaries.get(boundary)
                self._boundaries[boundary] = level
        self._parts += 1
        self._open.append(part)
        part.lines = -self._count_lines(part.header_end)  # made good when the part is closed

    def _rest(self, start: int) -> Part:
        """All that is left of the message as one leaf."""
        part = Part(start, start, body_end=len(self._data))
        part.type, part.subtype, part.params = OPAQUE
        before = self._count_lines(start)
        part.lines = self._count_lines(len(self._data)) - before
        return part

    def _close(self, level: int, end: int) -> None:
        """End the parts from the innermost up to `level`. A part may reach a line end further than `end`: the
        line end before a delimiter may be needed to end a header block or another delimiter."""
        while len(self._open) > level:
            part = self._open.pop()
            end = max(end, part.header_end)
            part.body_end = end
            part.lines += self._count_lines(end)
            if part.is_multipart:
                if not part.children:
                    part.children.append(_whole_body(part))
                self._forget_boundary(len(self._open))

    def _forget_boundary(self, level: int) -> None:
        boundary, outer = self._shadowed.pop(level, (b"", None))
        if outer is not None:
            self._boundaries[boundary] = outer
        elif boundary:
            del self._boundaries[boundary]

    def _count_lines(self, position: int) -> int:
        """Line ends before a position. Positions never go back, so all lines are counted once."""
        self._lines += self._data.count(b"\n", self._counted, position)
        self._counted = position
        return self._lines

    def _header_end(self, start: int) -> int:
        """Where the header block at `start` ends: at the empty line, or before a delimiter, or never."""
        # An empty line that is still ahead is not searched for again.
        if self._empty_line[0] < start - 1:
            match = EMPTY_LINE.search(self._data, start - 1)
            self._empty_line = match.span() if match else (len(self._data), len(self._data))
        end = self._empty_line[1]
        if self._data.find(b"\n--", start - 1, end) < 0:
            return end
        delimiter = self._find_delimiter(start, end)
        return end if delimiter is None else max(start, delimiter.start)

    def _find_delimiter(self, start: int, end: int) -> _Delimiter | None:
        """The first delimiter line of an open multipart that begins at `start` or later and before `end`."""
        if not self._boundaries or self._dashed >= MAX_DASHED:
            return None
        data, position = self._data, start - 1
        passed = 0
        while match := _DASHES.search(data, position, end):
            line_feed, position = match.span()
            text = match[1]
            if len(text) <= MAX_LINE and (found := self._match_boundary(text.rstrip(b" \t\r"))):
                before = line_feed - (data[line_feed - 1 : line_feed] == b"\r")
                return _Delimiter(before, min(position + 1, len(data)), *found)
            self._dashed += 1
            passed += 1
            if passed % _FEW_DASHED == 0:
                position = self._pass_over(position, end, position - start)
            if self._dashed >= MAX_DASHED:
                break
        return None

    def _pass_over(self, position: int, end: int, octets: int) -> int:
        """The line feed before the first line from `position` on that is like a delimiter in full, or how far
        there is none. What has no such line is twice as much each time, beginning with `octets`: so no octet
        is looked at often, however soon the delimiter comes."""
        data = self._data
        wanted = {*self._boundaries, *(boundary + b"--" for boundary in self._boundaries)}
        while position < end and self._dashed < MAX_DASHED:
            octets = min(2 * octets, _WINDOW)
            stop = data.find(b"\n", min(position + octets, end), end)
            stop = end if stop < 0 else stop
            lines = _DASHES.findall(data, position, stop)
            if not wanted.isdisjoint([line.rstrip(b" \t\r") for line in lines]):
                for number, line in enumerate(lines):
                    if len(line) <= MAX_LINE and line.rstrip(b" \t\r") in wanted:
                        self._dashed += number
                        line_feed = data.find(b"\n--" + line + b"\n", position)
                        return line_feed if line_feed >= 0 else end - len(b"\n--" + line)
            self._dashed += len(lines)
            position = stop
        return position

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
    start = multipart.header_end
    part = Part(start, start, body_end=multipart.body_end, lines=multipart.lines)
    part.type, part.subtype, part.params = TEXT
    return part


def _read_part(data: bytes, start: int, end: int, default: ContentType) -> Part:
    """The part whose header block is data[start:end]."""
    return Part(start, end, *read_part_header(data[start : min(end, start + MAX_HEADER)], default))
