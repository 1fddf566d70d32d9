"""The journey kept: a reader of the bus that writes what it hears into SQLite, in a thread, some at a time.

It must not slow the mail: an event costs the reactor an entry in a list. What has gathered goes to the thread
after INTERVAL, or when there is a batch of it. If the disk cannot keep up, what is over MOST_WAITING is
dropped and counted, and the count is an event itself. A damaged file is moved aside and a new one begun.

On a disk that is nearly full nothing is written: what is left is for the mail (queue/reserve.py). Anybody may
cause events, by being refused, when none is accepted any more.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from twisted_mta.journey.bus import TraceEvent
from twisted_mta.journey.database import Event, JourneyDatabase

DATABASE = "journey.sqlite"
INTERVAL = 0.5  # seconds until what has happened can be read
BATCH = 1000  # events that are written without waiting for the interval
MOST_WAITING = 50_000  # events in memory; about 30 MB
MOST_REFUSALS = 100_000  # that are kept: anybody may cause them
_LEFT_FREE = 64 * 1024 * 1024  # octets of the disk, twice what the queue keeps for itself
_PRUNE_EVERY = 600.0  # seconds
_PRUNED_AT_ONCE = 1000  # events, between two batches

Batch = list[tuple[float, TraceEvent]]

# The facts that a message can be found by, by stage.
_HANDLES = {
    "accepted": ("reverse_path", "to", "message_id"),
    "expanded": ("members",),
    "redirected": ("members",),
    "made": ("to",),
    "report": ("to",),
    "refused": ("reverse_path", "forward_path"),
}


class JourneyStore:
    """A reader of the bus. keep: seconds that events are kept. reactor: provides IReactorTime, whose clock
    is the wall clock, and IReactorFromThreads."""

    log = Logger(namespace="twisted_mta.journey.store")

    def __init__(self, path: Path, *, reactor: Any, keep: float) -> None:
        self._path = path
        self._reactor = reactor
        self._keep = keep
        self._gathered: Batch = []
        self._timer: Any = None
        self._batches: SimpleQueue[Batch | None] = SimpleQueue()
        self._handed = 0  # events given to the thread; written by the reactor's thread alone,
        self._taken = 0  # and those it is done with, by its own
        self._dropped = 0
        self._running = False
        self._stopped: Deferred[None] = Deferred()
        self._database: JourneyDatabase | None = None
        self._trouble = ""
        self._next_prune = 0.0

    # In the reactor thread

    def __call__(self, event: TraceEvent) -> None:
        """Keep an event, if it is about a message."""
        if not event[1] and event[0] != "refused":
            return
        gathered = self._gathered
        waiting = len(gathered)
        if waiting + self._handed - self._taken >= MOST_WAITING:
            self._dropped += 1
            return
        gathered.append((self._reactor.seconds(), event))
        if not waiting:
            self._timer = self._reactor.callLater(INTERVAL, self._hand_over)
        elif waiting >= BATCH:
            self._timer.cancel()
            self._hand_over()

    async def start(self) -> None:
        """Begin to write; what was told before waits in memory. A journey that cannot be kept stops no
        mail."""
        self._running = True
        Thread(target=self._work, name="journey", daemon=True).start()

    async def stop(self) -> None:
        """Write what has been told until now."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
            self._hand_over()
        if self._running:
            self._batches.put(None)
            await self._stopped

    def _hand_over(self) -> None:
        if self._dropped:
            lost, self._dropped = self._dropped, 0
            self.log.error(
                "The journey of messages: {lost} events were lost, the disk is too slow.", lost=lost
            )
        batch, self._gathered = self._gathered, []
        self._handed += len(batch)
        self._batches.put(batch)

    def _report_trouble(self, trouble: str) -> None:
        if trouble:
            self.log.error("The journey of messages cannot be kept: {trouble}", trouble=trouble)
        else:
            self.log.info("The journey of messages is kept again.")

    # In the thread

    def _work(self) -> None:
        self._write([])
        while (batch := self._batches.get()) is not None:
            self._write(batch)
            self._taken += len(batch)
            self._prune()
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
        self._reactor.callFromThread(self._stopped.callback, None)

    def _open(self) -> JourneyDatabase:
        if self._database is None:
            try:
                self._database = JourneyDatabase(self._path)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._set_aside(error)
                self._database = JourneyDatabase(self._path)
        return self._database

    def _set_aside(self, error: Exception) -> None:
        """What the mail did before is lost for `mta trace`; the file is left to whoever can read it."""
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(sqlite3.Error):
                database.close()
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self._path}{end}").rename(f"{self._path}.damaged-{int(time.time())}{end}")
        self._tell_trouble(f"{error}; the file was moved aside")

    def _write(self, batch: Batch) -> None:
        try:
            if batch:
                _require_space(self._path.parent)
            database = self._open()
            if batch:
                with database.transaction():
                    self._add(database, batch)
        except Exception as error:  # an accident, too, costs some events and not the thread
            if isinstance(error, sqlite3.DatabaseError) and _is_damage(error):
                self._set_aside(error)
            self._tell_trouble(f"{error}; {len(batch)} events were lost")
        else:
            self._tell_trouble("")

    def _add(self, database: JourneyDatabase, batch: Batch) -> None:
        """Within a transaction: the server may be two processes, and both number on from the last event."""
        number = database.last()
        events, handles, tracked = [], [], []
        for when, event in batch:
            number += 1
            events.append(Event(number, when, event.queue_id, event.stage, _json(event.facts)))
            handles += [(handle, number) for handle in _handles(event)]
            if certifier := event.facts.get("certifier"):
                envid = str(event.facts.get("envid", ""))
                tracked.append((number, envid, str(certifier), event.queue_id))
        database.add(events, handles, tracked)

    def _prune(self) -> None:
        """A slice at a time, so that what is told meanwhile is soon written."""
        if self._database is None or time.monotonic() < self._next_prune:
            return
        try:
            before = self._reactor.seconds() - self._keep
            if not self._database.prune(before, MOST_REFUSALS, _PRUNED_AT_ONCE):
                self._next_prune = time.monotonic() + _PRUNE_EVERY
        except sqlite3.Error as error:
            self._next_prune = time.monotonic() + _PRUNE_EVERY
            self._tell_trouble(str(error))

    def _tell_trouble(self, trouble: str) -> None:
        """Once when it begins and once when it is over."""
        if bool(trouble) != bool(self._trouble):
            self._reactor.callFromThread(self._report_trouble, trouble)
        self._trouble = trouble


