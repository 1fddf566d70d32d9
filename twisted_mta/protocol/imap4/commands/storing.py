"""STORE and EXPUNGE (RFC 9051 §6.4.6, §6.4.3, §6.4.9; RFC 7162 §3.1.3)."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import Command, OnMessages, Reader, Rows, State, plain
from twisted_mta.protocol.imap4.commands.modifiers import Values, parse_modifiers
from twisted_mta.protocol.imap4.grammar import Cursor
from twisted_mta.protocol.imap4.mod_sequence import parse_mod_sequence
from twisted_mta.protocol.imap4.sequence_set import SequenceSet, parse_sequence_set


@dataclass(frozen=True, slots=True)
class Store(OnMessages):
    """STORE. `how` is "add", "remove" or "replace"; messages with a mod-sequence above `unchanged_since` stay
    as they are."""

    set: SequenceSet
    how: str
    silent: bool
    flags: frozenset[str]
    unchanged_since: int | None = None


@dataclass(frozen=True, slots=True)
class Expunge(Command):
    """EXPUNGE; UID EXPUNGE (RFC 4315) names the UIDs that alone may go."""

    uids: SequenceSet | None = None


_STORE_ITEMS = {
    sign + "FLAGS" + suffix: (how, bool(suffix))
    for sign, how in (("", "replace"), ("+", "add"), ("-", "remove"))
    for suffix in ("", ".SILENT")
}


def _unchanged_since(cursor: Cursor) -> int:
    cursor.space()
    return parse_mod_sequence(cursor, zero=True)


_MODIFIERS: Values = {"UNCHANGEDSINCE": _unchanged_since}


def _store(by_uid: bool) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        cursor.space()
        numbers = parse_sequence_set(cursor)
        cursor.space()
        unchanged_since = None
        if cursor.peek() == b"(":
            unchanged_since = parse_modifiers(cursor, _MODIFIERS)["UNCHANGEDSINCE"]
            cursor.space()
        item = _STORE_ITEMS.get(cursor.keyword())
        if item is None:
            cursor.fail("FLAGS")
        cursor.space()
        return Store(tag, by_uid, numbers, *item, cursor.flags(), unchanged_since)

    return read


def _uid_expunge(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    return Expunge(tag, parse_sequence_set(cursor))


COMMANDS: Rows = {
    "STORE": (State.SELECTED, _store(False)),
    "EXPUNGE": (State.SELECTED, plain(Expunge)),
}
UID_COMMANDS: dict[str, Reader] = {"STORE": _store(True), "EXPUNGE": _uid_expunge}
