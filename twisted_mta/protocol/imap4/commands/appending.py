"""APPEND and REPLACE (RFC 9051 §6.3.12, RFC 3502, RFC 8508), with the forms that a message may have: a
literal, a literal8 (RFC 3516 §4.4), UTF8 (RFC 6855 §4), CATENATE (RFC 4469); the grammar is RFC 4466's.

What the client sends as messages is streamed, and a command may bring many. So the command itself is read up
to the first of them only, and the reader goes on from one piece to the next. append-ext of RFC 4466 is
nowhere defined, and refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from twisted_mta.message.date import parse_internal_date
from twisted_mta.protocol.imap4.commands.command import LOGGED_IN, Command, Reader, Rows, State
from twisted_mta.protocol.imap4.framing import Literal
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor
from twisted_mta.protocol.imap4.sequence_set import SequenceSet, parse_sequence_set

MAX_MESSAGES = 1000  # in one command
MAX_PARTS = 5000  # in all CATENATEs of one command

_SEQUENCE_NUMBER = re.compile(rb"(?:[1-9][0-9]{0,9}|\*)(?= )")


@dataclass(frozen=True, slots=True)
class AppendOptions:
    """`append-opts`, at the beginning of each message; `internal_date` in epoch seconds, None without one."""

    flags: frozenset[str]
    internal_date: float | None


@dataclass(frozen=True, slots=True)
class TextPart:
    """A literal of `size` octets that comes next: a whole message or, when `catenated`, a part of one.

    options: set when a message begins with it. binary: a literal8, which may hold any octets. utf8: the
    header may be UTF-8. waits: the client does so before it sends it."""

    size: int
    options: AppendOptions | None = None
    catenated: bool = False
    binary: bool = False
    utf8: bool = False
    waits: bool = False


@dataclass(frozen=True, slots=True)
class UrlPart:
    """What an IMAP URL names, as a part of a message; `options` as in TextPart."""

    url: bytes
    options: AppendOptions | None = None


Part = TextPart | UrlPart


@dataclass(frozen=True, slots=True)
class Appending(Command):
    """A command that brings messages, up to the first `part` of the first message."""

    mailbox: str
    part: Part | None  # None only until the engine has read it

    def with_part(self, part: Part) -> Command:
        """The command with its first part."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Append(Appending):
    """APPEND."""

    def with_part(self, part: Part) -> Append:
        return Append(self.tag, self.mailbox, part)


@dataclass(frozen=True, slots=True)
class Replace(Appending):
    """REPLACE; `set` is the one message that the new one takes the place of."""

    by_uid: bool
    set: SequenceSet

    def with_part(self, part: Part) -> Replace:
        return Replace(self.tag, self.mailbox, part, self.by_uid, self.set)


class MailboxDue(CommandError):
    """The command ends where its mailbox has to stand; perhaps that comes in a literal."""

    def __init__(self) -> None:
        super().__init__("Syntax error: expected a mailbox name")


class UrlDue(CommandError):
    """The data end where a URL has to stand; perhaps that comes in a literal."""

    def __init__(self) -> None:
        super().__init__("Syntax error: expected a URL")


def brings_messages(name: str, cursor: Cursor) -> bool:
    """True for a command that is read in pieces; the cursor is behind its name."""
    if name == "UID":
        return cursor.data[cursor.position : cursor.position + 9].upper() == b" REPLACE "
    return name in COMMANDS


