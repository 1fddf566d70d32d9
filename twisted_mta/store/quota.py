"""What an account may keep, and what it keeps (RFC 9208 §5.1, §5.2).

A copy counts like any other message: the figures are those of the mailboxes as their owner sees them,
not of the disk, where copies share their space. The index counts with every row that comes or goes, in the
same transaction, so no crash makes the figures wrong and nothing is ever added up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from twisted_mta.store.errors import OverQuota
from twisted_mta.store.names import account_directory


class Limits(NamedTuple):
    """The most that an account may keep; None: as much as there is room for."""

    octets: int | None = None
    messages: int | None = None


class Usage(NamedTuple):
    """What an account keeps; `octets` are those of messages with CRLF line ends."""

    octets: int
    messages: int


class Quota(NamedTuple):
    """The quota root of one account: its name, what is used, what may be."""

    root: str
    usage: Usage
    limits: Limits


class Bounds(NamedTuple):
    """What nobody needs more of, so that no account takes the disk with what is no mail: mailboxes, and twice
    as many subscriptions; octets of all annotations together, as `AnnotationRows.octets` counts them."""

    mailboxes: int = 10_000
    annotations: int = 16 * 2**20


UNLIMITED = Limits()
EMPTY = Usage(0, 0)
LimitsOf = Callable[[str], Limits]  # by account name; cheap, in any thread
Renew = Callable[[], Awaitable[None]]  # makes what LimitsOf gives as new as it is


def unlimited(account: str) -> Limits:
    """No account has a limit."""
    return UNLIMITED


async def nothing_to_renew() -> None:
    """The limits never change."""


def is_full(usage: Usage, limits: Limits, octets: int = 0) -> bool:
    """True when a message of this size does not fit; 0: not even an empty one does."""
    return (limits.octets is not None and usage.octets + max(octets, 1) > limits.octets) or (
        limits.messages is not None and usage.messages >= limits.messages
    )


def require_room(usage: Usage, limits: Limits, octets: int, messages: int = 1) -> None:
    """Make sure that messages of so many octets together fit. Raises OverQuota."""
    if limits.octets is not None and usage.octets + octets > limits.octets:
        raise OverQuota()
    if limits.messages is not None and usage.messages + messages > limits.messages:
        raise OverQuota()


class Room:
    """What still fits into an account, during one piece of work in its lane."""

    __slots__ = ("_limits", "_usage", "bounded")

    def __init__(self, limits: Limits, usage: Usage) -> None:
        self._limits = limits
        self._usage = usage
        self.bounded = limits != UNLIMITED

    def take(self, octets: int, messages: int = 1) -> None:
        """Messages are about to be added. Raises OverQuota."""
        if self.bounded:
            require_room(self._usage, self._limits, octets, messages)
            self._usage = Usage(self._usage.octets + octets, self._usage.messages + messages)

    def give_back(self, octets: int) -> None:
        """A message is about to be removed."""
        self._usage = Usage(self._usage.octets - octets, self._usage.messages - 1)


def stored_usage(root: Path, account: str) -> Usage | None:
    """What an account keeps, as its index below the mail directory has it, which a running server may have
    open; None when that cannot be read. Blocks."""
    path = root.joinpath(*account_directory(account), "index.sqlite")
    if not path.exists():
        return Usage(0, 0)
    try:
        db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1.0)
        try:
            return Usage(*db.execute("SELECT octets, messages FROM usage").fetchone())
        finally:
            db.close()
    except sqlite3.Error:
        return None
