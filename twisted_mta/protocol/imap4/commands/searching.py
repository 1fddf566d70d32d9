"""SEARCH (RFC 3501 §6.4.4)."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import Command, OnMessages, Reader, Rows, State
from twisted_mta.protocol.imap4.grammar import Cursor
from twisted_mta.protocol.imap4.search_keys import Key, parse_search


@dataclass(frozen=True, slots=True)
class Search(OnMessages):
    """SEARCH."""

    key: Key


def _search(by_uid: bool) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        cursor.space()
        return Search(tag, by_uid, parse_search(cursor))

    return read


COMMANDS: Rows = {"SEARCH": (State.SELECTED, _search(False))}
UID_COMMANDS: dict[str, Reader] = {"SEARCH": _search(True)}
