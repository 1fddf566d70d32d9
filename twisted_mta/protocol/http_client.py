"""One question to an HTTP server and its answer, without I/O (RFC 9110, RFC 9112).

For the servers of programs beside ours, that are asked for each message: the answer is bounded everywhere, in
its header fields too, and the connection can be used again when both sides know where the answer ends.

Left out on purpose: what is not needed for that: redirects, cookies, compression, 100-continue (which we do
not ask for), trailers (read and dropped).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_HEAD = 32 * 1024  # octets of the status line and the header fields
_MAX_CHUNK_LINE = 1024  # octets that say how long a chunk is

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [^\r\n]*)?\Z")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]+")
_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?\Z", re.DOTALL)


class BadAnswer(Exception):
    """This is not HTTP, or too much of it. Says why."""


def request(target: str, host: str, fields: Sequence[tuple[str, str]], length: int) -> bytes:
    """The head of a POST with `length` octets of content. What would end a line inside of a value becomes a
    space; other characters travel as UTF-8. Raises ValueError for a name that is none."""
    lines = [f"POST {target} HTTP/1.1".encode("ascii"), b"Host: " + host.encode("ascii")]
    for name, value in (*fields, ("Content-Length", str(length))):
        if not _TOKEN.match(name):
            raise ValueError(f"{name!r} is no name of a field")
        lines.append(b"%b: %b" % (name.encode("ascii"), _CONTROL.sub(b" ", value.encode("utf-8", "replace"))))
    return b"\r\n".join(lines) + b"\r\n\r\n"


class AnswerReader:
    """Reads one answer, whose content may have `limit` octets. When `complete`, `status`, `content` and
    `reusable` are known; the latter: another question may follow on the same connection."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._octets = bytearray()
        self._content = bytearray()
        self._read = self._read_head
        self._left = 0  # octets of the content, or of the chunk
        self._trailer = 0
        self.complete = False
        self.status = 0
        self.reusable = False

    @property
    def content(self) -> bytes:
        """What has come of it."""
        return bytes(self._content)

    def receive(self, data: bytes) -> None:
        """Octets from the server. Raises BadAnswer; nothing may follow then."""
        self._octets += data
        while not self.complete and self._read():
            pass
        if self.complete and self._octets:
            self.reusable = False

    def ended(self) -> None:
        """The server has closed the connection. Raises BadAnswer when the answer is incomplete."""
        if not self.complete:
            if self._read != self._read_to_end:
                raise BadAnswer("the answer is incomplete")
            self.complete = True

    # Each returns False when more octets are needed

    def _read_head(self) -> bool:
        end = self._octets.find(b"\r\n\r\n", 0, MAX_HEAD + 4)
        if end < 0:
            if len(self._octets) > MAX_HEAD:
                raise BadAnswer("too many header fields")
            return False
        status, *lines = bytes(self._octets[:end]).split(b"\r\n")
        del self._octets[: end + 4]
        found = _STATUS.match(status)
        if found is None:
            raise BadAnswer("that is not HTTP")
        self.status = int(found[2])
        if self.status >= 200:  # others announce the answer
            self._begin_content(_fields(lines), newer=found[1] == b"1")
        return True

    def _begin_content(self, fields: dict[bytes, bytes], *, newer: bool) -> None:
        options = fields.get(b"connection", b"").lower()
        self.reusable = b"close" not in options and (newer or b"keep-alive" in options)
        coding = fields.get(b"transfer-encoding", b"").lower()
        length = fields.get(b"content-length", b"")
        if self.status in (204, 304):
            self.complete = True
        elif coding:
            if coding != b"chunked" or length:
                raise BadAnswer("an encoding that nobody knows")
            self._read = self._read_chunk_line
        elif length:
            if not length.isdigit() or len(length) > 15:
                raise BadAnswer("a length that is no number")
            self._expect(int(length))
            self._read = self._read_content
        else:
            self.reusable = False
            self._read = self._read_to_end

    def _expect(self, length: int) -> None:
        if len(self._content) + length > self._limit:
            raise BadAnswer(f"more than {self._limit} octets")
        self._left = length

    def _read_content(self) -> bool:
        self._take()
        self.complete = not self._left
        return False

    def _read_to_end(self) -> bool:
        self._expect(len(self._octets))
        self._take()
        return False

    def _read_chunk_line(self) -> bool:
        line = self._line(_MAX_CHUNK_LINE)
        if line is None:
            return False
        found = _CHUNK.match(line)
        if found is None:
            raise BadAnswer("a chunk without a length")
        self._expect(int(found[1], 16))
        self._read = self._read_chunk if self._left else self._read_trailer
        return True

    def _read_chunk(self) -> bool:
        if self._left:
            self._take()
        if self._left or len(self._octets) < 2:
            return False
        if self._octets[:2] != b"\r\n":
            raise BadAnswer("a chunk without an end")
        del self._octets[:2]
        self._read = self._read_chunk_line
        return True

    def _read_trailer(self) -> bool:
        line = self._line(MAX_HEAD - self._trailer)
        if line is None:
            return False
        self._trailer += len(line) + 2
        self.complete = not line
        return True

    def _take(self) -> None:
        piece = self._octets[: self._left]
        del self._octets[: self._left]
        self._content += piece
        self._left -= len(piece)

    def _line(self, most: int) -> bytes | None:
        end = self._octets.find(b"\r\n", 0, max(most, 0) + 2)
        if end < 0:
            if len(self._octets) > most:
                raise BadAnswer("a line that is too long")
            return None
        line = bytes(self._octets[:end])
        del self._octets[: end + 2]
        return line


def _fields(lines: Sequence[bytes]) -> dict[bytes, bytes]:
    """By name in lower case; of several of a name, all. Raises BadAnswer."""
    found: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise BadAnswer("a header field without a name")
        name, value = name.lower(), value.strip(b" \t")
        found[name] = found[name] + b"," + value if name in found else value
    return found
