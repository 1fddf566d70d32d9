"""The server engine of MTQP (RFC 3887): octets in, events out, replies ready to send.

Whoever knows the envelope identifier of a message and the secret behind its certifier (MTRK, RFC 3885) may
ask where it is. The commands are TRACK, STARTTLS, COMMENT and QUIT. What TLS has not protected is not
secret any more, so a client is offered TLS at once; that it uses it is its own affair.

Left out on purpose: asking the next host on the client's behalf ("chaining"), which the client may do
itself with the Remote-MTA it is told.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass

from twisted_mta.protocol.framing import AT_A_TIME, BareLineEnd, LineBuffer, LineTooLong, dot_stuff

_LONGEST_ENVID = 255  # characters; RFC 3461 §5.4 wants 100
_LONGEST_SECRET = 256  # octets; RFC 3885 has 128 bits in mind


@dataclass(frozen=True, slots=True)
class MtqpLimits:
    """`line` counts octets with CRLF. After `errors` commands that were malformed or found nothing the
    connection closes: secrets are not to be guessed in bulk."""

    line: int = 1024
    errors: int = 10


@dataclass(frozen=True, slots=True)
class Track:
    """Where are the messages of this envelope identifier? Answer with `found` or `not_found`."""

    envid: str
    secret: bytes


@dataclass(frozen=True, slots=True)
class StartTls:
    """The go-ahead is in the output: write it, begin the handshake, call `secured`."""


Event = Track | StartTls


class MtqpServer:
    """One session. `secure`: the connection is inside TLS; `tls_available`: STARTTLS may be offered."""

    def __init__(
        self, *, hostname: str, secure: bool, tls_available: bool, limits: MtqpLimits = MtqpLimits()
    ) -> None:
        self._hostname = hostname
        self._secure = secure
        self._tls_available = tls_available
        self._limits = limits
        self._lines = LineBuffer(limits.line)
        self._output = bytearray()
        self._errors = 0
        self.behind = False  # there is more to do without more octets
        self.finished = False

    # The engine as a connection sees it

    def receive(self, data: bytes) -> None:
        """Octets from the peer."""
        if not self.finished:
            self._lines.receive(data)

    def next_event(self) -> Event | None:
        """What the session must do next; None when more octets are needed, or it is `behind`."""
        self.behind = False
        for _ in range(AT_A_TIME):
            if self.finished:
                return None
            try:
                line = self._lines.next_line()
                if line is None:
                    return None
                event = self._obey(line)
            except LineTooLong:
                self._complain("-BAD", "Line too long")
            except BareLineEnd:
                self._complain("-BAD", "Lines end in CRLF")
            else:
                if event is not None:
                    return event
        self.behind = True
        return None

    def take_output(self) -> bytes:
        """Octets for the peer."""
        output = bytes(self._output)
        self._output.clear()
        return output

    # Answers of the session

    def greet(self) -> None:
        """Open the conversation, and say what is on offer."""
        if self._tls_available and not self._secure:
            self._say(f"+OK+/MTQP {self._hostname} message tracking\r\nSTARTTLS\r\n.")
        else:
            self._say(f"+OK/MTQP {self._hostname} message tracking")

    def secured(self) -> None:
        """TLS has begun."""
        self._secure = True

    def found(self, report: bytes) -> None:
        """The answer to Track: a MIME entity (RFC 3886) with CRLF line ends."""
        self._say("+OK+ Tracking information follows")
        self._output += b"".join(dot_stuff([report]))

    def not_found(self) -> None:
        """The answer to Track: no such message, or not the right secret; which of the two is not told."""
        self._complain("-ERR", "No information for this identifier and secret")

    def fail(self, text: str, *, finish: bool = False) -> None:
        """The answer to any event, or said between commands: not now."""
        self._say(f"-TEMP {text}")
        self.finished = finish

    # Within

    def _say(self, text: str) -> None:
        self._output += f"{text}\r\n".encode("ascii", "replace")

    def _complain(self, indicator: str, text: str) -> None:
        self._errors += 1
        self.finished = self._errors >= self._limits.errors
        self._say(f"{indicator} {text}{', too many errors, bye' if self.finished else ''}")

    def _obey(self, line: bytes) -> Event | None:
        word, _, rest = line.partition(b" ")
        command = _COMMANDS.get(word.upper())
        if command is None:
            self._complain("-BAD", "Unknown command")
            return None
        return command(self, rest)

    def _track(self, arguments: bytes) -> Event | None:
        words = arguments.split()
        try:
            envid, secret = words[0].decode("ascii"), base64.b64decode(words[1], validate=True)
        except (IndexError, UnicodeDecodeError, binascii.Error):
            words = []
        if len(words) != 2 or len(envid) > _LONGEST_ENVID or not 0 < len(secret) <= _LONGEST_SECRET:
            self._complain("-BAD", "TRACK takes an envelope identifier and a secret in base64")
            return None
        return Track(envid, secret)

    def _starttls(self, arguments: bytes) -> Event | None:
        if arguments or self._secure or not self._tls_available:
            self._complain("-BAD", "TLS is active already" if self._secure else "TLS is not available")
            return None
        if len(self._lines):
            # Sent in the clear, by whomever, to be read as if it had come through TLS.
            self._say("-BAD Nothing may follow STARTTLS before the handshake")
            self.finished = True
            return None
        self._say("+OK Begin TLS")
        return StartTls()

    def _comment(self, arguments: bytes) -> None:
        self._say("+OK")

    def _quit(self, arguments: bytes) -> None:
        self._say("+OK Bye")
        self.finished = True


_COMMANDS: dict[bytes, Callable[[MtqpServer, bytes], Event | None]] = {
    b"TRACK": MtqpServer._track,
    b"STARTTLS": MtqpServer._starttls,
    b"COMMENT": MtqpServer._comment,
    b"QUIT": MtqpServer._quit,
}
