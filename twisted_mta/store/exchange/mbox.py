"""The mbox format: many messages in one file (RFC 4155 names it, and leaves open what is decided here).

Written as mboxrd: a line that begins with "From ", or with ">" signs before it, gets one more ">", so that
all of it comes back as it was. Flags stand in three fields before all others, `Status`, `X-Status` and
`X-Keywords`, always all three, so that fields of these names in the message itself are its own.

Read are mboxrd, mboxo and mboxcl, with LF or CRLF: a message begins with a "From " line that has a date,
wherever it stands, or after an empty line with one as bare as some programs write it. `Content-Length` is
not believed: it is wrong in too many files, and quoting makes it needless. In files of others the fields
that hold the flags may stand anywhere in the header.

What mbox cannot keep: fractions of a second, and that a message had no line end at its end. Nothing is ever
in memory as a whole, however long a message or a line may be.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from twisted_mta.message.date import parse_date
from twisted_mta.store.flags import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN

CHUNK = 64 * 1024  # octets
NOBODY = "MAILER-DAEMON"

_HEADER = 1024 * 1024  # octets of a header in which flags are looked for
_MARKS = 1000  # signs of quoting in front of "From " that count as such
_QUOTED = re.compile(rb">{1,%d}From " % (_MARKS + 1))
_TO_QUOTE = re.compile(rb"^(?=>{0,%d}From )" % _MARKS, re.MULTILINE)
_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),?"
_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_TIME = rb"\d{1,2}:\d\d(?::\d\d)?"
_ZONE = rb"(?: +(?:[A-Z]{1,5}|[+-]\d{4}))?"
# The date as asctime has it, perhaps with a zone before or behind the year, or as RFC 5322 has it.
_DATED = re.compile(
    rb"From .*?\b(?:(?P<moment>%(day)b +%(month)b +\d{1,2} +%(time)b)(?P<zone>%(zone)b)"
    rb"(?P<year> +\d{4})(?P<late>%(zone)b)"
    rb"|(?P<usual>%(day)b +\d{1,2} +%(month)b +\d{4} +%(time)b%(zone)b))(?=\s|\Z)"
    % {b"day": _DAY, b"month": _MONTH, b"time": _TIME, b"zone": _ZONE}
)
_BARE = re.compile(rb"From [ -]*\r?\n?\Z")

_STATUS = {"R": SEEN}
_X_STATUS = {"A": ANSWERED, "F": FLAGGED, "T": DRAFT, "D": DELETED}
_OURS = (b"Status:", b"X-Status:", b"X-Keywords:")
_STATE = re.compile(rb"(Status|X-Status|X-Keywords|X-UID|X-IMAP|X-IMAPbase|Content-Length):", re.IGNORECASE)
_INTERNAL = re.compile(rb"^X-IMAP(?:base)?:", re.IGNORECASE | re.MULTILINE)
_DATE = re.compile(rb"^Date:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE)
_NO_MESSAGE = b"FOLDER INTERNAL DATA"  # in the subject of what UW-IMAP puts before the first message
_LAST_SECOND = 253402300799  # of the year 9999


class Marks(NamedTuple):
    """What a mailbox knows of a message besides its octets. date: epoch seconds, None: not known. bits: see
    flags. old: some program has seen that the message is there."""

    date: float | None
    bits: int
    keywords: frozenset[str]
    old: bool


# Writing


def write_mbox(file: BinaryIO, marks: Marks, sender: str, content: Iterable[bytes]) -> None:
    """Append a message, given as it is in its file. sender: of the envelope, or `NOBODY`. Raises OSError."""
    seconds = min(max(marks.date or 0.0, 0.0), _LAST_SECOND)
    file.write(f"From {sender} {time.asctime(time.gmtime(seconds))}\n".encode("utf-8", "replace"))
    status = ("R" if marks.bits & SEEN else "") + ("O" if marks.old else "")
    more = "".join(letter for letter, bit in _X_STATUS.items() if marks.bits & bit)
    values = (status, more, " ".join(sorted(marks.keywords)))
    for field, value in zip(_OURS, values, strict=True):
        file.write(field + b" " + value.encode() + b"\n")
    last = b"\n"
    for data in quoted(content):
        file.write(data)
        last = data[-1:]
    file.write(b"\n" if last == b"\n" else b"\n\n")


def quoted(content: Iterable[bytes]) -> Iterator[bytes]:
    """The octets with every line marked that could be taken for a separator; no empty pieces."""
    held, begins = b"", True
    for chunk in content:
        data = held + chunk
        cut = data.rfind(b"\n") + 1
        if not cut and len(data) >= CHUNK:
            cut = len(data)
        if cut:
            yield _quote(data[:cut], begins)
            begins = data[cut - 1 : cut] == b"\n"
        held = data[cut:]
    if held:
        yield _quote(held, begins)


def _quote(data: bytes, begins: bool) -> bytes:
    start = 0 if begins else data.find(b"\n") + 1 or len(data)
    return data[:start] + _TO_QUOTE.sub(b">", data[start:])


# Reading


class MboxMessage:
    """One message. Its content is read from the file when it is asked for, once, and before the next one."""

    def __init__(self, marks: Marks, crlf: bool, header: bytes, lines: _Lines) -> None:
        self.marks = marks
        self.crlf = crlf  # the line ends are those of the file, not of the message
        self._header = header
        self._lines = lines

    def content(self) -> Iterator[bytes]:
        """The octets, without what belongs to the mbox."""
        if self._header:
            yield self._header
        pieces: list[bytes] = []
        held = 0
        blank = b""  # an empty line, which separates unless the message goes on
        lines = self._lines
        while lines.piece and not lines.is_separator:
            piece = blank + lines.unquoted()
            blank = b""
            if lines.is_blank:
                blank, piece = lines.piece, piece[: -len(lines.piece)]
            pieces.append(piece)
            held += len(piece)
            if held >= CHUNK:
                yield b"".join(pieces)
                pieces, held = [], 0
            lines.advance()
        if held:
            yield b"".join(pieces)

    def pass_over(self) -> None:
        """Read up to the next message."""
        while self._lines.piece and not self._lines.is_separator:
            self._lines.advance()


class Mbox:
    """The messages of a file, which is read once from where it stands; see `passed_over` afterwards.

    Iterating raises OSError."""

    def __init__(self, file: BinaryIO) -> None:
        self.passed_over = 0  # octets before the first message
        self.is_one = False  # a message has been found
        self._lines = _Lines(file)

    def __iter__(self) -> Iterator[MboxMessage]:
        lines = self._lines
        while lines.piece and not (lines.is_separator or lines.is_first):
            self.passed_over += len(lines.piece)
            lines.advance()
        while lines.piece:
            message = self._message()
            self.is_one = True
            if message is not None:
                yield message
                message.pass_over()

    def _message(self) -> MboxMessage | None:
        """The message that begins here, with its header read; None for one that only UW-IMAP needs."""
        lines = self._lines
        first = not self.is_one
        separator = lines.piece
        while not lines.piece.endswith(b"\n") and lines.piece:
            lines.advance()
        lines.advance()
        header: list[bytes] = []
        size = 0
        while lines.piece and not lines.is_blank and not lines.is_separator and size < _HEADER:
            header.append(lines.unquoted())
            size += len(header[-1])
            lines.advance()
        if first and any(map(_INTERNAL.match, header)) and any(_NO_MESSAGE in line for line in header):
            MboxMessage(Marks(None, 0, frozenset(), True), False, b"", lines).pass_over()
            return None
        state, rest = _taken_out(header)
        content = b"".join(rest)
        marks = _marks(state)._replace(date=_date_of(separator, content))
        return MboxMessage(marks, separator.endswith(b"\r\n"), content, lines)


class _Lines:
    """The lines of a file one after the other, a very long one in pieces. `piece` is b"" at the end."""

    def __init__(self, file: BinaryIO) -> None:
        self._read = file.readline
        self.begins = True  # the piece is the beginning of a line
        self._after_blank = True
        self.is_first = False
        self.piece = self._read(CHUNK)
        self.is_first = self.piece.startswith(b"From ")

    def advance(self) -> None:
        """Go to the next one."""
        self._after_blank = self.is_blank
        self.begins = self.piece.endswith(b"\n")
        self.is_first = False
        self.piece = self._read(CHUNK)

    @property
    def is_blank(self) -> bool:
        """True for an empty line."""
        return self.begins and self.piece in (b"\n", b"\r\n")

    @property
    def is_separator(self) -> bool:
        """True for the line that begins a message."""
        piece = self.piece
        if not (self.begins and piece.startswith(b"From ")):
            return False
        return _DATED.match(piece) is not None or (self._after_blank and _BARE.match(piece) is not None)

    def unquoted(self) -> bytes:
        """The piece without the sign of its quoting."""
        if self.begins and self.piece.startswith(b">") and _QUOTED.match(self.piece):
            return self.piece[1:]
        return self.piece


def _taken_out(header: list[bytes]) -> tuple[dict[str, str], list[bytes]]:
    """What the fields of the mailbox say, by their names in lower case, and the other lines."""
    if len(header) >= len(_OURS) and all(map(bytes.startswith, header, _OURS)):
        return {_name(line): _value(line) for line in header[:3]}, header[3:]
    state: dict[str, str] = {}
    rest: list[bytes] = []
    name = ""
    for line in header:
        if line[:1] not in (b" ", b"\t"):
            name = _name(line) if _STATE.match(line) else ""
            if name:
                state[name] = f"{state.get(name, '')} {_value(line)}"
        elif name:
            state[name] += " " + line.decode("utf-8", "replace").strip()
        if not name:
            rest.append(line)
    return state, rest


def _name(line: bytes) -> str:
    return line.partition(b":")[0].decode("ascii", "replace").lower()


def _value(line: bytes) -> str:
    return line.partition(b":")[2].decode("utf-8", "replace").strip()


def _marks(state: dict[str, str]) -> Marks:
    status, more = state.get("status", "").upper(), state.get("x-status", "").upper()
    bits = sum({_STATUS.get(letter, 0) for letter in status} | {_X_STATUS.get(letter, 0) for letter in more})
    return Marks(None, bits, frozenset(state.get("x-keywords", "").split()), "O" in status)


def _date_of(separator: bytes, header: bytes) -> float | None:
    """The date of the separator, which is UTC unless it names a zone, or that of the message's own field."""
    found = _DATED.match(separator)
    told = found and (found["usual"] or found["moment"] + (found["zone"] or found["late"]) + found["year"])
    field = _DATE.search(header)
    for value in (told, field and field[1]):
        date = parse_date(value) if value else None
        if date is not None:
            return date
    return None
