"""The commands as values (RFC 3501 §6; the extensions are named where they enter).

How each is read stands in command_grammar.py, what it does in access/imap4.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from twisted_mta.protocol.imap4.fetch_items import Item
from twisted_mta.protocol.imap4.search_keys import Key
from twisted_mta.protocol.imap4.sequence_set import SequenceSet


class State(enum.Flag):
    """The states of a connection (RFC 3501 §3)."""

    NOT_AUTHENTICATED = enum.auto()
    AUTHENTICATED = enum.auto()
    SELECTED = enum.auto()


@dataclass(frozen=True, slots=True)
class Command:
    """Any command. `tag` goes back in the tagged response."""

    tag: str


# Any state (RFC 3501 §6.1, RFC 2971)


@dataclass(frozen=True, slots=True)
class Capability(Command):
    """CAPABILITY."""


@dataclass(frozen=True, slots=True)
class Noop(Command):
    """NOOP."""


@dataclass(frozen=True, slots=True)
class Logout(Command):
    """LOGOUT."""


@dataclass(frozen=True, slots=True)
class Id(Command):
    """ID (RFC 2971): what the client says of itself, for the log."""

    parameters: tuple[tuple[bytes, bytes | None], ...]


# Not authenticated (RFC 3501 §6.2)


@dataclass(frozen=True, slots=True)
class StartTls(Command):
    """STARTTLS."""


@dataclass(frozen=True, slots=True)
class Authenticate(Command):
    """AUTHENTICATE, with the initial response of RFC 4959 as it stood there (base64), None without one."""

    mechanism: str
    initial: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Login(Command):
    """LOGIN."""

    user: bytes
    password: bytes = field(repr=False)


# Authenticated (RFC 3501 §6.3)


@dataclass(frozen=True, slots=True)
class Select(Command):
    """SELECT, or EXAMINE when `read_only`."""

    mailbox: str
    read_only: bool


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
class List(Command):
    """LIST."""

    reference: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Lsub(Command):
    """LSUB."""

    reference: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Status(Command):
    """STATUS, the items in the order asked for."""

    mailbox: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Append(Command):
    """APPEND up to its literal of `size` octets; `internal_date` in epoch seconds."""

    mailbox: str
    flags: frozenset[str]
    internal_date: float | None
    size: int


@dataclass(frozen=True, slots=True)
class Namespace(Command):
    """NAMESPACE (RFC 2342)."""


@dataclass(frozen=True, slots=True)
class Idle(Command):
    """IDLE (RFC 2177)."""


# Selected (RFC 3501 §6.4)


@dataclass(frozen=True, slots=True)
class Check(Command):
    """CHECK."""


@dataclass(frozen=True, slots=True)
class Close(Command):
    """CLOSE."""


@dataclass(frozen=True, slots=True)
class Unselect(Command):
    """UNSELECT (RFC 3691)."""


@dataclass(frozen=True, slots=True)
class Expunge(Command):
    """EXPUNGE; UID EXPUNGE (RFC 4315) names the UIDs that alone may go."""

    uids: SequenceSet | None = None


@dataclass(frozen=True, slots=True)
class OnMessages(Command):
    """A command that has a UID form."""

    by_uid: bool


@dataclass(frozen=True, slots=True)
class Search(OnMessages):
    """SEARCH."""

    key: Key


@dataclass(frozen=True, slots=True)
class Fetch(OnMessages):
    """FETCH."""

    set: SequenceSet
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Store(OnMessages):
    """STORE. `how` is "add", "remove" or "replace"."""

    set: SequenceSet
    how: str
    silent: bool
    flags: frozenset[str]


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
