"""Selecting a mailbox and leaving it (RFC 9051 §6.3.2, §6.3.3, §6.4.1, §6.4.2; CHECK of RFC 3501 §6.4.1)."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import LOGGED_IN, Command, Rows, State, on_mailbox, plain


@dataclass(frozen=True, slots=True)
class Select(Command):
    """SELECT, or EXAMINE when `read_only`."""

    mailbox: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Check(Command):
    """CHECK."""


@dataclass(frozen=True, slots=True)
class Close(Command):
    """CLOSE."""


@dataclass(frozen=True, slots=True)
class Unselect(Command):
    """UNSELECT (RFC 3691)."""


COMMANDS: Rows = {
    "SELECT": (LOGGED_IN, on_mailbox(lambda tag, name: Select(tag, name, False))),
    "EXAMINE": (LOGGED_IN, on_mailbox(lambda tag, name: Select(tag, name, True))),
    "CHECK": (State.SELECTED, plain(Check)),
    "CLOSE": (State.SELECTED, plain(Close)),
    "UNSELECT": (State.SELECTED, plain(Unselect)),
}
