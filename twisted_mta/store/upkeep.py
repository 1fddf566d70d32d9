"""What a store does by itself: looking after what is watched, keeping mailboxes in memory, tidying up.

A mailbox that nobody has open any more is kept, since most will be opened again soon; those that were used
longest ago are forgotten when all of them together hold too many messages. Other programs are noticed by the
times of directories, every few seconds. Names of files that are to follow, and emails that have lost their
last message, have their turn then, too, in slices; and room is made on a disk that is nearly full.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from twisted_mta.store.errors import StoreError
from twisted_mta.store.overview_columns import OverviewMemory
from twisted_mta.store.threads import Threads

if TYPE_CHECKING:
    from twisted_mta.store.account import Account
    from twisted_mta.store.mailbox import Mailbox

TICK = 3.0  # seconds between two looks at what is watched
KEPT_MESSAGES = 500_000  # of all kept mailboxes together; 45 octets each
_EMPTY = 250  # messages that a mailbox counts for on top, with the account that it keeps in memory

Work = Callable[[], Awaitable[None]]


class Upkeep:
    """Shared by all accounts of a store; `reactor` gives the time. make_room: looks whether there is need to,
    too; in a thread."""

    log = Logger(namespace="twisted_mta.store")

    def __init__(
        self, reactor: Any, make_room: Callable[[], None] | None, kept_messages: int = KEPT_MESSAGES
    ) -> None:
        self._threads: Threads | None = None
        self._make_room = make_room
        self._kept_messages = kept_messages
        self._kept: OrderedDict[Mailbox, int] = OrderedDict()  # what each counts for; last used last
        self._held = 0
        self.overviews = OverviewMemory()
        self._watched: set[Mailbox | Account] = set()
        self._untidy: set[Account] = set()
        self._tidying: set[Account] = set()  # those that are being tidied now
        self._looking = False
        self._making_room = False
        self._ticks = task.LoopingCall(self._tick)
        self._ticks.clock = reactor

    def start(self, threads: Threads) -> None:
        """From now on look every few seconds."""
        self._threads = threads
        self._ticks.start(TICK, now=False)

    def stop(self) -> None:
        """Look no more. Idempotent."""
        if self._ticks.running:
            self._ticks.stop()
        self._kept.clear()
        self._held = 0

    # Mailboxes in memory

    def keep(self, mailbox: Mailbox) -> None:
        """Nobody has the mailbox open, or somebody asked for its counts."""
        self.let_go(mailbox)
        self._kept[mailbox] = weight = len(mailbox) + _EMPTY
        self._held += weight
        while self._held > self._kept_messages:
            eldest, weight = self._kept.popitem(last=False)
            self._held -= weight
            eldest.account.put_away(eldest)

    def let_go(self, mailbox: Mailbox) -> None:
        """Somebody has the mailbox open, or it is no more."""
        self._held -= self._kept.pop(mailbox, 0)

    # What is watched

    def watch(self, each: Mailbox | Account) -> None:
        """From now on notice what other programs do to it."""
        self._watched.add(each)

    def unwatch(self, each: Mailbox | Account) -> None:
        """Nobody cares any more."""
        self._watched.discard(each)

    def untidy(self, account: Account) -> None:
        """The account may have emails without messages, or files whose names are to follow."""
        self._untidy.add(account)

    def _tick(self) -> None:
        """Tidy up, make room, and look at the directories of what is watched, except where the last time
        still lasts."""
        for account in self._untidy - self._tidying:
            self._untidy.discard(account)
            self._tidying.add(account)
            self._start(partial(self._tidy, account))
        if self._make_room is not None and not self._making_room and self._threads is not None:
            self._making_room = True
            self._threads.run(partial(self._made_room, self._make_room))
        if self._watched and not self._looking and self._threads is not None:
            self._looking = True
            self._threads.run(partial(self._look, list(self._watched)))

    def _made_room(self, make_room: Callable[[], None]) -> Callable[[], None]:
        """In a thread."""
        make_room()
        return self._room_made

    def _room_made(self) -> None:
        self._making_room = False

    async def _tidy(self, account: Account) -> None:
        try:
            await account.tidy()
        finally:
            self._tidying.discard(account)

    def _look(self, watched: list[Mailbox | Account]) -> Callable[[], None]:
        """In a thread. A mailbox may be in there twice, once with its account: the second look finds
        nothing."""
        due = [refresh for each in watched if (refresh := each.look()) is not None]
        return partial(self._looked, due)

    def _looked(self, due: list[Work]) -> None:
        self._looking = False
        for refresh in due:
            self._start(refresh)

    def _start(self, work: Work) -> None:
        Deferred.fromCoroutine(self._attempt(work)).addErrback(self._unexpected)

    async def _attempt(self, work: Work) -> None:
        with suppress(StoreError):  # said already where it happened
            await work()

    def _unexpected(self, failure: Any) -> None:
        self.log.failure("unexpected error in the store", failure=failure)
