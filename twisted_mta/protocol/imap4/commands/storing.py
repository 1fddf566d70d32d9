"""STORE and EXPUNGE (RFC 3501 §6.4.6, §6.4.3; RFC 4315 §2.1)."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import Command, OnMessages, Reader, Rows, State, plain
from twisted_mta.protocol.imap4.grammar import Cursor
from twisted_mta.protocol.imap4.sequence_set import SequenceSet, parse_sequence_set


@dataclass(frozen=True, slots=True)
class Store(OnMessages):
    """STORE. `how` is "add", "remove" or "replace"."""

    set: SequenceSet
    how: str
    silent: bool
    flags: frozenset[str]


@dataclass(frozen=True, slots=True)
class Expunge(Command):
    """EXPUNGE; UID EXPUNGE (RFC 4315) names the UIDs that alone may go."""

    uids: SequenceSet | None = None


_STORE_ITEMS = {
    sign + "FLAGS" + suffix: (how, bool(suffix))
    for sign, how in (("", "replace"), ("+", "add"), ("-", "remove"))
    for suffix in ("", ".SILENT")
}


def _store(by_uid: bool) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        cursor.space()
        numbers = parse_sequence_set(cursor)
        cursor.space()
        item = _STORE_ITEMS.get(cursor.keyword())
        if item is None:
            cursor.fail("FLAGS")
        cursor.space()
        return Store(tag, by_uid, numbers, *item, cursor.flags())

    return read


def _uid_expunge(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    return Expunge(tag, parse_sequence_set(cursor))


COMMANDS: Rows = {
    "STORE": (State.SELECTED, _store(False)),
    "EXPUNGE": (State.SELECTED, plain(Expunge)),
}
UID_COMMANDS: dict[str, Reader] = {"STORE": _store(True), "EXPUNGE": _uid_expunge}