class AppendReader:
    """Reads the messages of one command, piece by piece. `many`: there may be more than one (MULTIAPPEND)."""

    __slots__ = ("_catenating", "_many", "_messages", "_options", "_owes_bracket", "_parts", "_url_due")

    def __init__(self, *, many: bool) -> None:
        self._many = many
        self._messages = 0
        self._parts = 0
        self._catenating = False
        self._owes_bracket = False  # the closing one of UTF8 (~{n})
        self._url_due = False  # in a literal
        self._options: AppendOptions | None = None  # those of the message at hand, until its first part

    def next_part(self, cursor: Cursor, literal: Literal | None) -> Part | None:
        """The next part, None at the end of the command. `literal`: the cursor's data end where it begins;
        None: they are the last of the command.

        Raises CommandError; UrlDue when the literal is a URL: call again with data that begin with it."""
        if self._owes_bracket:
            cursor.expect(b")")
            self._owes_bracket = False
        if self._catenating:
            if not cursor.accept(b")"):
                if not self._url_due:
                    cursor.space()
                return self._cat_part(cursor, literal)
            self._catenating = False
        if literal is None and cursor.at_end():
            if not self._messages:
                cursor.fail("a message")
            return None
        return self._message(cursor, literal)

    def _message(self, cursor: Cursor, literal: Literal | None) -> Part:
        """`append-message`, up to its first part."""
        if self._messages and not self._many:
            cursor.fail("the end of the command")
        self._messages += 1
        if self._messages > MAX_MESSAGES:
            raise CommandError(f"More than {MAX_MESSAGES} messages", condition="NO", code="LIMIT")
        cursor.space()
        self._options = _append_options(cursor)
        if literal is not None and cursor.data[cursor.position : cursor.position + 2] in (b"", b"~"):
            return self._text(literal, binary=cursor.accept(b"~"))
        form = cursor.keyword()
        cursor.space()
        if form == "UTF8":
            return self._utf8(cursor, literal, catenated=False)
        if form != "CATENATE":
            cursor.fail("a message literal, CATENATE or UTF8")
        cursor.expect(b"(")
        self._catenating = True
        return self._cat_part(cursor, literal)

    def _cat_part(self, cursor: Cursor, literal: Literal | None) -> Part:
        """`cat-part`; the cursor is in front of it."""
        if self._url_due:
            self._url_due = False
            return UrlPart(cursor.string(), self._take_options())
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise CommandError(f"More than {MAX_PARTS} parts", condition="NO", code="LIMIT")
        kind = cursor.keyword()
        cursor.space()
        if kind == "URL":
            if cursor.at_end() and literal is not None:
                self._url_due = True
                raise UrlDue
            return UrlPart(cursor.astring(), self._take_options())
        if kind == "UTF8":
            return self._utf8(cursor, literal, catenated=True)
        if kind != "TEXT":
            cursor.fail("TEXT, URL or UTF8")
        if literal is None or not cursor.at_end():
            cursor.fail("a literal")
        return self._text(literal, catenated=True)

    def _utf8(self, cursor: Cursor, literal: Literal | None, *, catenated: bool) -> Part:
        cursor.expect(b"(")
        cursor.expect(b"~")
        if literal is None or not cursor.at_end():
            cursor.fail("a literal")
        self._owes_bracket = True
        return self._text(literal, catenated=catenated, utf8=True)

    def _text(
        self, literal: Literal, *, catenated: bool = False, binary: bool = False, utf8: bool = False
    ) -> TextPart:
        return TextPart(literal.size, self._take_options(), catenated, binary, utf8, literal.synchronizing)

    def _take_options(self) -> AppendOptions | None:
        """Those of the message at hand, for its first part."""
        options, self._options = self._options, None
        return options


def _append_options(cursor: Cursor) -> AppendOptions:
    """`append-opts`, each followed by its space."""
    flags: frozenset[str] = frozenset()
    if cursor.peek() == b"(":
        flags = cursor.flag_list()
        cursor.space()
    internal_date = None
    if cursor.peek() == b'"':
        internal_date = parse_internal_date(cursor.string())
        if internal_date is None:
            cursor.fail("a date-time")
        cursor.space()
    return AppendOptions(flags, internal_date)


def _mailbox(cursor: Cursor) -> str:
    cursor.space()
    if cursor.at_end():
        raise MailboxDue
    return cursor.mailbox()


def _append(cursor: Cursor, tag: str) -> Command:
    return Append(tag, _mailbox(cursor), None)


def _replace(by_uid: bool) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        cursor.space()
        start = cursor.position
        cursor.match(_SEQUENCE_NUMBER, "the number of one message")
        number = parse_sequence_set(Cursor(cursor.data[start : cursor.position]))
        return Replace(tag, _mailbox(cursor), None, by_uid, number)

    return read


COMMANDS: Rows = {"APPEND": (LOGGED_IN, _append), "REPLACE": (State.SELECTED, _replace(False))}
UID_COMMANDS: dict[str, Reader] = {"REPLACE": _replace(True)}
