"""What happened to a mailbox or to the account, as those who watch it are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

from twisted_mta.store.index.rows import Marked, Message


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
class AccountChange:
    """One step of an account: something that happened to the mailbox of that name, open or not.

    change: its messages changed. created, deleted: the mailbox itself. renamed_from: the name it had until
    now. subscribed: the name was put on or taken off the subscriptions; it may name no mailbox. annotation:
    the name of an entry that has another value now (RFC 5464); then `mailbox` is "" for one of the server's.
    """

    mailbox: str
    change: Change | None = None
    created: bool = False
    deleted: bool = False
    renamed_from: str = ""
    subscribed: bool | None = None
    annotation: str = ""


AccountWatcher = Callable[[AccountChange], None]


@dataclass(slots=True)
class Step:
    """A committed change of the index, on its way from the account's lane to those who watch.

    mailbox: its number in the index, or NONE. name: of the mailbox after this step; it is put in by
    `Home.tell`. changed: messages with other flags, whose mod-sequence is this step's. renamed: its new name
    and directory, and its old name. subscribed, annotation: as in `AccountChange`."""

    mailbox: int
    modseq: int = 0
    added: Sequence[Message] = ()
    changed: Sequence[Marked] = ()
    expunged: Sequence[int] = ()
    name: str = ""
    renamed: tuple[str, str, str] | None = None
    created: bool = False
    deleted: bool = False
    subscribed: bool | None = None
    annotation: str = ""

    def as_change(self, highest_modseq: int) -> Change:
        """As the watchers of the mailbox are told."""
        return Change(
            added=tuple(message.uid for message in self.added),
            flags=tuple(sorted(chain.from_iterable(marked.uids for marked in self.changed))),
            expunged=tuple(self.expunged),
            modseq=highest_modseq,
            deleted=self.deleted,
        )

    def as_account_change(self) -> AccountChange:
        """As the watchers of the account are told."""
        has_messages = self.added or self.changed or self.expunged
        return AccountChange(
            mailbox=self.name,
            change=self.as_change(self.modseq) if has_messages else None,
            created=self.created,
            deleted=self.deleted,
            renamed_from=self.renamed[2] if self.renamed else "",
            subscribed=self.subscribed,
            annotation=self.annotation,
        )


NONE = 0  # no mailbox has this number
