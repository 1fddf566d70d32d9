"""An open mailbox, held once in memory and shared by all its sessions; what it knows is asked by UID.

Questions about flags, sizes and dates are answered at once from memory. What changes messages is done in
the account's lane. Message files are read beside the lane: a file never changes, so all that can go
wrong is that it is no longer where the index has it; then the directory is looked through, in the lane,
and the reading tried again.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mta.store import flagging, relocation
from twisted_mta.store.changes import Change, Step, Watcher
from twisted_mta.store.columns import Columns
from twisted_mta.store.errors import NoSuchMailbox, StorageFull, StoreError, disk_error
from twisted_mta.store.flagging import How
from twisted_mta.store.flags import split_flags
from twisted_mta.store.folder import Folder
from twisted_mta.store.home import Home
from twisted_mta.store.names import canonical_name
from twisted_mta.store.reading import see_files
from twisted_mta.store.relocation import CopyResult

if TYPE_CHECKING:
    from twisted_mta.store.account import Account

__all__ = ["CopyResult", "How", "Loaded", "Mailbox"]

LOOKS = 3  # times a message whose file is not where it should be is looked for

T = TypeVar("T")


@dataclass(slots=True)
class Loaded:
    """What a mailbox begins with when it is opened."""

    number: int
    name: str
    directory: str
    uid_validity: int
    uid_next: int
    recent_from: int
    highest_modseq: int
    columns: Columns


class Mailbox:
    """Messages by UID, in ascending order. Opened by `Account.open`, let go with `close`.

    name: as of now; another session may rename it. uid_next, highest_modseq: as of the last change told.
    recent_from: messages from this UID on are recent; see `claim_recent`.
    Methods that ask about one UID raise NoSuchMessage when it has been expunged already. The async ones
    raise StoreError, NoSuchMailbox once the mailbox has been deleted; UIDs that are gone they pass over.
    """

    log = Logger(namespace="twisted_mta.store")

    def __init__(self, account: Account, loaded: Loaded) -> None:
        self.number = loaded.number
        self.name = loaded.name
        self.uid_validity = loaded.uid_validity
        self.uid_next = loaded.uid_next
        self.recent_from = loaded.recent_from
        self.highest_modseq = loaded.highest_modseq
        self.deleted = False
        self._account = account
        self._directory = loaded.directory
        self._columns = loaded.columns
        self._watchers: list[Watcher] = []
        self._holders = 0

    # What is known

    @property
    def uids(self) -> array[int]:
        """The UIDs, ascending. The array grows in place when messages arrive and is another object once
        messages have gone: who keeps the array and how much of it was there keeps a stable view."""
        return self._columns.uids

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

    # Watching

    def watch(self, watcher: Watcher) -> None:
        """Have every change from now on told, in the reactor's thread, when `uids` and the rest show it
        already. A watched mailbox also notices, within seconds, what other programs do to it."""
        self._watchers.append(watcher)
        self._account.watched.add(self)

    def unwatch(self, watcher: Watcher) -> None:
        """Take a watcher off. A no-op when it is off already."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)
        if not self._watchers:
            self._account.watched.discard(self)

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
            self._account.watched.discard(self)
            self._account.closed(self)
        self._tell(
            Change(
                added=tuple(message.uid for message in step.added),
                flags=tuple(message.uid for message in step.changed),
                expunged=tuple(step.expunged),
                modseq=self.highest_modseq,
                deleted=step.deleted,
            )
        )

    def _take(self, step: Step) -> None:
        for message in step.added:
            self._columns.append(message)
        for message in step.changed:
            self._columns.change(message)
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
            self._later(partial(_claim_recent, number=self.number, below=self.recent_from))
        return claimed

    async def refresh(self) -> None:
        """Notice what other programs did to the Maildir. Costs two stat calls when they did nothing."""
        await self._visit(Folder.refresh)

    def may_have_changed(self) -> bool:
        """True when `refresh` may find something. Blocks for two stat calls; any thread."""
        try:
            return self._account.home.is_due(self.number)
        except OSError:
            return True

    # Changing messages

    async def set_flags(self, uids: Iterable[int], how: How, flags: frozenset[str]) -> list[int]:
        r"""Change flags and keywords; `\Recent` is passed over. Returns the UIDs, ascending, whose flags are
        other ones now. Raises CannotDo for a flag that cannot be kept, or too many keywords."""
        bits, keywords = split_flags(flags)
        wanted = list(uids)
        return await self._visit(lambda folder: flagging.set_flags(folder, wanted, how, bits, keywords))

    async def expunge(self, uids: Iterable[int]) -> list[int]:
        r"""Remove messages, whatever their flags. Returns the UIDs, ascending, that this call removed."""
        wanted = list(uids)
        return await self._visit(lambda folder: folder.expunge(wanted))

    async def copy(self, uids: Sequence[int], target: str) -> CopyResult:
        """Copy all of the messages or none, with flags, keywords and internal date, in ascending order.

        Raises NoSuchMailbox when there is no target of that name."""
        return await self._relocate(relocation.copy, uids, target)

    async def move(self, uids: Sequence[int], target: str) -> CopyResult:
        """Move messages, as `copy`; each message is in one of the two mailboxes at any time (RFC 6851)."""
        return await self._relocate(relocation.move, uids, target)

    async def _relocate(
        self,
        relocate: Callable[[Folder, Folder, Sequence[int]], CopyResult],
        uids: Sequence[int],
        target: str,
    ) -> CopyResult:
        name, wanted = canonical_name(target), list(uids)

        def work(home: Home) -> CopyResult:
            return relocate(home.folder_numbered(self.number), home.folder(name), wanted)

        return await self._account.visit(work)

    # Reading messages

    async def read(self, uids: Sequence[int]) -> list[bytes | None]:
        """Whole messages with CRLF line ends, in the order asked for; None for one that is gone."""
        return await self.examine(uids, lambda data: data)

    async def examine(self, uids: Sequence[int], see: Callable[[bytes], T]) -> list[T | None]:
        """What `see` makes of each message, in the order asked for; it is called in a thread with the whole
        message, CRLF. None for one that is gone."""
        wanted = list(uids)  # `Mailbox.uids` itself may grow meanwhile
        found = await self._over_files(wanted, see)
        return [found.get(uid) for uid in wanted]

    async def matching(self, uids: Sequence[int], predicate: Callable[[bytes], bool]) -> list[int]:
        """The UIDs, in the order asked for, of the messages for which `predicate` is true; it is called in
        a thread with the whole message, CRLF."""
        wanted = list(uids)
        found = await self._over_files(wanted, predicate)
        return [uid for uid in wanted if found.get(uid)]

    async def cached(
        self, kind: str, uids: Sequence[int], compute: Callable[[bytes], bytes]
    ) -> list[bytes | None]:
        """A rendering of each message, in the order asked for; None for a message that is gone. `compute` is
        called for a message that has none of this kind yet, in a thread, with the whole message, CRLF.
        Without space in the index to keep it, or to look it up, it is computed each time."""
        wanted = list(uids)
        found: dict[int, bytes] = {}
        with suppress(StorageFull):
            look_up = partial(self._account.home.reader.renderings, self.number, kind, wanted)
            found = await self._beside(look_up)
        unknown = [uid for uid in wanted if uid not in found]
        if unknown:
            computed = await self._over_files(unknown, compute)
            if computed:
                self._later(partial(_keep, number=self.number, kind=kind, renderings=computed))
            found.update(computed)
        return [found.get(uid) for uid in wanted]

    async def _over_files(self, uids: Sequence[int], see: Callable[[bytes], T]) -> dict[int, T]:
        """What `see` makes of each message; it is called in a thread."""
        seen: dict[int, T] = {}
        for _ in range(LOOKS):
            astray = await self._beside(
                partial(see_files, self._account.home, self._directory, self.number, uids, see, seen)
            )
            if not astray:
                break
            await self._visit(Folder.scan)
            uids = astray
        return seen

    # The ways to the disk

    async def _visit(self, work: Callable[[Folder], T]) -> T:
        """In the account's lane."""
        if self.deleted:
            raise NoSuchMailbox("The mailbox has been deleted")
        return await self._account.visit(lambda home: work(home.folder_numbered(self.number)))

    async def _beside(self, work: Callable[[], T]) -> T:
        """In a thread, beside the account's lane."""
        if self.deleted:
            raise NoSuchMailbox("The mailbox has been deleted")
        self._account.use()
        done: Deferred[T] = Deferred()

        def perform() -> Callable[[], None]:
            try:
                return partial(done.callback, work())
            except (OSError, sqlite3.Error) as error:
                self._account.home.report(f"{self._directory}: {error!r}")
                return partial(done.errback, Failure(disk_error(error)))
            except BaseException as error:
                return partial(done.errback, Failure(error))

        self._account.threads.run(perform)
        return await done

    def _later(self, work: Callable[[Home], None]) -> None:
        """In the account's lane; nobody waits for it, and when it fails nothing is lost."""

        async def attempt() -> None:
            try:
                await self._account.visit(work)
            except StoreError:
                pass  # said already where it happened

        Deferred.fromCoroutine(attempt()).addErrback(
            lambda failure: self.log.failure("work on {name} failed", failure=failure, name=self.name)
        )

    # Sharing

    def take(self) -> None:
        """One more has the mailbox open."""
        self._holders += 1

    async def close(self) -> None:
        """Let go of the mailbox; to be called once for each `open`."""
        self._holders -= 1
        if self._holders == 0:
            self._watchers.clear()
            self._account.watched.discard(self)
            self._account.closed(self)


# Work in threads


def _claim_recent(home: Home, number: int, below: int) -> None:
    flagging.claim_recent(home.folder_numbered(number), below)


def _keep(home: Home, number: int, kind: str, renderings: dict[int, bytes]) -> None:
    with home.index.transaction():
        home.index.keep_renderings(number, kind, renderings.items())
