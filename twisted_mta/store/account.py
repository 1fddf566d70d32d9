"""One account: its mailboxes by name, its subscriptions, and the lane in which all of its work is done."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mta.store import flagging, hierarchy, loading
from twisted_mta.store.changes import NONE, AccountChange, AccountWatcher, Step
from twisted_mta.store.deposit import Deposit, Deposited, deposit
from twisted_mta.store.errors import NoSuchMailbox, StoreError, TooManyMailboxes, disk_error
from twisted_mta.store.home import Home
from twisted_mta.store.index.rows import is_corruption
from twisted_mta.store.knowledge import Render
from twisted_mta.store.listing import MailboxInfo, list_at_hand, list_mailboxes
from twisted_mta.store.mailbox import Loaded, Mailbox, MailboxStatus
from twisted_mta.store.names import SEPARATOR, canonical_name
from twisted_mta.store.portions import Portions
from twisted_mta.store.quota import Usage
from twisted_mta.store.threads import Lane, Threads, Work
from twisted_mta.store.upkeep import Upkeep

if TYPE_CHECKING:
    from twisted_mta.store.indexer import Indexer

__all__ = ["Account", "MailboxInfo", "MailboxStatus"]

COLLECT = 200  # emails that are looked at in one visit
BATCH = 32  # messages that are written and synced in one visit; each holds a file name, none a descriptor

T = TypeVar("T")


@dataclass(slots=True)
class _Visit:
    """What came out of a piece of work in the lane."""

    value: object = None
    error: BaseException | None = None
    steps: list[Step] | None = None
    behind: bool = False  # there are files whose names are to follow


class Account:
    """The mailboxes of one account. Names are Unicode with "/" between the levels; INBOX in any case.

    Made by `MessageStore.account`. Every method raises StoreError: BadMailboxName for a name that cannot
    be, NoSuchMailbox, StorageFull or StorageFault for trouble with the disk, and what it tells itself.
    `used` is called when work begins; `render` makes what `Mailbox.structures` gives. Large messages have to
    have room among `portions` while they are in memory.
    """

    log = Logger(namespace="twisted_mta.store")

    def __init__(
        self,
        name: str,
        home: Home,
        threads: Threads,
        upkeep: Upkeep,
        portions: Portions,
        render: Render,
        used: Callable[[Account], None],
    ) -> None:
        self.name = name
        self.home = home
        self.threads = threads
        self.upkeep = upkeep
        self.portions = portions
        self.render = render
        self.epoch = ""  # of the index, see `Emails`; known once there is a mailbox to ask about
        self.indexer: Indexer | None = None  # set by the store
        self._used = used
        self._lane = Lane(threads)
        self._under_way = 0  # pieces of work that were given to the lane and have not come back
        self._claims: dict[int, int] = {}  # by mailbox: messages below that UID are recent no more
        self._mailboxes: dict[int, Mailbox] = {}  # those in memory, by number
        self._watchers: list[AccountWatcher] = []
        self._deposits: deque[tuple[Deposit, Deferred[Deposited]]] = deque()
        self._deposit_due = False

    # Mailboxes

    async def list_mailboxes(self) -> list[MailboxInfo]:
        """Every mailbox, and every parent that is none, by name with INBOX first."""
        at_hand = list_at_hand(self.home) if self.is_at_rest else None
        return await self.visit(list_mailboxes) if at_hand is None else at_hand

    async def subscriptions(self) -> list[str]:
        """The subscribed names, sorted; some may name no mailbox (RFC 3501 §6.3.9)."""
        return await self.visit(lambda home: home.index.subscriptions())

    async def subscribe(self, name: str, *, elsewhere: bool = False) -> None:
        """Add a name to the subscriptions; `elsewhere`: it names a mailbox of another account. Raises
        NoSuchMailbox when there is nothing of that name; TooManyMailboxes."""
        await self.visit(partial(_subscribe, name=canonical_name(name), elsewhere=elsewhere))

    async def unsubscribe(self, name: str) -> None:
        """Take a name off the subscriptions. Raises NoSuchMailbox when it is not among them."""
        await self.visit(partial(_unsubscribe, name=canonical_name(name)))

    async def create(self, name: str, special_uses: frozenset[str] = frozenset()) -> None:
        """Make a mailbox; one separator at the end of the name is passed over (RFC 3501 §6.3.3).

        Raises MailboxExists."""
        canonical = canonical_name(name.removesuffix(SEPARATOR))
        await self.visit(partial(hierarchy.create, name=canonical, special_uses=special_uses))

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
        mailbox = self._in_memory(canonical)
        if mailbox is None:
            mailbox = self._begin(await self.visit(partial(loading.load, name=canonical)))
            mailbox.take()
            return mailbox
        mailbox.take()
        try:
            await mailbox.refresh()
        except BaseException:
            await mailbox.close()
            raise
        return mailbox

    def _in_memory(self, name: str) -> Mailbox | None:
        for mailbox in self._mailboxes.values():
            if mailbox.name == name:
                return mailbox
        return None

    def _begin(self, loaded: Loaded) -> Mailbox:
        """The mailbox that was loaded; nothing may come between its loading and this."""
        mailbox = self._mailboxes.get(loaded.number)
        if mailbox is None:
            self.epoch = loaded.epoch
            mailbox = self._mailboxes[loaded.number] = Mailbox(self, loaded)
        return mailbox

    async def require(self, name: str) -> None:
        """Make sure that there is such a mailbox, without opening it. Raises NoSuchMailbox."""
        canonical = canonical_name(name)
        await self.visit(lambda home: home.folder(canonical))

    async def status(self, name: str) -> MailboxStatus:
        """Count a mailbox without opening it. Raises NoSuchMailbox.

        A mailbox in memory has been counted. Another one is counted once; if it is asked about again after it
        has changed, it will be time and again, and comes into memory."""
        canonical = canonical_name(name)
        mailbox = self._in_memory(canonical)
        if mailbox is not None:
            await mailbox.refresh()
            return mailbox.status()
        found = await self.visit(partial(loading.status, name=canonical))
        if isinstance(found, MailboxStatus):
            return found
        mailbox = self._begin(found)
        if not mailbox.is_held:
            self.upkeep.keep(mailbox)
        return mailbox.status()

    async def usage(self) -> Usage:
        """What all mailboxes together hold."""
        return Usage(*await self.visit(lambda home: home.index.usage()))

    def put_away(self, mailbox: Mailbox) -> None:
        """Nobody has the mailbox open: it need not be in memory, but is quick to be opened again."""
        if packed := loading.packed(mailbox):
            Deferred.fromCoroutine(self._save({mailbox.number: packed})).addErrback(self._unexpected)
        self.forget(mailbox)

    async def _save(self, packed: dict[int, bytes]) -> None:
        with suppress(StoreError):  # said already where it happened; it costs time at the next opening
            await self._queue(partial(loading.save, packed=packed))

    def forget(self, mailbox: Mailbox) -> None:
        """Nobody has the mailbox open, or it is no more: it need not be in memory."""
        self.upkeep.let_go(mailbox)
        self.upkeep.unwatch(mailbox)
        self.upkeep.overviews.forget(mailbox.overview_columns)
        if self._mailboxes.get(mailbox.number) is mailbox:
            del self._mailboxes[mailbox.number]
            if mailbox.number in self._claims:  # whoever opens it again is to find them in the index
                Deferred.fromCoroutine(self._keep_claims()).addErrback(self._unexpected)

    # Watching

    def watch(self, watcher: AccountWatcher) -> None:
        """Have every change of the account from now on told, in the reactor's thread, when the mailboxes in
        memory show it already. What other programs do is noticed within seconds, in all mailboxes."""
        self._watchers.append(watcher)
        self.upkeep.watch(self)

    def unwatch(self, watcher: AccountWatcher) -> None:
        """Take a watcher off. A no-op when it is off already."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)
        if not self._watchers:
            self.upkeep.unwatch(self)

    def look(self) -> Callable[[], Awaitable[None]] | None:
        """What is to be done about what other programs may have done; None: nothing. Blocks for some stat
        calls; any thread."""
        try:
            numbers, anew = self.home.due()
        except OSError:
            return None  # whoever comes next will be told
        return partial(self._refresh, numbers, anew) if numbers or anew else None

    async def _refresh(self, numbers: Sequence[int], anew: bool) -> None:
        if anew:
            await self.visit(Home.notice)
        for number in numbers:
            with suppress(NoSuchMailbox):
                await self.visit(partial(_refresh, number=number))

    # What can wait for the next tick

    def claim_recent(self, number: int, below: int) -> None:
        """Messages of that mailbox below that UID are recent no more."""
        self._claims[number] = below
        self.upkeep.untidy(self)

    async def tidy(self) -> None:
        """Keep what is recent no more, have the names of files follow and remove what was deleted long ago, a
        slice at a time behind whatever else is asked for, and collect the emails that have lost their last
        message, as long as nobody waits for the lane; what is left then has its turn at the next tick."""
        await self._keep_claims()
        with suppress(StoreError):  # said already; a mailbox that was removed meanwhile holds up nothing
            while await self.visit(Home.catch_up):
                pass
            while await self.visit(lambda home: home.deleted.sweep()):
                pass
        while (gone := await self.visit(_collect)) is not None:
            if gone and self.indexer is not None:
                self.indexer.gone(self, gone)
            if self._lane.is_wanted:
                self.upkeep.untidy(self)
                break

    async def _keep_claims(self) -> None:
        claims, self._claims = self._claims, {}
        if claims:
            with suppress(StoreError):  # said already; a message that is recent once more does no harm
                await self._queue(partial(_claim_recent, claims=claims))

    # The lane

    async def visit(self, work: Callable[[Home], T]) -> T:
        """Do blocking work on the account's directory, after all work that was asked for before.

        What it committed reaches the open mailboxes before this returns. Raises StoreError."""
        self.use()
        return await self._queue(work)

    def prepare(self) -> None:
        """Somebody is about to ask for mailboxes: have the index open by then."""
        if not self.home.is_open:
            Deferred.fromCoroutine(self._prepare()).addErrback(self._unexpected)

    async def _prepare(self) -> None:
        with suppress(StoreError):  # whoever asks will be told
            await self.visit(Home.open)

    def use(self) -> None:
        """Something is about to need the index."""
        self._used(self)

    @property
    def is_at_rest(self) -> bool:
        """True while nothing is under way in the lane: what is in memory is what the index has, and no thread
        is at work on `home`."""
        return not self._under_way and not self.threads.stopped

    async def _queue(self, work: Callable[[Home], T]) -> T:
        done: Deferred[T] = Deferred()
        self._give(lambda: partial(self._arrive, self._perform(work), done))
        return await done

    def _give(self, work: Work) -> None:
        self._lane.run(work)
        self._under_way += 1

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
        visit.behind = self.home.is_behind
        return visit

    def _arrive(self, visit: _Visit, done: Deferred[T]) -> None:
        self._finish(visit)
        if visit.error is not None:
            done.errback(Failure(visit.error))
        else:
            done.callback(visit.value)  # type: ignore[arg-type]

    def _finish(self, visit: _Visit) -> None:
        self._apply(visit.steps or ())
        self._under_way -= 1
        if visit.behind:
            self.upkeep.untidy(self)

    def _unexpected(self, failure: Failure) -> None:
        self.log.failure("unexpected error in an account", failure=failure)

    def _apply(self, steps: Sequence[Step]) -> None:
        for step in steps:
            mailbox = self._mailboxes.get(step.mailbox)
            if mailbox is not None:
                mailbox.apply(step)
            if step.expunged or step.deleted:
                self.upkeep.untidy(self)
            if step.added and self.indexer is not None:
                self.indexer.wake(self)
            if self._watchers:
                self._tell(step.as_account_change())

    def _tell(self, change: AccountChange) -> None:
        for watcher in list(self._watchers):
            try:
                watcher(change)
            except Exception:
                self.log.failure("a watcher of an account failed")

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
            self._give(self._deposit_batch)

    def _deposit_batch(self) -> Callable[[], None]:
        """In the lane: put down what waits. The order of the first two lines matters: what is appended
        after the flag has fallen gets a visit of its own."""
        self._deposit_due = False
        batch = [self._deposits.popleft() for _ in range(min(BATCH, len(self._deposits)))]
        visit = self._perform(lambda home: deposit(home, [each for each, _ in batch]))
        return partial(self._deposited, visit, [done for _, done in batch])

    def _deposited(self, visit: _Visit, waiting: list[Deferred[Deposited]]) -> None:
        self._put_down()
        self._finish(visit)
        results = visit.value if isinstance(visit.value, list) else [visit.error] * len(waiting)
        for done, result in zip(waiting, results, strict=True):
            if isinstance(result, Deposited):
                done.callback(result)
            else:
                done.errback(Failure(result))

    async def shut(self) -> None:
        """Close the index after all work that was asked for before; later work opens it again."""
        await self._keep_claims()
        packed = {mailbox.number: loading.packed(mailbox) for mailbox in self._mailboxes.values()}
        await self._save({number: octets for number, octets in packed.items() if octets})
        try:
            await self._queue(Home.shut)
        except StoreError:
            self.log.failure("the index of {account} did not close cleanly", account=self.name)


