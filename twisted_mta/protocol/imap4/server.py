"""The server's side of IMAP4rev1 as an engine without I/O (RFC 3501 §2.2, §3; RFC 2177, 4959, 7888).

Octets go in, commands come out; the session decides and answers through the engine. The engine joins
lines and literals to commands, holds the connection's state and refuses what has no place in it. It says
nothing of its own accord but `+` to a literal: faults are events, and the session words the answer.

Non-synchronizing literals (LITERAL+) are taken up to the limits. What is over them, or belongs to a
command that is refused already, is read and thrown away, so that the stream stays in step; when that
would be too much, the fault is fatal and the session ends the connection (RFC 7888 §4).
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.appending import Append, read_append
from twisted_mta.protocol.imap4.commands.command import Command, Reader, State
from twisted_mta.protocol.imap4.commands.connection import Compress, StartTls
from twisted_mta.protocol.imap4.commands.table import find_reader
from twisted_mta.protocol.imap4.framing import (
    BareLineFeed,
    Framer,
    LineTooLong,
    Literal,
    OutOfStep,
    announced,
)
from twisted_mta.protocol.imap4.grammar import MAX_TAG, CommandError, Cursor
from twisted_mta.protocol.imap4.responses import status_line
from twisted_mta.protocol.imap4.sequence_set import MAX_NUMBER

_TAG = re.compile(rb"([!#$&',-\[^-z|}~\]]{1,%d})(?: |\Z)" % MAX_TAG)


@dataclass(frozen=True, slots=True)
class InputLimits:
    """All in octets (RFC 2683 §3.2.1.5). `line`: one line without its literals; `literal`: a literal other
    than a message; `command`: a whole command; `skip`: the longest unwanted non-synchronizing literal
    that is read and thrown away."""

    line: int
    literal: int
    command: int
    skip: int


# Before login nobody has a reason to send more than a name and a password.
BEFORE_LOGIN = InputLimits(line=8 * 1024, literal=4 * 1024, command=16 * 1024, skip=64 * 1024)
LOGGED_IN = InputLimits(line=2**21, literal=64 * 1024, command=2**21, skip=2**27)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is no command. `tag` is "*" where none could be made out; after a `fatal` fault
    the connection cannot go on."""

    tag: str
    condition: str
    text: str
    code: str = ""
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class ContinuationLine:
    """The client's line in an AUTHENTICATE or IDLE that is under way, without CRLF."""

    line: bytes


@dataclass(frozen=True, slots=True)
class LiteralChunk:
    """The next octets of the message of an Append that was accepted."""

    data: bytes


@dataclass(frozen=True, slots=True)
class AppendEnd:
    """The Append that was accepted has come to its end. `fault` says what was wrong behind its literal."""

    fault: Fault | None = None


Event = Command | Fault | ContinuationLine | LiteralChunk | AppendEnd


class _Reading(enum.Enum):
    COMMAND = enum.auto()  # a line of a command
    LITERAL = enum.auto()  # a literal that becomes part of the command
    MESSAGE = enum.auto()  # the literal of an accepted Append
    MESSAGE_END = enum.auto()  # the end of the line behind it
    CONTINUATION = enum.auto()  # lines for the session


