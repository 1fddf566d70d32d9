"""LIST and LSUB (RFC 3501 §6.3.8, §6.3.9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import LOGGED_IN, Command, Reader, Rows
from twisted_mta.protocol.imap4.grammar import Cursor


@dataclass(frozen=True, slots=True)
class List(Command):
    """LIST."""

    reference: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Lsub(Command):
    """LSUB."""

    reference: str
    pattern: str


def _list(kind: Callable[[str, str, str], Command]) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        cursor.space()
        reference = cursor.mailbox()
        cursor.space()
        return kind(tag, reference, cursor.list_mailbox())

    return read


COMMANDS: Rows = {
    "LIST": (LOGGED_IN, _list(List)),
    "LSUB": (LOGGED_IN, _list(Lsub)),
}