def _require_space(directory: Path) -> None:
    """Raises OSError: ENOSPC when the rest of the disk is for the mail."""
    found = os.statvfs(directory)
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    if size and free < min(_LEFT_FREE, max(size // 25, min(_LEFT_FREE // 16, size // 4))):
        raise OSError(errno.ENOSPC, "the disk is nearly full; the rest is kept for the mail")


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _json(facts: Mapping[str, object]) -> str:
    kept = {
        name: value if isinstance(value, str | int | float) else _plain(value)
        for name, value in facts.items()
        if value != "" and name != "certifier"
    }
    try:
        return _encode(kept).decode()
    except UnicodeEncodeError:  # half of a surrogate pair, in what some server said
        return _encode({name: _whole(str(value)) for name, value in kept.items()}).decode()


_encode: Callable[[object], bytes] = msgspec.json.Encoder().encode


def _plain(value: object) -> object:
    return [str(each) for each in value] if isinstance(value, tuple) else str(value)


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _handles(event: TraceEvent) -> Iterator[str]:
    for name in _HANDLES.get(event.stage, ()):
        value = event.facts.get(name, "")
        for each in value if isinstance(value, tuple) else (value,):
            text = str(each)
            if name != "message_id":
                text = text.strip("<>")
            if text:
                yield _whole(text.lower())
