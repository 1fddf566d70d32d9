"""The lines of ManageSieve: a verb with strings and numbers; a string may be a literal (RFC 5804 §4)."""

from __future__ import annotations

import re

from twisted_mta.protocol.framing import BareLineEnd, LineBuffer, LineTooLong

MAX_LINE = 16 * 1024  # octets of a line with CRLF: a long token in quotes, or some strings of 1024 octets
_LITERAL = re.compile(rb"\{([0-9]{1,10})\+?\}\Z")
_ARGUMENT = re.compile(rb' +(?:"((?:[^"\\\r\n\0]|\\["\\])*)"|([0-9]{1,10})(?= |\Z)|(\0))')
_ESCAPE = re.compile(rb'\\(["\\])')
_VERB = re.compile(rb"[A-Za-z]{1,32}")

Argument = str | bytes | int


class BadLine(Exception):
    """A command that cannot be read. `fatal`: nobody knows where the next one begins. `code`: of the reply
    (RFC 5804 §1.3)."""

    def __init__(self, text: str, *, fatal: bool = False, code: str = "") -> None:
        super().__init__(text)
        self.fatal = fatal
        self.code = code


class CommandReader:
    """Octets in, commands out. `max_literal` may be changed between two commands."""

    def __init__(self, max_literal: int) -> None:
        self.max_literal = max_literal
        self._lines = LineBuffer(MAX_LINE)
        self._held = bytearray()  # of a literal that has not come whole
        self._wanted = -1  # octets of that literal; -1: none
        self._skipped = 0  # octets to come of a literal that is too large
        self._line = b""  # of the command so far; a literal is a NUL in it
        self._literals: list[bytes] = []
        self._too_large = False

    def receive(self, data: bytes) -> None:
        """Octets from the peer."""
        self._lines.receive(data)

    @property
    def pending(self) -> bool:
        """True when there is something behind the last command."""
        return bool(self._lines)

    def next_command(self) -> tuple[bytes, list[Argument]] | None:
        """The next verb, in upper case, and its arguments; None when more octets are needed. A literal is
        bytes, a string in quotes is str. Raises BadLine."""
        while True:
            if self._wanted >= 0 and not self._take_literal():
                return None
            try:
                line = self._lines.next_line()
            except LineTooLong:
                raise BadLine("Line too long", fatal=True) from None
            except BareLineEnd:
                raise BadLine("Lines end in CRLF", fatal=True) from None
            if line is None:
                return None
            if b"\0" in line:
                raise BadLine("NUL in a line", fatal=True)
            literal = _LITERAL.search(line)
            if literal is None:
                return self._parsed(line)
            self._begin_literal(line[: literal.start()], int(literal[1]))

    def next_string(self) -> str | None:
        """A line that is one string, as in an AUTHENTICATE exchange; None when more octets are needed."""
        found = self.next_line_arguments()
        if found is None:
            return None
        if len(found) != 1 or isinstance(found[0], int):
            raise BadLine("Expected a string")
        text = found[0]
        return text if isinstance(text, str) else text.decode("ascii", "replace")

    def next_line_arguments(self) -> list[Argument] | None:
        """The arguments of a line without a verb."""
        self._line = self._line or b"-"  # a verb that nobody sends
        found = self.next_command()
        return None if found is None else found[1]

    def _begin_literal(self, before: bytes, size: int) -> None:
        self._line += before + b"\0"
        if len(self._literals) == 2:
            raise BadLine("Too many literals", fatal=True)
        self._wanted = size
        if size > self.max_literal:
            if size > 16 * max(self.max_literal, 1 << 20):
                raise BadLine("Literal too large", fatal=True)
            self._too_large = True

    def _take_literal(self) -> bool:
        """Move octets into the literal; False when it has not come whole."""
        octets = self._lines.take_all()
        missing = self._wanted - self._skipped - len(self._held)
        if self._too_large:
            self._skipped += min(missing, len(octets))
        else:
            self._held += octets[:missing]
        self._lines.receive(octets[missing:])
        if self._skipped + len(self._held) < self._wanted:
            return False
        self._literals.append(bytes(self._held))
        self._held.clear()
        self._wanted, self._skipped = -1, 0
        return True

    def _parsed(self, end: bytes) -> tuple[bytes, list[Argument]]:
        line, self._line = self._line + end, b""
        literals, self._literals = self._literals, []
        too_large, self._too_large = self._too_large, False
        if too_large:
            raise BadLine("Literal too large", code="QUOTA/MAXSIZE")
        dialog = line.startswith(b"-")
        verb = _VERB.match(line)
        if verb is None and not dialog:
            raise BadLine("Expected a command")
        position = 1 if verb is None else verb.end()
        if dialog:
            line = line[:1] + b" " + line[1:]
        arguments: list[Argument] = []
        waiting = iter(literals)
        while position < len(line):
            found = _ARGUMENT.match(line, position)
            if found is None:
                raise BadLine("Expected a string or a number")
            quoted, number, literal = found.groups()
            if literal is not None:
                arguments.append(next(waiting))
            elif number is not None:
                arguments.append(int(number))
            else:
                arguments.append(_text(_ESCAPE.sub(rb"\1", quoted)))
            position = found.end()
        return (b"" if verb is None else verb[0].upper()), arguments


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadLine("A string is not UTF-8") from None
