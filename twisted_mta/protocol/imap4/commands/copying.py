"""COPY and MOVE (RFC 3501 §6.4.7, RFC 6851)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import Command, OnMessages, Reader, Rows, State
from twisted_mta.protocol.imap4.grammar import Cursor
from twisted_mta.protocol.imap4.sequence_set import SequenceSet, parse_sequence_set


@dataclass(frozen=True, slots=True)
class Copy(OnMessages):
    """COPY."""

    set: SequenceSet
    mailbox: str


@dataclass(frozen=True, slots=True)
class Move(OnMessages):
    """MOVE (RFC 6851)."""

    set: SequenceSet
    mailbox: str


def _copy(kind: Callable[[str, bool, SequenceSet, str], Command], by_uid: bool) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        cursor.space()
        numbers = parse_sequence_set(cursor)
        cursor.space()
        return kind(tag, by_uid, numbers, cursor.mailbox())

    return read


COMMANDS: Rows = {
    "COPY": (State.SELECTED, _copy(Copy, False)),
    "MOVE": (State.SELECTED, _copy(Move, False)),
}
UID_COMMANDS: dict[str, Reader] = {"COPY": _copy(Copy, True), "MOVE": _copy(Move, True)}
