"""The queue as one thing: the directory on disk, its writer thread, its intake, and what dispatch asks of it.

```
queue/queue.sqlite   envelopes, recipients, small bodies     queue/spool/       large bodies
queue/lock           held by the process that delivers       queue/quarantine/  what was found damaged
```
docs/queue-states.md tells what a crash does at every point.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from twisted_mta.durable import sync
from twisted_mta.interfaces import IIntake
from twisted_mta.message.content import Content
from twisted_mta.message.outcome import QueuedMessage
from twisted_mta.metrics.counts import Histogram
from twisted_mta.queue.database import QueueDatabase
from twisted_mta.queue.figures import QueueFigures, count
from twisted_mta.queue.ids import Numbers, encode
from twisted_mta.queue.intake import THRESHOLD, Draft, Intake
from twisted_mta.queue.records import (
    DuePage,
    Intervention,
    NewMessage,
    Settled,
    Settlement,
    StoredMessage,
    stored_address,
)
from twisted_mta.queue.spool import Spool
from twisted_mta.queue.writer import Writer

T = TypeVar("T")

DATABASE = "queue.sqlite"
SPOOL = "spool"
_THREADS = 4  # for spool files; the database has its own
_ASK_AGAIN = (1.0, 30.0)  # seconds until a database that has refused is asked again: first, at most
_READ_AGAIN = 8.0  # the longest of these for what can as well be delayed: a quarter of a minute in all
_ORPHANS_AT_ONCE = 500


class QueueInUse(Exception):
    """Another process works this queue off."""


class DamagedMessage(Exception):
    """The body of a queued message is not what was received."""


@implementer(IIntake)
class MailQueue:
    """directory: the queue's own directory, created when missing. reactor: provides IReactorTime and
    IReactorFromThreads; its clock is the wall clock. threshold: octets; larger bodies are spool files."""

    log = Logger(namespace="twisted_mta.queue")

    def __init__(
        self, directory: Path, *, reactor: Any, random: Random | None = None, threshold: int = THRESHOLD
    ) -> None:
        self.directory = directory
        self.spool = Spool(directory / SPOOL)
        self.numbers = Numbers(reactor.seconds, random or Random())
        self._reactor = reactor
        self._writer = Writer(
            directory / DATABASE,
            reactor=reactor,
            seconds=reactor.seconds,
            added=self._tell_added,
            noticed=self._tell_noticed,
        )
        self._pool = ThreadPool(0, _THREADS, "queue-spool")
        self._intake = Intake(
            numbers=self.numbers,
            spool=self.spool,
            add=self._writer.add,
            in_thread=self.in_thread,
            seconds=reactor.seconds,
            threshold=threshold,
        )
        self._first = 0  # the number above which messages came during the life of this process
        self._lock = -1
        self._added: Callable[[Sequence[NewMessage]], None] = lambda messages: None
        self._noticed: Callable[[Sequence[Intervention]], None] = lambda interventions: None

    async def start(self) -> None:
        """Take the directory, open the database. Raises QueueInUse, SchemaTooNew, OSError, sqlite3.Error."""
        self._prepare_directory()
        try:
            quarantine = await self._writer.start()
        except BaseException:
            self._release_directory()
            raise
        self._pool.start()
        for directory in (self.directory, self.directory.parent):  # the names of what was just created
            await self.in_thread(sync, directory)
        spooled = await self.in_thread(lambda: list(self.spool.messages()))
        message, recipient = await self._writer.run(QueueDatabase.highest)
        self.numbers.rise_above(max([message, *spooled]), recipient)
        self._first = self.numbers.message()
        await self._clear_orphans(spooled, quarantine.directory if quarantine else None)

    async def stop(self) -> None:
        """Record everything that was handed in, then let go of the directory."""
        await self._writer.stop()
        if self._pool.started:
            self._pool.stop()
        self._release_directory()

    def draft(self, queue_id: str = "") -> Draft:
        """See IIntake."""
        return self._intake.draft(queue_id)

    def new_id(self) -> str:
        """A queue id, for a draft that is to come."""
        return encode(self.numbers.message())

    # For who watches over it

    @property
    def commits(self) -> Histogram:
        """Seconds that transactions took."""
        return self._writer.commits

    @property
    def committed(self) -> int:
        """Messages and outcomes in them."""
        return self._writer.committed

    async def trouble(self) -> str:
        """Why no message can be taken in, in words; "" when one can. Raises MailError when it has stopped."""
        return await self._writer.check()

    async def figures(self) -> QueueFigures:
        """How much there is, and how old it is; see `figures.py`. Raises sqlite3.Error."""
        return await self.in_thread(count, self.directory / DATABASE, self._reactor.seconds())

    # For the dispatcher

    def watch(
        self,
        added: Callable[[Sequence[NewMessage]], None],
        noticed: Callable[[Sequence[Intervention]], None],
    ) -> None:
        """added: told of messages that were just committed, after their senders were answered. noticed: told
        that another process has changed the queue, and what it left word of. In the reactor thread."""
        self._added, self._noticed = added, noticed

    async def settle(self, settlement: Settlement) -> Settled:
        """Record what an attempt came to; returns once it is on disk. While the database refuses, whatever
        it says, this waits, each time longer, and tries again: an outcome is not forgotten, for a forgotten
        success is a duplicate. Raises MailError when the queue is stopped meanwhile."""
        return await self._patiently(lambda: self._writer.settle(settlement))

    async def due(self, after: tuple[float, int], until: float, limit: int) -> DuePage:
        """See QueueDatabase.due."""
        return await self._writer.run(lambda database: database.due(after, until, limit))

    async def pass_over(self, recipients: Sequence[int]) -> None:
        """There is no room in memory for what is due to these: `due_for` will find them. Raises what SQLite
        raises; then only `due` finds them, from a position in front of theirs."""
        await self._writer.run(lambda database: database.pass_over(recipients))

    async def due_for(self, domain: str, after: tuple[float, int], until: float, limit: int) -> DuePage:
        """See QueueDatabase.due_for."""
        return await self._writer.run(lambda database: database.due_for(domain, after, until, limit))

    async def message(self, number: int) -> QueuedMessage | None:
        """A message from disk, its body checked; None when it is no longer queued. Raises DamagedMessage, and
        OSError or sqlite3.Error when it cannot be read now, MailError when the queue is stopped meanwhile."""
        read = partial(_read, number=number)
        stored = await self._patiently(lambda: self._writer.run(read), _READ_AGAIN)
        if stored is None:
            return None
        if stored.body is None and not await self.in_thread(self.spool.is_sound, number, stored.checksum):
            raise DamagedMessage(f"the spool file of {encode(number)} is missing or damaged")
        return self._queued(number, stored)

    async def message_as_it_is(self, number: int) -> QueuedMessage | None:
        """As `message`, whatever has become of the body, for who needs to know of it in any case."""
        read = partial(QueueDatabase.message, number=number)
        stored = await self._patiently(lambda: self._writer.run(read), _READ_AGAIN)
        return None if stored is None else self._queued(number, stored)

    async def has_message(self, number: int) -> bool:
        """Whether it is queued; it need not be readable. Raises what `message` raises but for the damage."""
        look = partial(QueueDatabase.present, numbers=[number])
        return bool(await self._patiently(lambda: self._writer.run(look), _READ_AGAIN))

    def _queued(self, number: int, stored: StoredMessage) -> QueuedMessage:
        path = self.spool.path(number) if stored.body is None else None
        return QueuedMessage(
            queue_id=encode(number),
            reverse_path=None if stored.reverse_path is None else stored_address(stored.reverse_path),
            arrived=stored.arrived,
            content=Content(stored.head, stored.body or b"", path),
            parameters=stored.parameters,
            recovered=number < self._first,
            account=stored.account,
        )

    async def retry(self, diagnostic: str) -> int:
        """Have those tried now whose last attempt came to this; how many they are."""
        now = self._reactor.seconds()
        return await self._writer.run(lambda database: database.retry(diagnostic, now))

    async def has_envelope(self, envid: str) -> bool:
        """See QueueDatabase.has_envelope."""
        return await self._writer.run(lambda database: database.has_envelope(envid))

    async def has_recipient(self, account: str, orcpt: str) -> bool:
        """See QueueDatabase.has_recipient."""
        return await self._writer.run(lambda database: database.has_recipient(account, orcpt))

    async def hold(self, number: int, reason: str) -> None:
        """No more attempts to deliver this message, until somebody looks at it. Waits as `settle` does."""
        await self._patiently(lambda: self._writer.run(lambda database: database.hold(number, reason)))

    async def forget_spool(self, messages: Sequence[int]) -> None:
        """Remove the spool files of messages that are no longer queued."""
        await self.in_thread(self.spool.remove, messages)

    def in_thread(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """Call a blocking function, such as the reading of a spool file, in one of the queue's threads."""
        return deferToThreadPool(self._reactor, self._pool, function, *arguments)

    # Within

    async def _patiently(self, ask: Callable[[], Deferred[T]], longest_wait: float = inf) -> T:
        """Ask until the database no longer refuses, each time later; or until that wait, in seconds, was in
        vain."""
        delay, longest = _ASK_AGAIN
        while True:
            try:
                return await ask()
            except (sqlite3.Error, OSError):
                if delay > longest_wait:
                    raise
                again: Deferred[None] = Deferred()
                self._reactor.callLater(delay, again.callback, None)
                await again
                delay = min(2 * delay, longest)

    def _tell_added(self, messages: Sequence[NewMessage]) -> None:
        self._added(messages)

    def _tell_noticed(self, interventions: Sequence[Intervention]) -> None:
        self._noticed(interventions)

    def _prepare_directory(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.spool.directory.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise QueueInUse(f"another process is delivering from {self.directory}") from None
        self._lock = lock

    def _release_directory(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def _clear_orphans(self, found: Sequence[int], quarantine: Path | None) -> None:
        """Spool files without a message are left by a crash between two steps, and are removed; when the
        database was damaged they may be all that is left of a message, and join it in the quarantine."""
        for start in range(0, len(found), _ORPHANS_AT_ONCE):
            some = found[start : start + _ORPHANS_AT_ONCE]
            present = await self._writer.run(partial(QueueDatabase.present, numbers=some))
            orphans = [number for number in some if number not in present]
            try:
                if quarantine is None:
                    await self.in_thread(self.spool.remove, orphans)
                else:
                    await self.in_thread(self.spool.set_aside, orphans, quarantine)
            except OSError as error:
                self.log.error("orphaned spool files are left where they are: {error}", error=error)


def _read(database: QueueDatabase, number: int) -> StoredMessage | None:
    stored = database.message(number)
    if stored is not None and stored.body is not None and zlib.crc32(stored.body) != stored.checksum:
        raise DamagedMessage(f"the body of {encode(number)} is damaged")
    return stored
