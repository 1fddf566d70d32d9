"""Replies of an SMTP server, as the client reads them (RFC 5321 §4.2, RFC 2034, RFC 3463).

A reply is one line, or several that carry the same code and a hyphen behind it on all but the last.
What does not fit the grammar is `BadReply`: after it nobody knows which reply answers which command, so
the connection is of no more use, and the trouble is temporary.

Left out on purpose: the meaning of a reply, which depends on the command (`client.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from twisted_mta.protocol.framing import BareLineEnd, LineBuffer, LineTooLong

MAX_LINE = 2048  # octets including CRLF; RFC 5321 §4.5.3.1.5 says 512, real servers do not count
MAX_LINES = 100  # lines of one reply
MAX_TEXT = 1000  # characters of a reply when told in one line

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?\Z", re.DOTALL)
_STATUS = re.compile(r"([245])(\.[0-9]{1,3}\.[0-9]{1,3})(?: |\Z)")
_PRINTABLE = bytes(octet if 0x20 <= octet < 0x7F else ord("?") for octet in range(256))


class BadReply(Exception):
    """What the server sent is not an SMTP reply. The text says why, in printable ASCII."""


@dataclass(frozen=True, slots=True)
class Reply:
    """`code` is 200-599; `lines` the texts behind the code, in printable ASCII, at least one."""

    code: int
    lines: tuple[str, ...]

    @property
    def positive(self) -> bool:
        """2yz: the command has been done."""
        return 200 <= self.code < 300

    @property
    def permanent(self) -> bool:
        """5yz: the same command will be refused again."""
        return self.code >= 500

    @property
    def status(self) -> str:
        """The enhanced status code (RFC 2034 §4), in the class of the basic code where the two disagree;
        "X.0.0" when the server gave none."""
        klass = str(self.code // 100)
        given = _STATUS.match(self.lines[-1]) or _STATUS.match(self.lines[0])
        return klass + (given[2] if given else ".0.0")

    def __str__(self) -> str:
        """In one line of at most MAX_TEXT characters: the code and all texts, with the enhanced status
        code only once."""
        texts = list(self.lines)
        if (status := _STATUS.match(texts[0])) is not None:
            texts[1:] = [text.removeprefix(status[0]) for text in texts[1:]]
        return " ".join((str(self.code), *(text for text in texts if text)))[:MAX_TEXT]


class ReplyReader:
    """Octets in, replies out."""

    def __init__(self) -> None:
        self._buffer = LineBuffer(MAX_LINE)
        self._code = 0
        self._lines: list[str] = []

    def receive(self, data: bytes) -> None:
        """Octets from the server."""
        self._buffer.receive(data)

    def next_reply(self) -> Reply | None:
        """The next whole reply, or None when more octets are needed. Raises BadReply, and then is spent."""
        try:
            while (line := self._buffer.next_line()) is not None:
                if (reply := self._add(line)) is not None:
                    return reply
        except LineTooLong:
            raise BadReply("Reply line too long") from None
        except BareLineEnd:
            raise BadReply("Bare CR or LF in a reply") from None
        return None

    @property
    def empty(self) -> bool:
        """True when not one octet is held behind the last whole reply."""
        return not self._buffer and not self._lines

    def _add(self, line: bytes) -> Reply | None:
        parts = _LINE.match(line)
        if parts is None:
            shown = line[:80].translate(_PRINTABLE).decode("ascii")
            raise BadReply(f"Not an SMTP reply: {shown!r}")
        code = int(parts[1])
        if self._lines and code != self._code:
            raise BadReply(f"Reply changes its code from {self._code} to {code}")
        self._code = code
        self._lines.append((parts[3] or b"").translate(_PRINTABLE).decode("ascii"))
        if parts[2] == b"-":
            if len(self._lines) >= MAX_LINES:
                raise BadReply("Reply has too many lines")
            return None
        reply = Reply(code, tuple(self._lines))
        self._lines.clear()
        return reply
