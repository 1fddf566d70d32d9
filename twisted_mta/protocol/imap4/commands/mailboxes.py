"""Commands on mailboxes by name, but for the lists (RFC 9051 §6.3; RFC 2342)."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import LOGGED_IN, Command, Rows, on_mailbox, plain
from twisted_mta.protocol.imap4.grammar import Cursor


@dataclass(frozen=True, slots=True)
class Create(Command):
    """CREATE. A trailing hierarchy separator has been taken off."""

    mailbox: str


@dataclass(frozen=True, slots=True)
class Delete(Command):
    """DELETE."""

    mailbox: str


@dataclass(frozen=True, slots=True)
class Rename(Command):
    """RENAME."""

    mailbox: str
    new: str


@dataclass(frozen=True, slots=True)
class Subscribe(Command):
    """SUBSCRIBE."""

    mailbox: str


@dataclass(frozen=True, slots=True)
class Unsubscribe(Command):
    """UNSUBSCRIBE."""

    mailbox: str


@dataclass(frozen=True, slots=True)
class Status(Command):
    """STATUS, the items in the order asked for."""

    mailbox: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Namespace(Command):
    """NAMESPACE (RFC 2342)."""


def _create(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    return Create(tag, cursor.mailbox().removesuffix("/"))


def _rename(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    old = cursor.mailbox()
    cursor.space()
    return Rename(tag, old, cursor.mailbox().removesuffix("/"))


STATUS_ITEMS = frozenset({"MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN"})


def _status(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    mailbox = cursor.mailbox()
    cursor.space()
    items = cursor.parenthesized(cursor.keyword)
    if not STATUS_ITEMS.issuperset(items):
        cursor.fail("a status data item")
    return Status(tag, mailbox, tuple(dict.fromkeys(items)))


COMMANDS: Rows = {
    "CREATE": (LOGGED_IN, _create),
    "DELETE": (LOGGED_IN, on_mailbox(Delete)),
    "RENAME": (LOGGED_IN, _rename),
    "SUBSCRIBE": (LOGGED_IN, on_mailbox(Subscribe)),
    "UNSUBSCRIBE": (LOGGED_IN, on_mailbox(Unsubscribe)),
    "STATUS": (LOGGED_IN, _status),
    "NAMESPACE": (LOGGED_IN, plain(Namespace)),
}
