"""FETCH (RFC 3501 §6.4.5)."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import Command, OnMessages, Reader, Rows, State
from twisted_mta.protocol.imap4.fetch_items import Item, parse_items
from twisted_mta.protocol.imap4.grammar import Cursor
from twisted_mta.protocol.imap4.sequence_set import SequenceSet, parse_sequence_set


@dataclass(frozen=True, slots=True)
class Fetch(OnMessages):
    """FETCH."""

    set: SequenceSet
    items: tuple[Item, ...]


def _fetch(by_uid: bool) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        cursor.space()
        numbers = parse_sequence_set(cursor)
        cursor.space()
        return Fetch(tag, by_uid, numbers, parse_items(cursor))

    return read


COMMANDS: Rows = {"FETCH": (State.SELECTED, _fetch(False))}
UID_COMMANDS: dict[str, Reader] = {"FETCH": _fetch(True)}
