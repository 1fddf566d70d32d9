"""Lines and literals, before anybody knows what they mean (RFC 3501 §4.3, RFC 7888 §3).

Every line is checked for a literal announced at its end, also one that is refused and skipped or that ends in
a bare LF, because the octets of a non-synchronizing literal come whatever we say. Nothing is stored of what
is skipped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# `{123}` or `{123+}`; a number that is out of all reason counts as one without a beginning.
_ANNOUNCED = re.compile(rb"(?:\{([0-9]{1,20})|[0-9]{21})(\+?)\}\Z")
_TAIL = 32  # octets at the end of a line that may hold an announcement
_HEAD = 256  # octets of an over-long line that are shown to the engine, for its tag
_UNREASONABLE = 1 << 64


class LineTooLong(Exception):
    """A line over the limit; it is being skipped. `start` is how it began."""

    def __init__(self, start: bytes) -> None:
        super().__init__("Line too long")
        self.start = start


class BareLineFeed(Exception):
    """A line that ends in LF without CR; it has been taken off the input. `line` is without the LF."""

    def __init__(self, line: bytes) -> None:
        super().__init__("Bare LF")
        self.line = line


class OutOfStep(Exception):
    """More would have to be skipped than is bearable: the stream cannot be followed any further."""


@dataclass(frozen=True, slots=True)
class Literal:
    """An announcement: `size` in octets; the client waits for a go-ahead when `synchronizing`."""

    size: int
    synchronizing: bool


def announced(line: bytes | bytearray) -> Literal | None:
    """The literal that a line without its CRLF ends in."""
    found = _ANNOUNCED.search(line, max(0, len(line) - _TAIL))
    if found is None:
        return None
    return Literal(int(found[1]) if found[1] else _UNREASONABLE, not found[2])


class Framer:
    """The input of one connection. `max_line` and `max_skip` are in octets and may change at any time."""

    __slots__ = ("_input", "_scanned", "_skip_octets", "_skipping", "max_line", "max_skip")

    def __init__(self, max_line: int, max_skip: int) -> None:
        self.max_line = max_line
        self.max_skip = max_skip
        self._input = bytearray()
        self._scanned = 0  # octets of the input known to hold no LF
        self._skipping = False
        self._skip_octets = 0

    def __len__(self) -> int:
        return len(self._input)

    def receive(self, data: bytes) -> None:
        """More octets."""
        self._input += data

    def clear(self) -> None:
        """Forget everything."""
        self._input.clear()
        self._scanned = 0

    def take(self, size: int) -> bytes:
        """Up to `size` octets of a literal."""
        with memoryview(self._input) as view:
            octets = bytes(view[:size])
        del self._input[:size]
        return octets

    def line(self) -> bytes | None:
        """The next line without CRLF, None when it is not complete. Raises LineTooLong, BareLineFeed."""
        end = self._input.find(b"\n", self._scanned)
        length = len(self._input) if end < 0 else end + 1
        if length > self.max_line:
            start = bytes(self._input[:_HEAD])
            self._skipping = True
            raise LineTooLong(start)
        if end < 0:
            self._scanned = length
            return None
        self._scanned = 0
        line = bytes(self._input[:end])
        del self._input[: end + 1]
        if not line.endswith(b"\r"):
            raise BareLineFeed(line)
        return line[:-1]

    def skip_literal(self, size: int) -> None:
        """Let the coming literal and the rest of its command go by. Raises OutOfStep."""
        if size > self.max_skip:
            raise OutOfStep
        self._skipping = True
        self._skip_octets = size

    def skip(self) -> bool:
        """Throw away what is to be skipped; False while more of it has to come. Raises OutOfStep."""
        while self._skipping:
            if self._skip_octets:
                size = min(self._skip_octets, len(self._input))
                del self._input[:size]
                self._skip_octets -= size
                if self._skip_octets:
                    return False
            end = self._input.find(b"\n")
            if end < 0:
                del self._input[:-_TAIL]
                self._scanned = 0
                return False
            literal = announced(self._input[max(0, end - _TAIL) : end].removesuffix(b"\r"))
            del self._input[: end + 1]
            self._scanned = 0
            self._skipping = False
            if literal is not None and not literal.synchronizing:
                self.skip_literal(literal.size)
        return True