# Work in the lane


def _refresh(home: Home, number: int) -> None:
    home.folder_numbered(number).refresh()


def _claim_recent(home: Home, claims: dict[int, int]) -> None:
    for number, below in claims.items():
        with suppress(NoSuchMailbox):
            flagging.claim_recent(home.folder_numbered(number), below)


def _collect(home: Home) -> list[int] | None:
    with home.index.transaction():
        return home.index.emails.collect(COLLECT)


def _subscribe(home: Home, name: str, elsewhere: bool) -> None:
    if not elsewhere and home.named(name) is None:
        home.notice()
        names = {row.name for row in home.rows()}
        if name not in names | hierarchy.virtual_parents(names):
            raise NoSuchMailbox()
    most = 2 * home.bounds.mailboxes  # some are of others, some of what is gone
    with home.index.transaction():
        new = home.index.subscribe([name])
        if new and len(home.index.subscriptions()) > most:
            raise TooManyMailboxes(most, "subscriptions")
    if new:
        home.tell(Step(NONE, name=name, subscribed=True))


def _unsubscribe(home: Home, name: str) -> None:
    with home.index.transaction():
        if not home.index.unsubscribe(name):
            raise NoSuchMailbox("Not subscribed")
    home.tell(Step(NONE, name=name, subscribed=False))
