"""The content of one message as it comes in chunks behind BDAT (RFC 3030 §2).

A chunk is as long as its command says, so whatever stands in it, what follows is a command again: content
that cannot be taken is skipped by counting.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.message.status import MailError
from twisted_mta.protocol.smtp.data import CHUNK, PATIENCE, bare_line_end
from twisted_mta.protocol.smtp.events import DataChunk, DataEnd, DataSpoiled


@dataclass(frozen=True, slots=True)
class ChunkEnd:
    """A chunk that was not the last has come whole."""

    size: int


class ChunkReader:
    """Collects content over the chunks of one message, up to `max_size` octets. Unless it is `binary`,
    content with a bare CR or LF is refused, as behind DATA. `last`: whether the chunk is the last one."""

    def __init__(self, max_size: int, *, binary: bool) -> None:
        self._max_size = max_size
        self._binary = binary
        self._waiting = bytearray()
        self._error: MailError | None = None
        self._total = 0  # octets of all chunks so far
        self._size = 0  # of this chunk
        self._left = 0  # of this chunk, still to come
        self.last = False
        self._passed = 0  # octets since the last event
        self._ends_in_cr = False  # what has come so far
        self.rest = b""

    def begin(self, size: int, *, last: bool) -> None:
        """A chunk of `size` octets follows."""
        self._size = self._left = size
        self.last = last
        self.rest = b""
        if last and not size and self._ends_in_cr:
            self.spoil(bare_line_end())

    def feed(self, data: bytes) -> None:
        """Octets from the client; not to be called when there is a `rest`."""
        content = data[: self._left]
        self.rest = data[self._left :]
        self._left -= len(content)
        self._total += len(content)
        self._passed += len(content)
        if self._error is None:
            if self._total > self._max_size:
                self.spoil(MailError(552, "5.3.4", f"Message is larger than {self._max_size} octets"))
            elif not self._binary and self._has_bare_end(content):
                self.spoil(bare_line_end())
            else:
                self._waiting += content

    def _has_bare_end(self, content: bytes) -> bool:
        """A CRLF may be cut in two by the end of a chunk, of a message it may not."""
        whole = b"\r" + content if self._ends_in_cr else content
        self._ends_in_cr = whole.endswith(b"\r")
        if self._ends_in_cr and not (self.last and not self._left):
            whole = whole[:-1]
        pairs = whole.count(b"\r\n")
        return whole.count(b"\r") != pairs or whole.count(b"\n") != pairs

    def include(self, content: bytes) -> None:
        """Octets of a chunk that the client did not send, which its session takes over by itself (BURL, RFC
        4468 §3.2). Raises MailError when they cannot be taken."""
        self.begin(len(content), last=False)
        self.feed(content)
        self._waiting.clear()
        self._passed = 0
        if self._error is not None:
            raise self._error

    def complete(self) -> None:
        """What was included last was the end. Raises MailError."""
        self.begin(0, last=True)
        if self._error is not None:
            raise self._error

    def spoil(self, error: MailError) -> None:
        """Skip the rest of the chunk; refuse at its end."""
        self._error = error
        self._waiting.clear()

    def next_event(self) -> DataChunk | ChunkEnd | DataEnd | DataSpoiled | None:
        """The next piece, or the end, or None when more octets are needed."""
        if self._left:
            return self._piece() if self._passed >= CHUNK else None
        if self._error is not None:
            return DataSpoiled(self._error)
        if self._waiting:
            return self._piece()
        return DataEnd() if self.last else ChunkEnd(self._size)

    def _piece(self) -> DataChunk:
        self._passed = 0
        content = bytes(self._waiting)
        self._waiting.clear()
        return DataChunk(content)

    @property
    def hopeless(self) -> bool:
        """As DataReader's."""
        return self._total > PATIENCE * self._max_size

    @property
    def finished(self) -> bool:
        """True when the chunk has come whole."""
        return not self._left
