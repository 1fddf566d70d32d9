"""A mailbox, held once in memory and shared by all its sessions; what it knows is asked by UID.

Questions about flags, sizes and dates are answered at once from memory. What changes messages is done in
the account's lane. What is in the messages is in `contents`. A mailbox that nobody has open any more stays in
memory for a while, follows what happens to it, and costs no reading when it is opened again.
"""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from twisted_mta.store import flagging, relocation
from twisted_mta.store.changes import Change, Step, Watcher
from twisted_mta.store.columns import Columns
from twisted_mta.store.contents import Contents
from twisted_mta.store.flagging import Flagged, How
from twisted_mta.store.flags import FlagSet, split_flags
from twisted_mta.store.folder import Folder
from twisted_mta.store.home import Home
from twisted_mta.store.names import canonical_name
from twisted_mta.store.relocation import CopyResult

if TYPE_CHECKING:
    from twisted_mta.store.account import Account

__all__ = ["CopyResult", "Flagged", "How", "Loaded", "Mailbox", "MailboxStatus"]


EXPUNGED_AT_ONCE = 500  # messages; others have their turn in the lane before the next
_AT_A_GLANCE = 500  # messages whose flags are compared in the reactor's thread


@dataclass(frozen=True, slots=True)
class MailboxStatus:
    """The counts of a mailbox (RFC 3501 §6.3.10, RFC 9051 §6.3.11, RFC 7162); `size` in octets, CRLF;
    `object_id` is MAILBOXID (RFC 8474)."""

    messages: int
    recent: int
    uid_next: int
    uid_validity: int
    unseen: int
    deleted: int
    size: int
    highest_modseq: int
    object_id: str


@dataclass(slots=True)
class Loaded:
    """What a mailbox begins with when it is opened."""

    number: int
    name: str
    directory: str
    uid_validity: int
    object_id: str
    epoch: str
    uid_next: int
    recent_from: int
    highest_modseq: int
    columns: Columns


