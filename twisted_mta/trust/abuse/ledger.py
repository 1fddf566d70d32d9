"""What is remembered of senders on disk: who came back, who is in disgrace, and the lists by hand.

One SQLite file, one connection in a thread. The server writes what is new every few seconds, in one
transaction; the lists are written by `mta senders` in another process, and what has changed there (`PRAGMA
data_version`) takes effect with the next look. Nobody waits for the disk: to lose the last seconds in a crash
makes somebody come back once more. A file that is damaged is put aside, and remembering begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mta.database import Database
from twisted_mta.database_thread import DatabaseThread
from twisted_mta.trust.abuse.memory import Memory, Remembered
from twisted_mta.trust.abuse.senders import MOST, Arranged, SenderEntry, SenderLists, arranged

DATABASE = "senders.sqlite"  # in the data directory
INTERVAL = 3.0  # seconds between two looks
FORGETTING = 3600.0  # seconds between two removals of what is over

_TABLES = (
    "CREATE TABLE IF NOT EXISTS remembered (kind TEXT NOT NULL, key TEXT NOT NULL, since REAL NOT NULL,"
    " until REAL NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS sender (scope TEXT NOT NULL, subject TEXT NOT NULL, word TEXT NOT NULL,"
    " since REAL NOT NULL, note TEXT NOT NULL, PRIMARY KEY (scope, subject)) WITHOUT ROWID",
)


class SenderDatabase(Database):
    """A connection; blocks. Raises sqlite3.Error."""

    def __init__(self, path: Path, *, damaged: Callable[[Path], None] | None = None) -> None:
        """See `Database`."""
        super().__init__(path, (_TABLES,), damaged=damaged)

    # Lists

    def entries(self, scope: str | None = None) -> list[SenderEntry]:
        """Those of a scope, or all, by subject."""
        rows = "SELECT scope, subject, word, since, note FROM sender"
        if scope is None:
            found = self._execute(f"{rows} LIMIT ?", (MOST,))
        else:
            found = self._execute(f"{rows} WHERE scope = ? ORDER BY subject", (scope,))
        return [SenderEntry(*row) for row in found]

    def put(self, entry: SenderEntry) -> bool:
        """Instead of another word about the same subject. False when there are too many already."""
        with self.transaction():
            if self._execute("SELECT count(*) FROM sender").fetchone()[0] >= MOST:
                return False
            self._execute("INSERT OR REPLACE INTO sender VALUES (?, ?, ?, ?, ?)", entry)
        return True

    def remove(self, scope: str, subject: str) -> bool:
        """True when there was such an entry."""
        with self.transaction():
            row = (scope, subject)
            return bool(self._execute("DELETE FROM sender WHERE scope = ? AND subject = ?", row).rowcount)

    # What is remembered

    def remembered(self, kind: str, now: float) -> list[Remembered]:
        """What is not over, oldest first."""
        rows = "SELECT key, since, until FROM remembered WHERE kind = ? AND until > ? ORDER BY since"
        return [Remembered(*row) for row in self._execute(rows, (kind, now))]

    def write(self, changes: Mapping[str, Sequence[Remembered]]) -> None:
        """What `Memory.take_changes` gave, by kind."""
        with self.transaction():
            for kind, things in changes.items():
                gone = [(kind, thing.key) for thing in things if not thing.until]
                kept = [(kind, *thing) for thing in things if thing.until]
                self._connection.executemany("DELETE FROM remembered WHERE kind = ? AND key = ?", gone)
                self._connection.executemany("INSERT OR REPLACE INTO remembered VALUES (?, ?, ?, ?)", kept)

    def forget_old(self, now: float) -> None:
        """Remove what is over."""
        with self.transaction():
            self._execute("DELETE FROM remembered WHERE until <= ?", (now,))


class SenderStore:
    """Keeps memories, by their kinds, and the lists the same as the file at `path`. `reactor` has the wall
    clock."""

    log = Logger(namespace="twisted_mta.senders")

    def __init__(
        self, path: Path, *, memories: Mapping[str, Memory], lists: SenderLists, reactor: Any
    ) -> None:
        self._path = path
        self._memories = memories
        self._lists = lists
        self._reactor = reactor
        self._thread: DatabaseThread[SenderDatabase] = DatabaseThread("senders", reactor=reactor)
        self._version = -1
        self._forgotten = 0.0  # when what is over was removed last
        self._look = task.LoopingCall(self._synchronise)
        self._look.clock = reactor

    async def start(self) -> None:
        """Read what there is. Raises sqlite3.Error when the file cannot be used at all."""
        await self._thread.start(lambda: SenderDatabase(self._path, damaged=self._damaged))
        now = self._reactor.seconds()
        for kind, memory in self._memories.items():
            memory.settle(await self._thread.run(partial(SenderDatabase.remembered, kind=kind, now=now)))
        await self._exchange()
        self._look.start(INTERVAL, now=False).addErrback(self._failed)

    async def stop(self) -> None:
        """Write the last changes. Idempotent."""
        if self._look.running:
            self._look.stop()
        try:
            if self._thread.is_open and (changes := self._changes()):
                await self._thread.run(lambda database: database.write(changes))
        finally:
            await self._thread.stop()

    async def put(self, entry: SenderEntry) -> None:
        """An entry of the server's own making. Raises sqlite3.Error."""
        if self._thread.is_open:
            self._lists.replace(await self._thread.run(lambda database: _put(database, entry)))

    def _changes(self) -> dict[str, list[Remembered]]:
        return {kind: changes for kind, one in self._memories.items() if (changes := one.take_changes())}

    def _synchronise(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._exchange()).addErrback(self._failed)

    async def _exchange(self) -> None:
        now = self._reactor.seconds()
        if not self._thread.is_open:
            return
        forgetting = now - self._forgotten > FORGETTING
        if forgetting:
            self._forgotten = now
            for memory in self._memories.values():
                memory.forget_old(now)
        changes = self._changes()
        entries = await self._thread.run(
            lambda database: self._write_and_read(database, changes, forgetting, now)
        )
        if entries is not None:
            self._lists.replace(entries)

    def _failed(self, failure: Failure) -> None:
        """What is in memory holds in any case."""
        self.log.error("what is known of senders is not kept: {error}", error=failure.getErrorMessage())

    # In the thread

    def _damaged(self, aside: Path) -> None:
        self.log.error("{path} was damaged and is now {aside}", path=self._path, aside=aside)

    def _write_and_read(
        self,
        database: SenderDatabase,
        changes: Mapping[str, Sequence[Remembered]],
        forgetting: bool,
        now: float,
    ) -> Arranged | None:
        """All entries, if another process has changed them."""
        if changes:
            database.write(changes)
        if forgetting:
            database.forget_old(now)
        version = database.data_version()
        if version == self._version:
            return None
        self._version = version
        return arranged(database.entries())


def _put(database: SenderDatabase, entry: SenderEntry) -> Arranged:
    database.put(entry)
    return arranged(database.entries())
