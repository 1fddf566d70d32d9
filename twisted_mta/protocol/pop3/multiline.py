"""Multi-line answers that hold a message: RETR and TOP (RFC 1939 §3, §5, §7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

PIECE = 64 * 1024  # octets of a message stuffed and written at a time
END = b".\r\n"
_BLANK = b"\r\n\r\n"


def pieces(content: bytes, end: int) -> Iterator[bytes]:
    """`content[:end]` in pieces of PIECE octets."""
    for start in range(0, end, PIECE):
        yield content[start : min(start + PIECE, end)]


def top_end(content: bytes, lines: int) -> int:
    """Where TOP ends: the offset behind the header, the blank line and `lines` lines of the body.

    `content` has CRLF line ends; without a blank line all of it is header.
    """
    if content.startswith(b"\r\n"):
        position = 2
    else:
        blank = content.find(_BLANK)
        position = blank + 4 if blank >= 0 else len(content)
    while lines and position < len(content):
        # Whole pieces are counted, not searched line by line: `lines` may be anything.
        piece_end = min(position + PIECE, len(content))
        found = content.count(b"\n", position, piece_end)
        if found >= lines:
            return _behind_lines(content, position, lines)
        lines -= found
        position = piece_end
    return position


def _behind_lines(content: bytes, position: int, lines: int) -> int:
    for _ in range(lines):
        position = content.index(b"\n", position) + 1
    return position


class Top:
    """What TOP wants of a message that comes in pieces, with CRLF line ends wherever it is cut. `lines` None:
    all of it, for RETR. `finished`: nothing of what is still to come is wanted."""

    def __init__(self, lines: int | None) -> None:
        self.finished = False
        self._lines = lines
        self._held: bytes | None = b"\r\n"  # the last octets of the header; None behind it

    def cut(self, piece: bytes) -> bytes:
        """What is wanted of the next piece."""
        if self._lines is None:
            return piece
        position = 0
        if self._held is not None:
            data = self._held + piece
            blank = data.find(_BLANK)
            if blank < 0:
                self._held = data[-3:]
                return piece
            position = blank + 4 - len(self._held)
            self._held = None
        found = piece.count(b"\n", position)
        if found < self._lines:
            self._lines -= found
            return piece
        self.finished = True
        return piece[: _behind_lines(piece, position, self._lines)]


class LongMessage:
    """An answer whose message comes in pieces, each of them the next octets of it, CRLF: `add` them as long
    as it is not `finished`, then `end` it. `write` takes what is ready to be sent."""

    def __init__(self, write: Callable[[bytes], None], lines: int | None) -> None:
        self._write = write
        self._top = Top(lines)
        self._last = b"\r\n"  # the last octets of the content so far

    @property
    def finished(self) -> bool:
        """True when no more of the message is wanted."""
        return self._top.finished

    def add(self, piece: bytes) -> None:
        """The next octets."""
        data = self._last + self._top.cut(piece)
        sent = len(self._last)
        self._last = data[-2:]
        self._write(data.replace(b"\r\n.", b"\r\n..")[sent:])

    def end(self) -> None:
        """There is no more of it."""
        if self._last.endswith(b"\r\n"):
            self._write(END)
        else:
            self._write(b"\n.\r\n" if self._last.endswith(b"\r") else b"\r\n.\r\n")
