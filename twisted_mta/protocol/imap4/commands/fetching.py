"""FETCH with its modifiers (RFC 9051 §6.4.5; RFC 7162 §3.1.4, §3.2.6; RFC 9394 §3.3)."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import Command, OnMessages, Reader, Rows, State
from twisted_mta.protocol.imap4.commands.modifiers import Values, flag, parse_modifiers
from twisted_mta.protocol.imap4.fetch_items import Item, parse_items
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor
from twisted_mta.protocol.imap4.mod_sequence import parse_mod_sequence
from twisted_mta.protocol.imap4.partial_range import PartialRange, parse_partial_range
from twisted_mta.protocol.imap4.sequence_set import SequenceSet, parse_sequence_set


@dataclass(frozen=True, slots=True)
class Fetch(OnMessages):
    """FETCH. changed_since: only messages with a higher mod-sequence; vanished: tell of those, too, that are
    gone since then; partial: only these of the messages in the set."""

    set: SequenceSet
    items: tuple[Item, ...]
    changed_since: int | None = None
    vanished: bool = False
    partial: PartialRange | None = None


def _changed_since(cursor: Cursor) -> int:
    cursor.space()
    return parse_mod_sequence(cursor)


def _partial(cursor: Cursor) -> PartialRange:
    cursor.space()
    return parse_partial_range(cursor)


_MODIFIERS: Values = {"CHANGEDSINCE": _changed_since}
_UID_MODIFIERS: Values = {**_MODIFIERS, "VANISHED": flag, "PARTIAL": _partial}


def _fetch(by_uid: bool) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        cursor.space()
        numbers = parse_sequence_set(cursor)
        cursor.space()
        items = parse_items(cursor)
        if not cursor.accept(b" "):
            return Fetch(tag, by_uid, numbers, items)
        found = parse_modifiers(cursor, _UID_MODIFIERS if by_uid else _MODIFIERS)
        if "VANISHED" in found and "CHANGEDSINCE" not in found:
            raise CommandError("VANISHED needs CHANGEDSINCE")
        changed_since, partial = found.get("CHANGEDSINCE"), found.get("PARTIAL")
        return Fetch(tag, by_uid, numbers, items, changed_since, "VANISHED" in found, partial)

    return read


COMMANDS: Rows = {"FETCH": (State.SELECTED, _fetch(False))}
UID_COMMANDS: dict[str, Reader] = {"FETCH": _fetch(True)}
