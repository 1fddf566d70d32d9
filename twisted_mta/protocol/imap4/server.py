"""The server's side of IMAP4rev1 as an engine without I/O (RFC 3501 §2.2, §3; RFC 2177, 4959, 7888).

Octets go in, commands come out; the session decides and answers through the engine. The engine joins
lines and literals to commands, holds the connection's state and refuses what has no place in it. It says
nothing of its own accord but `+` to a literal: faults are events, and the session words the answer.

A command that brings messages (APPEND, REPLACE) comes out as soon as its first part is known. The session
accepts one part after the other; the literals among them are streamed, so that nothing of them is held here.

Non-synchronizing literals (LITERAL+) are taken up to the limits. What is over them, or belongs to a
command that is refused already, is read and thrown away, so that the stream stays in step; when that
would be too much, the fault is fatal and the session ends the connection (RFC 7888 §4).
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, replace

from twisted_mta.protocol.imap4.commands.appending import (
    Append,
    Appending,
    AppendReader,
    MailboxDue,
    Part,
    TextPart,
    UrlDue,
    UrlPart,
    brings_messages,
)
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
BEFORE_LOGIN = InputLimits(line=16 * 1024, literal=4 * 1024, command=16 * 1024, skip=64 * 1024)
LOGGED_IN = InputLimits(line=2**21, literal=2**20, command=2**21, skip=2**27)
_MAX_URL = 64 * 1024  # octets of one that comes as a literal


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
    """The next octets of the TextPart that was accepted."""

    data: bytes


@dataclass(frozen=True, slots=True)
class AppendEnd:
    """The Append or Replace whose parts were accepted has come to its end. `fault` says what was wrong with
    the rest of it."""

    fault: Fault | None = None


Event = Command | Fault | ContinuationLine | TextPart | UrlPart | LiteralChunk | AppendEnd


class _Reading(enum.Enum):
    COMMAND = enum.auto()  # a line of a command
    LITERAL = enum.auto()  # a literal that becomes part of the command
    MESSAGE = enum.auto()  # the literal of an accepted TextPart
    CONTINUATION = enum.auto()  # lines for the session


class _Bringing:
    """A command that brings messages. `line`: what is there to be read, and `literal` what it ends in; None
    for a line that has still to come. `head`: the command, until it has been given out."""

    __slots__ = ("given", "head", "line", "literal", "reader")

    def __init__(self, head: Appending, line: Cursor, literal: Literal | None) -> None:
        self.head: Appending | None = head
        self.line: Cursor | None = line
        self.literal = literal
        self.reader = AppendReader(many=isinstance(head, Append))
        self.given: Part | None = None  # the part that the session is to decide about


class ImapServer:
    """One connection. `state` is moved on by the session, through `log_in`, `select` and `deselect`."""

    __slots__ = (
        "_bringing",
        "_command",
        "_expected",
        "_finished",
        "_framer",
        "_limits",
        "_mailbox_due",
        "_output",
        "_reading",
        "_unwanted",
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
        self._mailbox_due = False  # the command so far ends where a literal with its mailbox begins
        self._bringing: _Bringing | None = None
        self._expected = 0  # octets of the literal still to come
        self._unwanted: Literal | None = None  # announced, and to be declined before anything else is read
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
    def ready(self) -> int:
        """How many octets there are for the client."""
        return sum(map(len, self._output))

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
                self._unwanted = announced(error.line)
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

    def accept_part(self) -> None:
        """Take the part just given out, as an event or with its command, and go on with the command. The
        literal of a TextPart comes as LiteralChunk events, then comes the next part or an AppendEnd.

        Without this call the command is over: what is left of it is not asked for, or thrown away if it comes
        anyhow."""
        bringing = self._bringing
        assert bringing is not None
        part, bringing.given = bringing.given, None
        if isinstance(part, TextPart):
            assert bringing.literal is not None
            self._expected = part.size
            if bringing.literal.synchronizing:
                self._output.append(b"+ Ready for the message\r\n")
            bringing.line = bringing.literal = None
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
        self._bringing = None

    # From octets to events. A step gives an event, True for progress without one, False for want of octets.

    def _step(self) -> Event | bool:
        if self._bringing is not None and self._bringing.given is not None:
            self._end_bringing()
        if self._unwanted is not None:
            unwanted, self._unwanted = self._unwanted, None
            self._decline(unwanted)
        if not self._framer.skip():
            return False
        if self._reading is _Reading.LITERAL:
            return self._on_literal()
        if self._reading is _Reading.MESSAGE:
            return self._on_message()
        if self._bringing is not None and self._bringing.line is not None:
            return self._next_part(self._bringing, self._bringing.line)
        line = self._framer.line()
        if line is None:
            return False
        literal = announced(line)
        if self._reading is _Reading.CONTINUATION:
            self._unwanted = literal
            return ContinuationLine(line)
        if self._bringing is not None:
            self._command += line
            self._bringing.line, self._bringing.literal = self._cursor(literal), literal
            self._command.clear()
            return True
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
        if self._bringing is not None:
            return self._spoilt(self._bringing, fault)
        return fault

    def _parse(self, command: bytes) -> Event | bool:
        cursor = Cursor(command, utf8=self.utf8)
        try:
            tag, name, reader = self._read_start(cursor)
            brings = brings_messages(name, cursor)
            parsed = reader(cursor, tag)
            if brings:
                return self._bring(parsed, cursor, None)
            cursor.end()
        except CommandError as error:
            return Fault(_tag_of(command), error.condition, error.text, error.code)
        if isinstance(parsed, StartTls | Compress) and len(self._framer):
            # What came along in the clear must never be read as if it had come inside TLS (RFC 3501 §6.2.1).
            layer = "STARTTLS before TLS" if isinstance(parsed, StartTls) else "COMPRESS before it is active"
            return Fault(tag, "BAD", f"Nothing may follow {layer}", fatal=True)
        return parsed

    def _read_start(self, cursor: Cursor) -> tuple[str, str, Reader]:
        tag = cursor.tag()
        cursor.space()
        return tag, *find_reader(cursor, self.state)

    def _cursor(self, literal: Literal | None) -> Cursor:
        """The command so far, without the announcement of the literal that it ends in."""
        end = len(self._command)
        if literal is not None:
            end = max(0, self._command.rfind(b"{"))  # there may be none before a number out of all reason
        return Cursor(bytes(self._command[:end]), utf8=self.utf8)

    # Commands that bring messages

    def _bring(self, command: Command, line: Cursor, literal: Literal | None) -> Event | bool:
        """A command whose messages follow, from the cursor on."""
        assert isinstance(command, Appending)
        self._command.clear()
        self._bringing = _Bringing(command, line, literal)
        return self._next_part(self._bringing, line)

    def _next_part(self, bringing: _Bringing, line: Cursor) -> Event | bool:
        literal = bringing.literal
        try:
            part = bringing.reader.next_part(line, literal)
        except UrlDue as error:
            assert literal is not None
            if literal.size > _MAX_URL:
                return self._spoilt(bringing, Fault("*", error.condition, "URL too long", "TOOBIG"))
            bringing.line = bringing.literal = None
            self._command += b"{%d}\r\n" % literal.size
            self._await_literal(literal)
            return True
        except CommandError as error:
            return self._spoilt(bringing, Fault("*", error.condition, error.text, error.code))
        if part is None:
            self._bringing = None
            return AppendEnd()
        bringing.given = part
        if bringing.head is None:
            return part
        head, bringing.head = bringing.head, None
        return head.with_part(part)

    def _spoilt(self, bringing: _Bringing, fault: Fault) -> Event:
        """The rest of the command makes no sense."""
        self._end_bringing()
        if bringing.head is not None:
            return replace(fault, tag=bringing.head.tag)
        return AppendEnd(fault)

    def _end_bringing(self) -> None:
        """The command is over. What is left of it, the next step declines."""
        if self._bringing is not None and self._bringing.literal is not None:
            self._unwanted = self._bringing.literal
        self._bringing = None
        self._reading = _Reading.COMMAND

    # Literals

    def _on_announcement(self, line: bytes, literal: Literal) -> Event | bool:
        """A line ends in a literal: take it, put it before the session, or refuse the command."""
        first = not self._command
        self._command += line
        try:
            if first or self._mailbox_due:
                self._mailbox_due = False
                cursor = self._cursor(literal)
                tag, name, reader = self._read_start(cursor)  # no literal for a bad command (RFC 3501 §7.5)
                if brings_messages(name, cursor):
                    try:
                        return self._bring(reader(cursor, tag), cursor, literal)
                    except MailboxDue:
                        self._mailbox_due = True
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
        self._await_literal(literal)
        return True

    def _await_literal(self, literal: Literal) -> None:
        self._expected = literal.size
        self._reading = _Reading.LITERAL
        if literal.synchronizing:
            self._output.append(b"+ Ready for the literal\r\n")

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
            self._reading = _Reading.COMMAND
            return True
        chunk = self._framer.take(self._expected)
        self._expected -= len(chunk)
        return LiteralChunk(chunk) if chunk else False


def _tag_of(start: bytes | bytearray) -> str:
    """The tag that a command begins with, "*" when that is none."""
    found = _TAG.match(start)
    return found[1].decode("ascii") if found else "*"
