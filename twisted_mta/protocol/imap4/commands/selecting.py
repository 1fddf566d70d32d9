"""Selecting a mailbox and leaving it (RFC 9051 §6.3.2, §6.3.3, §6.4.1, §6.4.2; CHECK of RFC 3501 §6.4.1),
with the parameters CONDSTORE and QRESYNC (RFC 7162 §3.1.8, §3.2.5)."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import LOGGED_IN, Command, Reader, Rows, State, plain
from twisted_mta.protocol.imap4.commands.modifiers import Values, flag, parse_modifiers
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor
from twisted_mta.protocol.imap4.mod_sequence import parse_mod_sequence
from twisted_mta.protocol.imap4.sequence_set import SequenceSet, parse_known_set


@dataclass(frozen=True, slots=True)
class Qresync:
    """What the client knows: UIDVALIDITY, mod-sequence, perhaps its UIDs, and a sample of message numbers
    with their UIDs, in this order."""

    uid_validity: int
    modseq: int
    known: SequenceSet | None = None
    sample: tuple[SequenceSet, SequenceSet] | None = None


@dataclass(frozen=True, slots=True)
class Select(Command):
    """SELECT, or EXAMINE when `read_only`. `mailbox`: "" for a name that no mailbox can have."""

    mailbox: str
    read_only: bool
    condstore: bool = False
    qresync: Qresync | None = None


@dataclass(frozen=True, slots=True)
class Check(Command):
    """CHECK."""


@dataclass(frozen=True, slots=True)
class Close(Command):
    """CLOSE."""


@dataclass(frozen=True, slots=True)
class Unselect(Command):
    """UNSELECT (RFC 3691)."""


def _qresync(cursor: Cursor) -> Qresync:
    cursor.space()
    cursor.expect(b"(")
    uid_validity = cursor.number()
    if not uid_validity:
        cursor.fail("a UIDVALIDITY")
    cursor.space()
    modseq = parse_mod_sequence(cursor)
    known = sample = None
    if cursor.accept(b" "):
        if cursor.peek() != b"(":
            known = parse_known_set(cursor)
        if known is None or cursor.accept(b" "):
            cursor.expect(b"(")
            numbers = parse_known_set(cursor)
            cursor.space()
            sample = numbers, parse_known_set(cursor)
            cursor.expect(b")")
    cursor.expect(b")")
    return Qresync(uid_validity, modseq, known, sample)


def _mailbox(cursor: Cursor) -> str:
    """The name; "", which no mailbox has, for one that is beyond all names. What is selected is then left as
    with any other SELECT that fails (RFC 9051 §6.3.2)."""
    try:
        return cursor.mailbox()
    except CommandError as error:
        if error.condition != "NO":
            raise
        return ""


_PARAMETERS: Values = {"CONDSTORE": flag, "QRESYNC": _qresync}


def _select(read_only: bool) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        cursor.space()
        mailbox = _mailbox(cursor)
        if not cursor.accept(b" "):
            return Select(tag, mailbox, read_only)
        found = parse_modifiers(cursor, _PARAMETERS)
        return Select(tag, mailbox, read_only, "CONDSTORE" in found, found.get("QRESYNC"))

    return read


COMMANDS: Rows = {
    "SELECT": (LOGGED_IN, _select(False)),
    "EXAMINE": (LOGGED_IN, _select(True)),
    "CHECK": (State.SELECTED, plain(Check)),
    "CLOSE": (State.SELECTED, plain(Close)),
    "UNSELECT": (State.SELECTED, plain(Unselect)),
}
