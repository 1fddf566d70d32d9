"""APPEND (RFC 9051 §6.3.12).

Its message literal is streamed, so it is read up to that literal.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.message.date import parse_internal_date
from twisted_mta.protocol.imap4.commands.command import LOGGED_IN, Command, Rows
from twisted_mta.protocol.imap4.grammar import Cursor


@dataclass(frozen=True, slots=True)
class Append(Command):
    """APPEND up to its literal of `size` octets; `internal_date` in epoch seconds."""

    mailbox: str
    flags: frozenset[str]
    internal_date: float | None
    size: int


def read_append(cursor: Cursor, tag: str, size: int) -> Append:
    """The arguments of APPEND; the cursor's data ends where the literal of `size` octets begins."""
    cursor.space()
    mailbox = cursor.mailbox()
    cursor.space()
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
    cursor.end()
    return Append(tag, mailbox, flags, internal_date, size)


def _append(cursor: Cursor, tag: str) -> Command:
    cursor.fail("a message literal")  # an APPEND with one never gets here: the engine streams it


COMMANDS: Rows = {"APPEND": (LOGGED_IN, _append)}