class ImapServer:
    """One connection. `state` is moved on by the session, through `log_in`, `select` and `deselect`."""

    __slots__ = (
        "_command",
        "_expected",
        "_finished",
        "_framer",
        "_is_append",
        "_limits",
        "_message",
        "_output",
        "_reading",
        "state",
        "utf8",
    )

    def __init__(self) -> None:
        self.state = State.NOT_AUTHENTICATED
        self.utf8 = False  # names of mailboxes and quoted strings are UTF-8 (RFC 6855, RFC 9051)
        self._limits = BEFORE_LOGIN
        self._framer = Framer(BEFORE_LOGIN.line, BEFORE_LOGIN.skip)
        self._command = bytearray()  # the lines and literals of the command so far
        self._reading = _Reading.COMMAND
        self._is_append = False
        self._expected = 0  # octets of the literal still to come
        self._message: Literal | None = None  # of the Append that the session is to decide about
        self._output: list[bytes] = []
        self._finished = False

    # The side of the connection

    def receive(self, data: bytes) -> None:
        """Octets from the client."""
        if not self._finished:
            self._framer.receive(data)

    def take_output(self) -> bytes:
        """Octets for the client."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    @property
    def finished(self) -> bool:
        """True when the connection is to be closed once the output has been written."""
        return self._finished

    def next_event(self) -> Event | None:
        """The next command, fault or piece of one; None when more octets are needed."""
        progress: Event | bool = True
        while progress is True and not self._finished:
            try:
                progress = self._step()
            except LineTooLong as error:
                progress = self._on_bad_line(error.start, "Line too long")
            except BareLineFeed as error:
                progress = self._on_bad_line(error.line, "A line must end in CRLF")
            except OutOfStep:
                progress = Fault("*", "BAD", "The literal is too long to be skipped", "TOOBIG", fatal=True)
        return None if isinstance(progress, bool) else progress

    # The side of the session

    def write(self, data: bytes) -> None:
        """Response data, complete lines."""
        self._output.append(data)

    def respond(self, tag: str, condition: str, text: str, code: str = "") -> None:
        """A status response; `tag` "*" for an untagged one."""
        self._output.append(status_line(tag, condition, text, code))

    def request(self, line: bytes = b"") -> None:
        """A continuation request whose answer the session wants to see: the client's next line, and
        every further one until `end_continuation`, come as ContinuationLine."""
        self._output.append(b"+ " + line + b"\r\n")
        self._reading = _Reading.CONTINUATION

    def end_continuation(self) -> None:
        """Back to commands, if it was the session's lines that came."""
        if self._reading is _Reading.CONTINUATION:
            self._reading = _Reading.COMMAND

    def accept_message(self) -> None:
        """Take the literal of the Append just given out: it comes as LiteralChunk events and an AppendEnd.
        Without this call the literal is unwanted: it is not asked for, or thrown away if it comes anyhow."""
        assert self._message is not None
        self._expected = self._message.size
        if self._message.synchronizing:
            self._output.append(b"+ Ready for the message\r\n")
        self._message = None
        self._reading = _Reading.MESSAGE

    def log_in(self) -> None:
        """The client has proved who it is."""
        self.state = State.AUTHENTICATED
        self._limits = LOGGED_IN
        self._framer.max_line, self._framer.max_skip = LOGGED_IN.line, LOGGED_IN.skip

    def log_out(self) -> None:
        """Nobody is logged in any more, and nothing enabled (RFC 8437)."""
        self.state = State.NOT_AUTHENTICATED
        self.utf8 = False
        self._limits = BEFORE_LOGIN
        self._framer.max_line, self._framer.max_skip = BEFORE_LOGIN.line, BEFORE_LOGIN.skip

    def select(self) -> None:
        """A mailbox is selected."""
        self.state = State.SELECTED

    def deselect(self) -> None:
        """No mailbox is selected any more."""
        self.state = State.AUTHENTICATED

    def finish(self) -> None:
        """Nothing more is read; the connection closes after the output."""
        self._finished = True
        self._framer.clear()
        self._command.clear()

    # From octets to events. A step gives an event, True for progress without one, False for want of octets.

    def _step(self) -> Event | bool:
        if self._message is not None:
            unwanted, self._message = self._message, None
            self._decline(unwanted)
        if not self._framer.skip():
            return False
        if self._reading is _Reading.LITERAL:
            return self._on_literal()
        if self._reading is _Reading.MESSAGE:
            return self._on_message()
        line = self._framer.line()
        if line is None:
            return False
        if self._reading is _Reading.CONTINUATION:
            return ContinuationLine(line)
        literal = announced(line)
        if self._reading is _Reading.MESSAGE_END:
            return self._on_message_end(line, literal)
        if literal is not None:
            return self._on_announcement(line, literal)
        self._command += line
        command = bytes(self._command)
        self._command.clear()
        return self._parse(command)

    def _on_bad_line(self, start: bytes, text: str) -> Event:
        in_command = self._reading is _Reading.COMMAND
        fault = Fault(_tag_of(self._command or start) if in_command else "*", "BAD", text)
        self._command.clear()
        if self._reading is _Reading.MESSAGE_END:
            self._reading = _Reading.COMMAND
            return AppendEnd(fault)
        return fault

    def _parse(self, command: bytes) -> Event:
        cursor = Cursor(command, utf8=self.utf8)
        try:
            tag, _, reader = self._read_start(cursor)
            parsed = reader(cursor, tag)
            cursor.end()
        except CommandError as error:
            return Fault(_tag_of(command), error.condition, error.text, error.code)
        if isinstance(parsed, StartTls | Compress) and len(self._framer):
            # What came along in the clear must never be read as if it had come inside TLS (RFC 3501 §6.2.1).
            return Fault(tag, "BAD", "Nothing may follow before the new layer is there", fatal=True)
        return parsed

    def _read_start(self, cursor: Cursor) -> tuple[str, str, Reader]:
        tag = cursor.tag()
        cursor.space()
        return tag, *find_reader(cursor, self.state)

    # Literals

    def _on_announcement(self, line: bytes, literal: Literal) -> Event | bool:
        """A line ends in a literal: take it, put it before the session (APPEND), or refuse the command."""
        first = not self._command
        self._command += line
        try:
            if literal.size > MAX_NUMBER:
                raise CommandError("Literal too long", code="TOOBIG")
            if first or self._is_append:
                append = self._read_append(literal)
                if append is not None:
                    self._command.clear()
                    self._message = literal
                    return append
            if (
                literal.size > self._limits.literal
                or len(self._command) + literal.size > self._limits.command
            ):
                raise CommandError("Literal too long", code="TOOBIG")
        except CommandError as error:
            tag = _tag_of(self._command)
            self._command.clear()
            try:
                self._decline(literal)
            except OutOfStep:
                return Fault(tag, error.condition, error.text, error.code, fatal=True)
            return Fault(tag, error.condition, error.text, error.code)
        self._command += b"\r\n"
        self._expected = literal.size
        self._reading = _Reading.LITERAL
        if literal.synchronizing:
            self._output.append(b"+ Ready for the literal\r\n")
        return True

    def _read_append(self, literal: Literal) -> Append | None:
        """The Append whose message this literal is; None when it is another command's, or APPEND's mailbox
        name. Raises CommandError for a command that does not deserve its literal (RFC 3501 §7.5)."""
        cursor = Cursor(bytes(self._command[: self._command.rindex(b"{")]), utf8=self.utf8)
        tag, name, _ = self._read_start(cursor)
        self._is_append = name == "APPEND"
        if not self._is_append or cursor.data[cursor.position :] == b" ":
            return None
        return read_append(cursor, tag, literal.size)

    def _decline(self, literal: Literal) -> None:
        """The command of this literal is refused. A synchronizing one the client keeps to itself when it sees
        the refusal, the others come. Raises OutOfStep."""
        if not literal.synchronizing:
            self._framer.skip_literal(literal.size)

    def _on_literal(self) -> bool:
        if len(self._framer) < self._expected:
            return False
        self._command += self._framer.take(self._expected)
        self._reading = _Reading.COMMAND
        return True

    def _on_message(self) -> Event | bool:
        if not self._expected:
            self._reading = _Reading.MESSAGE_END
            return True
        chunk = self._framer.take(self._expected)
        self._expected -= len(chunk)
        return LiteralChunk(chunk) if chunk else False

    def _on_message_end(self, line: bytes, literal: Literal | None) -> Event:
        """Behind the message there may be nothing. A client that takes MULTIAPPEND for granted
        puts another one there, which must not be read as commands."""
        self._reading = _Reading.COMMAND
        if not line:
            return AppendEnd()
        fault = Fault("*", "BAD", "Only one message can be appended")
        if literal is not None:
            self._message = literal  # declined before the next event, as every unwanted literal
        return AppendEnd(fault)


def _tag_of(start: bytes | bytearray) -> str:
    """The tag that a command begins with, "*" when that is none."""
    found = _TAG.match(start)
    return found[1].decode("ascii") if found else "*"