class Mailbox(Contents):
    """Messages by UID, in ascending order. Opened by `Account.open`, let go with `close`.

    name: as of now; another session may rename it. uid_next, highest_modseq: as of the last change told.
    recent_from: messages from this UID on are recent; see `claim_recent`. object_id: MAILBOXID (RFC 8474),
    which a rename does not change.
    Methods that ask about one UID raise NoSuchMessage when it has been expunged already. The async ones
    raise StoreError, NoSuchMailbox once the mailbox has been deleted; UIDs that are gone they pass over.
    """

    def __init__(self, account: Account, loaded: Loaded) -> None:
        super().__init__(account, loaded.number, loaded.name, loaded.directory, loaded.columns)
        self.uid_validity = loaded.uid_validity
        self.object_id = loaded.object_id
        self.uid_next = loaded.uid_next
        self.recent_from = loaded.recent_from
        self.highest_modseq = loaded.highest_modseq
        self._watchers: list[Watcher] = []
        self._holders = 0

    # What is known

    @property
    def columns(self) -> Columns:
        """All that is known of every message, place by place, for searching. Not to be changed."""
        return self._columns

    @property
    def uids(self) -> array[int]:
        """The UIDs, ascending. The array grows in place when messages arrive and is another object once
        messages have gone: who keeps the array and how much of it was there keeps a stable view."""
        return self._columns.uids

    @property
    def modseqs(self) -> array[int]:
        """The mod-sequence (RFC 7162) of each message, at the places where `uids` has the messages."""
        return self._columns.modseqs

    @property
    def flag_numbers(self) -> Sequence[int]:
        """For each message, in the same places, which one of `flag_sets` it has. Another object once messages
        have gone, as `uids`, or there are more than 256 combinations."""
        return self._columns.flag_numbers

    @property
    def flag_sets(self) -> Sequence[FlagSet]:
        """Every combination of flags; the list only grows."""
        return self._columns.flag_sets

    @property
    def keywords(self) -> frozenset[str]:
        """Every keyword that a message has, or had since the mailbox was opened."""
        return self._columns.keywords

    def flags(self, uid: int) -> frozenset[str]:
        r"""System flags and keywords, without `\Recent`. Messages with the same flags share the object."""
        return self._columns.flags(uid).names

    def having(self, wanted: Callable[[frozenset[str]], bool]) -> list[int]:
        """The UIDs, ascending, of the messages whose flags are `wanted`, which is asked once for each
        combination of flags: much faster than asking for each message."""
        return self._columns.having(wanted)

    def first_having(self, wanted: Callable[[frozenset[str]], bool]) -> int | None:
        """The first of the UIDs that `having` gives, or None."""
        return self._columns.first_having(wanted)

    def modseq(self, uid: int) -> int:
        """The mod-sequence of the message's last change (RFC 7162)."""
        return self._columns.modseqs[self._columns.position(uid)]

    def size(self, uid: int) -> int:
        """Octets, with CRLF line ends (RFC822.SIZE)."""
        return self._columns.sizes[self._columns.position(uid)]

    def internal_date(self, uid: int) -> float:
        """When the message was delivered, or what APPEND said, in seconds since the epoch."""
        return self._columns.dates[self._columns.position(uid)]

    def save_date(self, uid: int) -> float | None:
        """When the message came into this mailbox (RFC 8514), in seconds since the epoch; None when that was
        before the index kept such dates."""
        return self._columns.save_dates[self._columns.position(uid)] or None

    def email_id(self, uid: int) -> str:
        """EMAILID (RFC 8474 §5.1): the same for all copies within the account."""
        return f"M{self._account.epoch}-{self._columns.emails[self._columns.position(uid)]}"

    def changed_since(self, modseq: int) -> list[int]:
        """The UIDs, ascending, of the messages with a higher mod-sequence (RFC 7162 §3.1.4)."""
        return self._columns.changed_since(modseq) if modseq < self.highest_modseq else []

    async def vanished_since(self, modseq: int) -> list[int] | None:
        """The UIDs, ascending, of the messages that were expunged after that mod-sequence (RFC 7162 §3.2.6).
        None when too much has been forgotten since: then whatever is not there has vanished."""
        if modseq >= self.highest_modseq:
            return []
        return await self._visit(lambda folder: folder.index.vanished_since(folder.id, modseq))

    def status(self) -> MailboxStatus:
        """The counts as of the last change told."""
        counts = self._columns.counts()
        return MailboxStatus(
            messages=counts.messages,
            recent=self._columns.recent(self.recent_from),
            uid_next=self.uid_next,
            uid_validity=self.uid_validity,
            unseen=counts.unseen,
            deleted=counts.deleted,
            size=counts.size,
            highest_modseq=self.highest_modseq,
            object_id=self.object_id,
        )

    # Watching

    def watch(self, watcher: Watcher) -> None:
        """Have every change from now on told, in the reactor's thread, when `uids` and the rest show it
        already. A watched mailbox also notices, within seconds, what other programs do to it."""
        self._watchers.append(watcher)
        self._account.upkeep.watch(self)

    def unwatch(self, watcher: Watcher) -> None:
        """Take a watcher off. A no-op when it is off already."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)
        if not self._watchers:
            self._account.upkeep.unwatch(self)

    def apply(self, step: Step) -> None:
        """A step was committed: show it, and tell the watchers."""
        if step.renamed is not None:
            self.name, self._directory = step.renamed[0], f"{self._account.home.root}/{step.renamed[1]}"
            return
        try:
            self._take(step)
        except Exception:
            self.log.failure("{name} in memory disagrees with its index; it is closed", name=self.name)
            step = Step(self.number, deleted=True)
        if step.deleted:
            self.deleted = True
            self._account.forget(self)
        self._tell(step.as_change(self.highest_modseq))

    def _take(self, step: Step) -> None:
        for message in step.added:
            self._columns.append(message)
        for marked in step.changed:
            self._columns.mark(marked, step.modseq)
        if step.expunged:
            self._columns.expunge(step.expunged)
        if step.added:
            self.uid_next = step.added[-1].uid + 1
        self.highest_modseq = max(self.highest_modseq, step.modseq)

    def _tell(self, change: Change) -> None:
        for watcher in list(self._watchers):
            try:
                watcher(change)
            except Exception:
                self.log.failure("a watcher of a mailbox failed")

    def claim_recent(self) -> int:
        r"""Take the recent messages for one session that has selected the mailbox read-write: they are
        those from the returned UID on, and no other session will call them recent (RFC 3501 §2.3.2)."""
        claimed, self.recent_from = self.recent_from, self.uid_next
        if claimed < self.recent_from:
            self._account.claim_recent(self.number, self.recent_from)
        return claimed

    async def refresh(self) -> None:
        """Notice what other programs did to the Maildir. Costs two stat calls when they did nothing."""
        if not self._is_at_hand():
            await self._visit(Folder.refresh)

    def _is_at_hand(self) -> bool:
        """True when what is in memory is all there is to know: nothing is under way, and the directory is as
        it was. Asked in the reactor's thread, as a turn of another one would cost a hundred times what two
        stat calls of directories do that are looked at all the time."""
        return self._account.is_at_rest and not self.deleted and self.look() is None

    def look(self) -> Callable[[], Awaitable[None]] | None:
        """`refresh` when it may find something. Blocks for two stat calls; any thread."""
        try:
            return self.refresh if self._account.home.is_due(self.number) else None
        except OSError:
            return self.refresh

    # Changing messages

    async def set_flags(
        self, uids: Iterable[int], how: How, flags: frozenset[str], *, unchanged_since: int | None = None
    ) -> Flagged:
        r"""Change flags and keywords; `\Recent` is passed over. With `unchanged_since`, messages with a
        higher mod-sequence are refused, and nothing comes between that question and the change (RFC 7162
        §3.1.3). Raises CannotDo for a flag that cannot be kept, or too many keywords."""
        bits, keywords = split_flags(flags)
        wanted = list(uids)
        if unchanged_since is None and not keywords and self._have_already(wanted, how, bits):
            return Flagged([], [])
        return await self._visit(
            lambda folder: flagging.set_flags(folder, wanted, how, bits, keywords, unchanged_since)
        )

    def _have_already(self, uids: Sequence[int], how: How, bits: int) -> bool:
        """True when that change of system flags changes nothing: clients set what is set, to be sure."""
        if len(uids) > _AT_A_GLANCE:
            return False
        columns = self._columns
        numbers = {columns.flag_numbers[place] for place in columns.positions(uids)}
        there = [(flags.bits, flags.keywords) for flags in map(columns.flag_sets.__getitem__, numbers)]
        unchanged = all(flagging.combined(*each, how, bits, frozenset()) == each for each in there)
        return unchanged and self._is_at_hand()

    async def expunge(self, uids: Iterable[int]) -> list[int]:
        r"""Remove messages, whatever their flags. Returns the UIDs, ascending, that this call removed."""
        wanted = sorted(set(uids))
        gone: list[int] = []
        for start in range(0, len(wanted), EXPUNGED_AT_ONCE):
            some = wanted[start : start + EXPUNGED_AT_ONCE]
            gone += await self._visit(partial(Folder.expunge, uids=some))
        return gone

    async def copy(self, uids: Sequence[int], target: str) -> CopyResult:
        """Copy all of the messages or none, with flags, keywords and internal date, in ascending order.

        Raises NoSuchMailbox when there is no target of that name, OverQuota."""
        wanted = list(uids)
        return await self._relocate(
            lambda home, source, there: relocation.copy(source, there, wanted, home.room()), target
        )

    async def move(self, uids: Sequence[int], target: str) -> CopyResult:
        """Move messages, as `copy`; each message is in one of the two mailboxes at any time (RFC 6851)."""
        wanted = list(uids)
        return await self._relocate(
            lambda home, source, there: relocation.move(source, there, wanted), target
        )

    async def _relocate(
        self, relocate: Callable[[Home, Folder, Folder], CopyResult], target: str
    ) -> CopyResult:
        name = canonical_name(target)

        def work(home: Home) -> CopyResult:
            return relocate(home, home.folder_numbered(self.number), home.folder(name))

        return await self._account.visit(work)

    # Sharing

    def __len__(self) -> int:
        """How many messages there are."""
        return len(self._columns.uids)

    @property
    def is_held(self) -> bool:
        """True while somebody has the mailbox open."""
        return self._holders > 0

    @property
    def account(self) -> Account:
        """Whose mailbox it is."""
        return self._account

    def take(self) -> None:
        """One more has the mailbox open."""
        self._account.upkeep.let_go(self)
        self._holders += 1

    async def close(self) -> None:
        """Let go of the mailbox; to be called once for each `open`."""
        self._holders -= 1
        if self._holders == 0:
            self._watchers.clear()
            self._account.upkeep.unwatch(self)
            if self.deleted or self._columns.cluttered:
                self._account.forget(self)
            else:
                self._account.upkeep.keep(self)
