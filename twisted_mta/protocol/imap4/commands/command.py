"""What all commands have in common: the states they are allowed in, and how they are read."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from twisted_mta.protocol.imap4.grammar import Cursor


class State(enum.Flag):
    """The states of a connection (RFC 9051 §3)."""

    NOT_AUTHENTICATED = enum.auto()
    AUTHENTICATED = enum.auto()
    SELECTED = enum.auto()


BEFORE_LOGIN = State.NOT_AUTHENTICATED
LOGGED_IN = State.AUTHENTICATED | State.SELECTED
ANY = BEFORE_LOGIN | LOGGED_IN


@dataclass(frozen=True, slots=True)
class Command:
    """Any command. `tag` goes back in the tagged response."""

    tag: str


@dataclass(frozen=True, slots=True)
class OnMessages(Command):
    """A command that has a UID form."""

    by_uid: bool


# Starts behind the command's name and reads to the end of its arguments.
Reader = Callable[[Cursor, str], Command]

Rows = Mapping[str, tuple[State, Reader]]  # name -> the states it is allowed in, its reader


def plain(kind: Callable[[str], Command]) -> Reader:
    """A reader for a command without arguments."""

    def read(cursor: Cursor, tag: str) -> Command:
        return kind(tag)

    return read


def on_mailbox(kind: Callable[[str, str], Command]) -> Reader:
    """A reader for a command whose only argument is a mailbox."""

    def read(cursor: Cursor, tag: str) -> Command:
        cursor.space()
        return kind(tag, cursor.mailbox())

    return read
