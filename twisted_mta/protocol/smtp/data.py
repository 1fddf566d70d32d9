"""The content of one message as it comes in behind DATA (RFC 5321 §4.1.1.4, §4.5.2; SIZE, RFC 1870).

Whatever is wrong with the content, all of it is read up to its true end, CRLF.CRLF, and refused only there:
so both sides agree where commands begin again, and nothing inside of content is ever taken for a command.
"""

from __future__ import annotations

import re

from twisted_mta.message.status import MailError
from twisted_mta.protocol.framing import DataDecoder
from twisted_mta.protocol.smtp.events import DataChunk, DataEnd, DataSpoiled

CHUNK = 16 * 1024  # octets; a client that drips makes no event before
PATIENCE = 2  # times the limit: content that goes on for longer ends the connection

_BARE_END = re.compile(rb"\r\n|[\r\n]\.?")


def bare_line_end() -> MailError:
    """The refusal. Each its own: one that was raised holds on to those who raised it."""
    return MailError(550, "5.5.2", "Content holds a bare CR or bare LF")


class LineEnds:
    """Makes every bare CR and LF a CRLF, in content of which CRLF is never cut in two. A dot behind one is a
    dot that its client stuffed."""

    def __init__(self) -> None:
        self._behind_bare_end = False  # a dot that opens the next piece was stuffed

    def normalised(self, content: bytes) -> bytes:
        """The next piece, with CRLF only."""
        if not content:
            return b""
        if self._behind_bare_end:
            content = content.removeprefix(b".")
        self._behind_bare_end = content.endswith((b"\r", b"\n")) and not content.endswith(b"\r\n")
        return _BARE_END.sub(b"\r\n", content)


class DataReader:
    """Collects content up to `max_size` octets (dots unstuffed) and hands it on in chunks. Content with a
    bare CR or LF is refused: some other server might see an end in it (SMTP smuggling). With `normalise`
    each of them becomes the CRLF that an old client meant, and still none of them ends the content."""

    def __init__(self, max_size: int, *, normalise: bool = False) -> None:
        self._max_size = max_size
        self._decoder = DataDecoder()
        self._line_ends = LineEnds() if normalise else None
        self._waiting = bytearray()
        self._size = 0
        self._passed = 0  # octets since the last event
        self._error: MailError | None = None

    def feed(self, data: bytes) -> None:
        """Octets from the client; not to be called when there is a `rest`."""
        decoder = self._decoder
        content = decoder.feed(data)
        if self._line_ends is not None:
            content = self._line_ends.normalised(content)
        self._size += len(content)
        self._passed += len(content)
        if self._error is None:
            if (decoder.bare_cr or decoder.bare_lf) and self._line_ends is None:
                self.spoil(bare_line_end())
            elif self._size > self._max_size:
                self.spoil(MailError(552, "5.3.4", f"Message is larger than {self._max_size} octets"))
            else:
                self._waiting += content

    def spoil(self, error: MailError) -> None:
        """Skip the rest of the content; refuse at its end."""
        self._error = error
        self._waiting.clear()

    def next_event(self) -> DataChunk | DataEnd | DataSpoiled | None:
        """The next piece, or the end, or None when more octets are needed."""
        if self._decoder.finished:
            if self._error is not None:
                return DataSpoiled(self._error)
            if not self._waiting:
                return DataEnd()
        elif self._passed < CHUNK:
            return None
        self._passed = 0
        content = bytes(self._waiting)
        self._waiting.clear()
        return DataChunk(content)

    @property
    def hopeless(self) -> bool:
        """True when so much came behind the limit that nobody needs to wait for the end."""
        return self._size > PATIENCE * self._max_size

    @property
    def finished(self) -> bool:
        """True when the end has been seen."""
        return self._decoder.finished

    @property
    def rest(self) -> bytes:
        """What came behind the end."""
        return self._decoder.rest
