"""What happened to a mailbox, as its watchers are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted_mta.store.index import Message


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a mailbox. Each tuple holds UIDs in ascending order: messages that were added, whose
    flags changed, that are gone. `modseq` is the highest mod-sequence (RFC 7162) after this step.
    `deleted`: the whole mailbox is gone, every later operation on it raises NoSuchMailbox."""

    added: tuple[int, ...] = ()
    flags: tuple[int, ...] = ()
    expunged: tuple[int, ...] = ()
    modseq: int = 0
    deleted: bool = False


Watcher = Callable[[Change], None]


@dataclass(frozen=True, slots=True)
class Step:
    """A committed change of the index, on its way from the account's lane to the open mailbox.

    mailbox: its number in the index, or EVERY. renamed: its new name and directory."""

    mailbox: int
    modseq: int = 0
    added: Sequence[Message] = ()
    changed: Sequence[Message] = ()
    expunged: Sequence[int] = ()
    renamed: tuple[str, str] | None = None
    deleted: bool = False


EVERY = 0  # no mailbox has this number
