"""One account: its mailboxes by name, its subscriptions, and the lane in which all of its work is done."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mta.store import hierarchy
from twisted_mta.store.changes import EVERY, Step
from twisted_mta.store.columns import Columns
from twisted_mta.store.deposit import Deposit, Deposited, deposit
from twisted_mta.store.errors import NoSuchMailbox, StoreError, disk_error
from twisted_mta.store.flags import DELETED, SEEN
from twisted_mta.store.home import Home
from twisted_mta.store.index import is_corruption
from twisted_mta.store.mailbox import Loaded, Mailbox
from twisted_mta.store.names import SEPARATOR, canonical_name
from twisted_mta.store.threads import Lane, Threads

BATCH = 32  # messages that are written and synced in one visit; each holds a file name, none a descriptor

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MailboxInfo:
    r"""One line of the list. `special_use` is "" or an attribute such as `\Sent` (RFC 6154);
    a mailbox that is not `selectable` only has children."""

    name: str
    special_use: str
    subscribed: bool
    selectable: bool


@dataclass(frozen=True, slots=True)
class MailboxStatus:
    """The counts of a mailbox (RFC 3501 §6.3.10, RFC 9051 §6.3.11, RFC 7162); `size` in octets, CRLF."""

    messages: int
    recent: int
    uid_next: int
    uid_validity: int
    unseen: int
    deleted: int
    size: int
    highest_modseq: int


@dataclass(slots=True)
class _Visit:
    """What came out of a piece of work in the lane."""

    value: object = None
    error: BaseException | None = None
    steps: list[Step] | None = None


class Account:
    """The mailboxes of one account. Names are Unicode with "/" between the levels; INBOX in any case.

    Made by `MessageStore.account`. Every method raises StoreError: BadMailboxName for a name that cannot
    be, NoSuchMailbox, StorageFull or StorageFault for trouble with the disk, and what it tells itself.
    `used` is called when work begins; `watched` is the store's set of mailboxes that are looked after.
    """

    log = Logger(namespace="twisted_mta.store")

    def __init__(
        self, name: str, home: Home, threads: Threads, used: Callable[[Account], None], watched: set[Mailbox]
    ) -> None:
        self.name = name
        self.home = home
        self.threads = threads
        self.watched = watched
        self._used = used
        self._lane = Lane(threads)
        self._mailboxes: dict[int, Mailbox] = {}  # the open ones by number
        self._deposits: deque[tuple[Deposit, Deferred[Deposited]]] = deque()
        self._deposit_due = False

    # Mailboxes

    async def list_mailboxes(self) -> list[MailboxInfo]:
        """Every mailbox, and every parent that is none, by name with INBOX first."""
        return await self.visit(_list_mailboxes)

    async def subscriptions(self) -> list[str]:
        """The subscribed names, sorted; some may name no mailbox (RFC 3501 §6.3.9)."""
        return await self.visit(lambda home: home.index.subscriptions())

    async def subscribe(self, name: str) -> None:
        """Add a name to the subscriptions. Raises NoSuchMailbox when there is nothing of that name."""
        await self.visit(partial(_subscribe, name=canonical_name(name)))

    async def unsubscribe(self, name: str) -> None:
        """Take a name off the subscriptions. Raises NoSuchMailbox when it is not among them."""
        await self.visit(partial(_unsubscribe, name=canonical_name(name)))

    async def create(self, name: str, special_use: str = "") -> None:
        """Make a mailbox; one separator at the end of the name is passed over (RFC 3501 §6.3.3).

        Raises MailboxExists."""
        canonical = canonical_name(name.removesuffix(SEPARATOR))
        await self.visit(partial(hierarchy.create, name=canonical, special_use=special_use))

    async def delete(self, name: str) -> None:
        """Delete a mailbox and its messages; its children stay, below a parent that is not selectable.

        Raises NoSuchMailbox; CannotDo for INBOX and for what only has children (RFC 3501 §6.3.4)."""
        await self.visit(partial(hierarchy.delete, name=canonical_name(name)))

    async def rename(self, old: str, new: str) -> None:
        """Rename a mailbox with its children; from INBOX, move all messages (RFC 3501 §6.3.5).

        Raises NoSuchMailbox, MailboxExists, CannotDo."""
        source, target = canonical_name(old), canonical_name(new.removesuffix(SEPARATOR))
        await self.visit(partial(hierarchy.rename, old=source, new=target))

    async def open(self, name: str) -> Mailbox:
        """The mailbox, up to date, shared by all who have it open; let go of it with `Mailbox.close`.

        Raises NoSuchMailbox."""
        canonical = canonical_name(name)
        for mailbox in self._mailboxes.values():
            if mailbox.name == canonical:
                mailbox.take()
                try:
                    await mailbox.refresh()
                except BaseException:
                    await mailbox.close()
                    raise
                return mailbox
        loaded = await self.visit(partial(_load, name=canonical))
        shared = self._mailboxes.get(loaded.number)
        if shared is None:
            shared = self._mailboxes[loaded.number] = Mailbox(self, loaded)
        shared.take()
        return shared

    async def require(self, name: str) -> None:
        """Make sure that there is such a mailbox, without opening it. Raises NoSuchMailbox."""
        canonical = canonical_name(name)
        await self.visit(lambda home: home.folder(canonical))

    async def status(self, name: str) -> MailboxStatus:
        """Count a mailbox without opening it. Raises NoSuchMailbox."""
        return await self.visit(partial(_status, name=canonical_name(name)))

    def closed(self, mailbox: Mailbox) -> None:
        """Nobody has the mailbox open any more."""
        if self._mailboxes.get(mailbox.number) is mailbox:
            del self._mailboxes[mailbox.number]

    # The lane

    async def visit(self, work: Callable[[Home], T]) -> T:
        """Do blocking work on the account's directory, after all work that was asked for before.

        What it committed reaches the open mailboxes before this returns. Raises StoreError."""
        self.use()
        return await self._queue(work)

    def use(self) -> None:
        """Something is about to need the index."""
        self._used(self)

    async def _queue(self, work: Callable[[Home], T]) -> T:
        done: Deferred[T] = Deferred()
        self._lane.run(lambda: partial(self._arrive, self._perform(work), done))
        return await done

    def _perform(self, work: Callable[[Home], object]) -> _Visit:
        """In the lane: do it; when the index proves corrupt, build it anew and do it once more."""
        visit = _Visit()
        try:
            try:
                visit.value = work(self.home)
            except sqlite3.DatabaseError as error:
                if not is_corruption(error):
                    raise
                self.home.set_aside(str(error))
                visit.value = work(self.home)
        except StoreError as error:
            visit.error = error
        except (OSError, sqlite3.Error) as error:
            self.home.report(f"{self.home.path}: {error!r}")
            visit.error = disk_error(error)
            visit.error.__cause__ = error
        except BaseException as error:
            visit.error = error
        visit.steps = self.home.take_steps()
        return visit

    def _arrive(self, visit: _Visit, done: Deferred[T]) -> None:
        self._apply(visit.steps or ())
        if visit.error is not None:
            done.errback(Failure(visit.error))
        else:
            done.callback(visit.value)  # type: ignore[arg-type]

    def _apply(self, steps: list[Step] | tuple[()]) -> None:
        for step in steps:
            if step.mailbox == EVERY:
                mailboxes = list(self._mailboxes.values())
            else:
                mailboxes = [self._mailboxes[step.mailbox]] if step.mailbox in self._mailboxes else []
            for mailbox in mailboxes:
                mailbox.apply(step)

    # Deposits

    async def deposit(self, each: Deposit) -> Deposited:
        """Put a message into a mailbox, together with others that wait for the lane. Raises StoreError."""
        done: Deferred[Deposited] = Deferred()
        self._deposits.append((each, done))
        self.use()
        self._put_down()
        return await done

    def _put_down(self) -> None:
        if self._deposits and not self._deposit_due:
            self._deposit_due = True
            self._lane.run(self._deposit_batch)

    def _deposit_batch(self) -> Callable[[], None]:
        """In the lane: put down what waits. The order of the first two lines matters: what is appended
        after the flag has fallen gets a visit of its own."""
        self._deposit_due = False
        batch = [self._deposits.popleft() for _ in range(min(BATCH, len(self._deposits)))]
        visit = self._perform(lambda home: deposit(home, [each for each, _ in batch]))
        return partial(self._deposited, visit, [done for _, done in batch])

    def _deposited(self, visit: _Visit, waiting: list[Deferred[Deposited]]) -> None:
        self._put_down()
        self._apply(visit.steps or ())
        results = visit.value if isinstance(visit.value, list) else [visit.error] * len(waiting)
        for done, result in zip(waiting, results, strict=True):
            if isinstance(result, Deposited):
                done.callback(result)
            else:
                done.errback(Failure(result))

    async def shut(self) -> None:
        """Close the index after all work that was asked for before; later work opens it again."""
        try:
            await self._queue(Home.close)
        except StoreError:
            self.log.failure("the index of {account} did not close cleanly", account=self.name)


# Work in the lane


def _load(home: Home, name: str) -> Loaded:
    folder = home.folder(name)
    folder.refresh()
    columns = Columns(home.index.columns(folder.id))
    return Loaded(
        folder.id, name, folder.maildir.path, folder.uid_validity, *home.index.marks(folder.id), columns
    )


def _list_mailboxes(home: Home) -> list[MailboxInfo]:
    home.notice()
    rows = home.index.mailboxes()
    subscribed = set(home.index.subscriptions())
    infos = [MailboxInfo(row.name, row.special_use, row.name in subscribed, True) for row in rows]
    for name in hierarchy.virtual_parents(row.name for row in rows):
        infos.append(MailboxInfo(name, "", name in subscribed, False))
    return sorted(infos, key=lambda info: (info.name != "INBOX", info.name))


def _subscribe(home: Home, name: str) -> None:
    if home.index.mailbox(name) is None:
        home.notice()
        names = {row.name for row in home.index.mailboxes()}
        if name not in names | hierarchy.virtual_parents(names):
            raise NoSuchMailbox()
    with home.index.transaction():
        home.index.subscribe([name])


def _unsubscribe(home: Home, name: str) -> None:
    with home.index.transaction():
        if not home.index.unsubscribe(name):
            raise NoSuchMailbox("Not subscribed")


def _status(home: Home, name: str) -> MailboxStatus:
    folder = home.folder(name)
    folder.refresh()
    messages, unseen, deleted, size = home.index.counts(folder.id, SEEN, DELETED)
    uid_next, _, highest_modseq = home.index.marks(folder.id)
    return MailboxStatus(
        messages=messages,
        recent=home.index.recent(folder.id),
        uid_next=uid_next,
        uid_validity=folder.uid_validity,
        unseen=unseen,
        deleted=deleted,
        size=size,
        highest_modseq=highest_modseq,
    )
