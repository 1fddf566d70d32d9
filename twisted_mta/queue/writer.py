"""The one thread that touches the queue's database while the server runs: group commit.

It takes whatever has piled up while it was syncing the last batch, commits all of it in one transaction,
and answers the whole batch with a single call into the reactor. Once a second it also asks SQLite whether
another process has changed something (`PRAGMA data_version`, which reads one word of shared memory), and
looks whether the clock was set back.

One element of a batch that cannot be recorded does not take the others with it: after a failure every
element is tried again in a transaction of its own, and its error is its own. New messages that would use up
the reserve on the disk (`reserve.py`) are refused before that; outcomes are not.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mta.message.status import unexpected
from twisted_mta.metrics.counts import WORK, Histogram
from twisted_mta.queue.database import QueueDatabase
from twisted_mta.queue.records import Intervention, NewMessage, Settled, Settlement
from twisted_mta.queue.recovery import Quarantine, is_damage, open_database
from twisted_mta.queue.refusal import sqlite_code
from twisted_mta.queue.reserve import require_space

T = TypeVar("T")

POLL_INTERVAL = 1.0  # seconds between two looks for changes by other processes
_CLOCK_STEP = 60.0  # seconds; mail may wait longer by as much when the clock is set back
_MOST_JOBS = 500  # in one transaction
_KEEP_OPEN = frozenset(  # errors that say nothing about the connection or the file
    {0, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_TOOBIG}
)


class _Job(Generic[T]):
    __slots__ = ("done", "error", "result")

    def __init__(self) -> None:
        self.done: Deferred[T] = Deferred()
        self.result: Any = None
        self.error: Exception | None = None

    def answer(self) -> None:
        if self.error is None:
            self.done.callback(self.result)
        else:
            self.done.errback(Failure(self.error))


class _Addition(_Job[None]):
    __slots__ = ("message",)

    def __init__(self, message: NewMessage) -> None:
        super().__init__()
        self.message = message


class _Outcomes(_Job[Settled]):
    __slots__ = ("settlement",)

    def __init__(self, settlement: Settlement) -> None:
        super().__init__()
        self.settlement = settlement


class _Task(_Job[T]):
    __slots__ = ("task",)

    def __init__(self, task: Callable[[QueueDatabase], T]) -> None:
        super().__init__()
        self.task = task


class Writer:
    """seconds: the wall clock; called in any thread. added: called in the reactor thread with the messages of
    a batch, after their senders have been answered. noticed: called in the reactor thread when another
    process has changed the queue, or when the clock was set back."""

    log = Logger(namespace="twisted_mta.queue")

    def __init__(
        self,
        path: Path,
        *,
        reactor: IReactorFromThreads,
        seconds: Callable[[], float],
        added: Callable[[Sequence[NewMessage]], None],
        noticed: Callable[[Sequence[Intervention]], None],
    ) -> None:
        self._path = path
        self._reactor = reactor
        self._seconds = seconds
        self._epoch: float | None = None  # what the wall clock says when the monotonic one says 0
        self._added = added
        self._noticed = noticed
        self._jobs: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._running = False
        self._stopped: Deferred[None] = succeed(None)
        self._database: QueueDatabase | None = None
        self._trouble = ""
        self._short = False  # of space on the disk
        self._seen_version = -1
        self._next_poll = 0.0
        self.commits = Histogram(WORK)  # seconds that transactions took
        self.committed = 0  # messages and outcomes in them

    # In the reactor thread

    def start(self) -> Deferred[Quarantine | None]:
        """Open the database; fires when it is ready, with what had to be moved aside. Fails with
        sqlite3.Error, OSError or SchemaTooNew."""
        opened: Deferred[Quarantine | None] = Deferred()
        self._running = True
        Thread(target=self._work, args=(opened,), name="queue-writer", daemon=True).start()
        return opened

    def stop(self) -> Deferred[None]:
        """Record what has been handed in until now, then close; fires when that is done."""
        if self._running:
            self._running = False
            self._stopped = Deferred()
            self._jobs.put(None)
        return self._stopped

    def add(self, message: NewMessage) -> Deferred[None]:
        """Fires once the message is on disk."""
        return self._submit(_Addition(message))

    def settle(self, settlement: Settlement) -> Deferred[Settled]:
        """Fires once the outcomes are on disk."""
        return self._submit(_Outcomes(settlement))

    def run(self, task: Callable[[QueueDatabase], T]) -> Deferred[T]:
        """Call `task` in the writer thread, after the batch it arrived with has been committed."""
        return self._submit(_Task(task))

    def check(self) -> Deferred[str]:
        """Why no message can be taken in, "" when one can; found out in the writer thread. After trouble the
        disk is written to, to learn whether that is over."""
        return self._submit(_Task(self._find_trouble))

    def _submit(self, job: _Job[T]) -> Deferred[T]:
        if not self._running:
            return fail(unexpected())
        self._jobs.put(job)
        return job.done

    def _answer(self, jobs: Sequence[_Job[Any]]) -> None:
        """Senders first: nothing that follows from a message delays its 250."""
        additions = [job for job in jobs if isinstance(job, _Addition)]
        for addition in additions:
            addition.answer()
        if added := [addition.message for addition in additions if addition.error is None]:
            try:
                self._added(added)
            except Exception:
                self.log.failure("messages that were committed wait for the next look at the queue")
        for job in jobs:
            if not isinstance(job, _Addition):
                job.answer()

    def _refuse_start(self, opened: Deferred[Quarantine | None], failure: Failure) -> None:
        self._running = False
        opened.errback(failure)

    def _report_quarantine(self, quarantine: Quarantine) -> None:
        self.log.critical(
            "The queue database was damaged. It was moved to {directory}; {saved} messages were saved from "
            "it, {lost} could not be read.",
            directory=quarantine.directory,
            saved=quarantine.saved,
            lost=quarantine.lost,
        )

    def _report_trouble(self, trouble: str) -> None:
        if trouble:
            self.log.critical("The queue cannot be written: {trouble}. No mail is accepted.", trouble=trouble)
        else:
            self.log.info("The queue can be written again.")

    def _report_shortage(self, error: OSError | None) -> None:
        if error is not None:
            self.log.critical("No mail is accepted: {trouble}.", trouble=error.strerror)
        else:
            self.log.info("There is space on the disk again; mail is accepted.")

    # In the writer thread

    def _work(self, opened: Deferred[Quarantine | None]) -> None:
        try:
            self._database, quarantine = open_database(self._path, self._seconds())
        except Exception:
            self._reactor.callFromThread(self._refuse_start, opened, Failure())
            return
        if quarantine is not None:
            self._reactor.callFromThread(self._report_quarantine, quarantine)
        self._reactor.callFromThread(opened.callback, quarantine)
        while (jobs := self._take()) is not None:
            if jobs:
                self._record(jobs)
                self._reactor.callFromThread(self._answer, jobs)
            self._look_around()
        self._close()
        self._reactor.callFromThread(self._stopped.callback, None)

    def _take(self) -> list[_Job[Any]] | None:
        """What has piled up, or nothing when it is time to look around; None: stop."""
        jobs: list[_Job[Any]] = []
        try:
            job = self._jobs.get(timeout=max(0.0, self._next_poll - time.monotonic()))
            while job is not None:
                jobs.append(job)
                if len(jobs) == _MOST_JOBS:
                    return jobs
                job = self._jobs.get_nowait()
        except Empty:
            return jobs
        if jobs:
            self._jobs.put(None)  # once more, behind this last batch
            return jobs
        return None

    def _record(self, jobs: Sequence[_Job[Any]]) -> None:
        self._keep_reserve([job for job in jobs if isinstance(job, _Addition)])
        writes = [job for job in jobs if not isinstance(job, _Task) and job.error is None]
        if writes and not self._commit(writes) and len(writes) > 1:
            for job in writes:
                self._commit([job])
        for job in jobs:
            if isinstance(job, _Task):
                try:
                    job.result = job.task(self._require_database())
                except Exception as error:
                    job.error = error
                    self._look_into(error)

    def _keep_reserve(self, additions: Sequence[_Addition]) -> None:
        """Refuse those that do not fit; a body in a spool file has been looked at when that was written."""
        if not additions:
            return
        shortage: OSError | None = None
        try:
            octets = sum(len(job.message.content.data) for job in additions)
            # Once in the log, and once in the database.
            require_space(self._path.parent, 2 * octets, self._reusable)
        except OSError as error:
            shortage = error
            for job in additions:
                job.error = error
        if self._short is not (shortage is not None):
            self._short = shortage is not None
            self._reactor.callFromThread(self._report_shortage, shortage)

    def _reusable(self) -> int:
        try:
            return self._require_database().reusable()
        except Exception:
            return 0  # whatever it is, the commit meets it next

    def _commit(self, jobs: Sequence[_Job[Any]]) -> bool:
        additions = [job.message for job in jobs if isinstance(job, _Addition)]
        outcomes = [job for job in jobs if isinstance(job, _Outcomes)]
        began = time.perf_counter()
        try:
            results = self._require_database().commit(additions, [job.settlement for job in outcomes])
        except Exception as error:
            for job in jobs:
                job.error = error
            self._look_into(error)
            return False
        self.commits.observe(time.perf_counter() - began)
        self.committed += len(jobs)
        self._tell_trouble(None)
        for job in jobs:
            job.error = None
        for job, result in zip(outcomes, results, strict=True):
            job.result = result
        return True

    def _find_trouble(self, database: QueueDatabase) -> str:
        try:
            if self._trouble:
                database.touch()
                self._tell_trouble(None)
            require_space(self._path.parent, 0, self._reusable)
        except sqlite3.Error as error:
            self._look_into(error)
            return f"The queue cannot be written: {error}"
        except OSError as error:
            return f"No mail is accepted: {error.strerror}"
        return ""

    def _require_database(self) -> QueueDatabase:
        if self._database is None:
            self._database, quarantine = open_database(self._path, self._seconds())
            self._seen_version = -1
            if quarantine is not None:
                self._reactor.callFromThread(self._report_quarantine, quarantine)
        return self._database

    def _look_into(self, error: Exception) -> None:
        """After a failure: give up a connection that may be broken.

        The new one is opened before the old one is closed. A commit whose sync failed has left its frames in
        the log; they count for nothing as long as somebody holds the log's index, and are overwritten
        next. A first connection would rebuild the index and find in them a message that was refused.
        """
        if not isinstance(error, (sqlite3.Error, OSError)):
            return  # an accident of the task; whoever handed it in is told
        self._tell_trouble(error)
        if is_damage(error):
            self._close()  # the next use moves it aside
        elif sqlite_code(error) not in _KEEP_OPEN:
            try:
                fresh = QueueDatabase(self._path)
            except (sqlite3.Error, OSError):
                return  # the next failure tries again
            self._close()
            self._database = fresh
            self._seen_version = -1

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            try:
                database.close()
            except sqlite3.Error as error:
                self._tell_trouble(error)

    def _tell_trouble(self, error: Exception | None) -> None:
        """Once when it begins and once when it is over, not for every message."""
        trouble = "" if error is None else str(error)
        if trouble != self._trouble:
            self._trouble = trouble
            self._reactor.callFromThread(self._report_trouble, trouble)

    def _follow_clock(self, database: QueueDatabase) -> bool:
        """Whether it was set back since this was last asked."""
        now = self._seconds()
        epoch = now - time.monotonic()
        by, self._epoch = (0.0 if self._epoch is None else self._epoch - epoch), epoch
        if by < _CLOCK_STEP:
            return False
        database.set_back(by, now)
        return True

    def _look_around(self) -> None:
        if time.monotonic() < self._next_poll:
            return
        self._next_poll = time.monotonic() + POLL_INTERVAL
        try:
            database = self._require_database()
            set_back = self._follow_clock(database)
            if (version := database.data_version()) != self._seen_version or set_back:
                interventions = database.take_interventions()
                self._seen_version = version
                self._reactor.callFromThread(self._noticed, interventions)
        except Exception as error:
            self._look_into(error)
