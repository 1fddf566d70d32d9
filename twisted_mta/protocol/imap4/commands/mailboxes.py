"""Commands on mailboxes by name, but for the lists (RFC 9051 §6.3; CREATE … (USE …) of RFC 6154 §3; the items
of STATUS of RFC 3501, RFC 7162, RFC 7889, RFC 8438, RFC 8474 and RFC 9208)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import LOGGED_IN, Command, Rows, on_mailbox, plain
from twisted_mta.protocol.imap4.commands.modifiers import parse_modifiers
from twisted_mta.protocol.imap4.grammar import Cursor


@dataclass(frozen=True, slots=True)
class Create(Command):
    """CREATE. A trailing hierarchy separator has been taken off. `uses` are attributes as the client wrote
    them, such as `\\Sent`; None without USE."""

    mailbox: str
    uses: tuple[str, ...] | None = None


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


_USE = re.compile(rb"\\[!#$&'+-\[^-z|}~]+")  # use-attr


def _create(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    mailbox = cursor.mailbox().removesuffix("/")
    if not cursor.accept(b" "):
        return Create(tag, mailbox)
    return Create(tag, mailbox, parse_modifiers(cursor, {"USE": _uses}).get("USE"))


def _uses(cursor: Cursor) -> tuple[str, ...]:
    cursor.space()
    uses = cursor.parenthesized(lambda: cursor.match(_USE, "an attribute").decode("ascii"), empty=True)
    return tuple(dict.fromkeys(uses))


def _rename(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    old = cursor.mailbox()
    cursor.space()
    return Rename(tag, old, cursor.mailbox().removesuffix("/"))


STATUS_ITEMS = frozenset(
    {
        "MESSAGES",
        "RECENT",  # of IMAP4rev1 only; nobody is hurt by the answer
        "UIDNEXT",
        "UIDVALIDITY",
        "UNSEEN",
        "DELETED",
        "SIZE",
        "HIGHESTMODSEQ",
        "MAILBOXID",
        "APPENDLIMIT",
        "DELETED-STORAGE",
    }
)


def status_items(cursor: Cursor) -> tuple[str, ...]:
    """`(status-att SP …)`: each once, in order. Raises CommandError."""
    items = cursor.parenthesized(cursor.keyword)
    if not STATUS_ITEMS.issuperset(items):
        cursor.fail("a status data item")
    return tuple(dict.fromkeys(items))


def _status(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    mailbox = cursor.mailbox()
    cursor.space()
    return Status(tag, mailbox, status_items(cursor))


COMMANDS: Rows = {
    "CREATE": (LOGGED_IN, _create),
    "DELETE": (LOGGED_IN, on_mailbox(Delete)),
    "RENAME": (LOGGED_IN, _rename),
    "SUBSCRIBE": (LOGGED_IN, on_mailbox(Subscribe)),
    "UNSUBSCRIBE": (LOGGED_IN, on_mailbox(Unsubscribe)),
    "STATUS": (LOGGED_IN, _status),
    "NAMESPACE": (LOGGED_IN, plain(Namespace)),
}
