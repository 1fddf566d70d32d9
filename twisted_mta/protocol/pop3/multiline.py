"""Multi-line answers that hold a message: RETR and TOP (RFC 1939 §3, §5, §7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted_mta.protocol.framing import DotStuffing

PIECE = 64 * 1024  # octets of a message stuffed and written at a time
END = b".\r\n"
_BLANK = b"\r\n\r\n"


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
        for _ in range(self._lines):
            position = piece.index(b"\n", position) + 1
        return piece[:position]


def top(content: bytes, lines: int | None) -> Iterator[bytes]:
    """What is wanted of a message that is at hand, in pieces."""
    wanted = Top(lines)
    for start in range(0, len(content), PIECE):
        yield wanted.cut(content[start : start + PIECE])
        if wanted.finished:
            return


class LongMessage:
    """An answer whose message comes in pieces, each of them the next octets of it, CRLF: `add` them as long
    as it is not `finished`, then `end` it. `write` takes what is ready to be sent."""

    def __init__(self, write: Callable[[bytes], None], lines: int | None) -> None:
        self._write = write
        self._top = Top(lines)
        self._stuffing = DotStuffing()

    @property
    def finished(self) -> bool:
        """True when no more of the message is wanted."""
        return self._top.finished

    def add(self, piece: bytes) -> None:
        """The next octets."""
        self._write(self._stuffing.add(self._top.cut(piece)))

    def end(self) -> None:
        """There is no more of it."""
        self._write(self._stuffing.end())
