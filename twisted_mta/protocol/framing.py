"""Lines and dot-stuffed data out of a stream of octets (RFC 5321 §2.3.8, §4.5.2; RFC 1939 §3).

Strict about line ends, because two programs that disagree about where a line ends are what SMTP
smuggling is made of: a line ends at CRLF, data ends at CRLF.CRLF, and a CR or LF that stands alone is
told to the caller, who refuses. Nothing is scanned twice and nothing grows without a limit.

Left out on purpose: IMAP literals, which belong to the IMAP grammar.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

AT_A_TIME = 20  # commands that an engine answers by itself, at most, before others have their turn

_END_OF_DATA = b"\r\n.\r\n"


class LineTooLong(Exception):
    """A line exceeds the limit; the rest of it is skipped without being stored."""


class BareLineEnd(Exception):
    """A line held a CR or LF that is not part of a CRLF. The line, up to its LF, has been consumed.

    line: its octets without the final LF or CRLF.
    ends_line: True when the line *ended* in a bare LF, so that a stricter reader than ours would not have
    seen an end there; False when a bare CR stands inside of a line that ended in CRLF.
    """

    def __init__(self, line: bytes, ends_line: bool) -> None:
        super().__init__("bare LF" if ends_line else "bare CR")
        self.line = line
        self.ends_line = ends_line


class LineBuffer:
    """Octets as they arrive, lines as they are asked for. `max_line` counts octets including CRLF."""

    def __init__(self, max_line: int) -> None:
        self.max_line = max_line
        self._octets = bytearray()
        self._scanned = 0  # octets at the front known to hold no LF
        self._skipping = False  # inside a line that was too long

    def receive(self, data: bytes) -> None:
        """Add octets from the peer."""
        self._octets += data

    def next_line(self) -> bytes | None:
        """The next line without its CRLF, or None when more octets are needed.

        Raises LineTooLong, once, as soon as the limit is passed (the end of that line is found and dropped
        by later calls), and BareLineEnd; after either the next call goes on behind that line.
        """
        octets = self._octets
        end = octets.find(b"\n", self._scanned)
        if self._skipping:
            if end < 0:
                self.clear(skipping=True)
                return None
            del octets[: end + 1]
            self._scanned, self._skipping = 0, False
            end = octets.find(b"\n")
        if end < 0:
            if len(octets) >= self.max_line:
                self.clear(skipping=True)
                raise LineTooLong
            self._scanned = len(octets)
            return None
        line = bytes(octets[: end + 1])
        del octets[: end + 1]
        self._scanned = 0
        if end >= self.max_line:
            raise LineTooLong
        if line.find(b"\r") == end - 1 >= 0:  # the usual case: one CR, where it belongs
            return line[:-2]
        return whole_line(line)

    def take(self, count: int) -> bytes:
        """Up to `count` octets from the front."""
        taken = bytes(self._octets[:count])
        del self._octets[:count]
        self._scanned = 0
        return taken

    def take_all(self) -> bytes:
        """Everything that is there."""
        taken = bytes(self._octets)
        self.clear()
        return taken

    def clear(self, *, skipping: bool = False) -> None:
        """Forget what is there; with `skipping`, forget also what comes until the next line end."""
        self._octets.clear()
        self._scanned = 0
        self._skipping = skipping

    def __len__(self) -> int:
        """Octets held."""
        return len(self._octets)


def whole_line(line: bytes) -> bytes:
    """`line`, which ends in LF, without its CRLF. Raises BareLineEnd."""
    if not line.endswith(b"\r\n"):
        raise BareLineEnd(line[:-1], True)
    content = line[:-2]
    if b"\r" in content:
        raise BareLineEnd(content, False)
    return content


class DataDecoder:
    """Undoes the dot-stuffing of one run of data and finds its end, which is CRLF.CRLF and nothing else.

    Lines may be of any length: at most four octets are held back. `bare_cr` and `bare_lf` say whether such an
    octet has been seen. After `finished`, `rest` holds the octets that came behind the end.
    """

    def __init__(self) -> None:
        # The line before the first one has ended: data may open with a dot. Not part of the result.
        self._held = b"\r\n"
        self._ahead = 2
        self.bare_cr = False
        self.bare_lf = False
        self.finished = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """The octets of content that are certain now, unstuffed. Not to be called after `finished`."""
        data = self._held + data
        end = data.find(_END_OF_DATA)
        if end >= 0:
            self.finished = True
            self.rest = data[end + len(_END_OF_DATA) :]
            self._held = b""
            content = data[: end + 2]
        else:
            certain = len(data) - _undecided(data)
            self._held = data[certain:]
            content = data[:certain]
        return self._unstuffed(content) if content else b""

    def _unstuffed(self, content: bytes) -> bytes:
        # Neither a CRLF nor a CRLF and dot is ever cut in two here: what may become one is held back.
        pairs = content.count(b"\r\n")
        self.bare_cr = self.bare_cr or content.count(b"\r") != pairs
        self.bare_lf = self.bare_lf or content.count(b"\n") != pairs
        content = content.replace(b"\r\n.", b"\r\n")
        if self._ahead:
            content, self._ahead = content[self._ahead :], 0
        return content


def _undecided(data: bytes) -> int:
    """How many octets at the end of `data` may be the beginning of the end-of-data mark."""
    start = data.rfind(b"\r", -4)
    if start < 0:
        return 0
    if data.endswith(b"\r\n.\r"):
        return 4
    return len(data) - start if _END_OF_DATA.startswith(data[start:]) else 0


class DotStuffing:
    """Content as it travels (RFC 5321 §4.5.2): a dot is added to every line that begins with one, wherever
    the chunks are cut."""

    def __init__(self) -> None:
        self._last = b"\r\n"  # the last two octets of the content so far

    def add(self, chunk: bytes) -> bytes:
        """The next chunk."""
        data = self._last + chunk
        self._last = data[-2:]
        return data.replace(b"\r\n.", b"\r\n..")[2:]

    def end(self) -> bytes:
        """What follows the last chunk: a missing final CRLF, and `.` CRLF."""
        if self._last == b"\r\n":
            return b".\r\n"
        return b"\n.\r\n" if self._last.endswith(b"\r") else b"\r\n.\r\n"


def dot_stuff(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """All of a content; the last chunk ends in `.` CRLF."""
    stuffing = DotStuffing()
    for chunk in chunks:
        yield stuffing.add(chunk)
    yield stuffing.end()
