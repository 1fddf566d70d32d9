"""The bans on disk: they outlive a restart, and `mta bans` reads and changes them, whether the server runs or
not.

One SQLite file. The server writes what is new every few seconds, in a thread; what another process, perhaps
one of the same server, has changed meanwhile (`PRAGMA data_version`) takes effect with the next look. Nothing
is waited for: to lose the bans of the last seconds in a crash costs nothing. A file that is damaged is put
aside; the server begins without bans then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mta.database import Database
from twisted_mta.database_thread import DatabaseThread
from twisted_mta.wire.bans import MOST_BANS, MOST_HOMES, Ban, Bans, Home, Kind

DATABASE = "bans.sqlite"  # in the data directory
INTERVAL = 2.0  # seconds between two looks
FORGETTING = 3600.0  # seconds between two removals of what is long over
HOMES_KEPT = 60 * 86400.0  # seconds since the last login
_LATE = 60.0  # seconds that another process may take to write down a login
KEPT = 7 * 86400.0  # seconds that a ban is remembered when it is over: the next one is longer

_TABLES = (
    "CREATE TABLE IF NOT EXISTS ban (kind TEXT NOT NULL, subject TEXT NOT NULL, since REAL NOT NULL,"
    " until REAL NOT NULL, grade INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (kind, subject))",
    "CREATE TABLE IF NOT EXISTS home (account TEXT NOT NULL, range TEXT NOT NULL, last REAL NOT NULL,"
    " PRIMARY KEY (account, range))",
)


class BanDatabase(Database):
    """A connection; blocks. Raises sqlite3.Error."""

    def __init__(self, path: Path, *, damaged: Callable[[Path], None] | None = None) -> None:
        """See `Database`."""
        super().__init__(path, (_TABLES,), damaged=damaged)

    def bans(self) -> list[Ban]:
        """Those by hand and the latest, oldest first."""
        rows = (
            "SELECT kind, subject, since, until, grade, reason FROM ban"
            " ORDER BY grade = 0 DESC, since DESC LIMIT ?"
        )
        return [Ban(*row) for row in self._connection.execute(rows, (MOST_BANS,))][::-1]

    def homes(self, since: float = 0.0) -> list[Home]:
        """The latest, oldest first; of logins since then."""
        rows = "SELECT account, range, last FROM home WHERE last >= ? ORDER BY last DESC LIMIT ?"
        return [Home(*row) for row in self._connection.execute(rows, (since, MOST_HOMES))][::-1]

    def write(self, bans: Sequence[Ban], homes: Sequence[Home]) -> None:
        """Add these, or replace what is known of the same."""
        with self.transaction():
            self._connection.executemany("INSERT OR REPLACE INTO ban VALUES (?, ?, ?, ?, ?, ?)", bans)
            self._connection.executemany("INSERT OR REPLACE INTO home VALUES (?, ?, ?)", homes)

    def remove(self, kind: Kind, subject: str) -> bool:
        """True when there was such a ban."""
        with self.transaction():
            row = (kind, subject)
            return bool(
                self._connection.execute("DELETE FROM ban WHERE kind = ? AND subject = ?", row).rowcount
            )

    def forget(self, bans_over: float, homes_before: float) -> None:
        """Remove bans that were over before that moment, and homes that were last used before that one."""
        with self.transaction():
            self._connection.execute("DELETE FROM ban WHERE until < ?", (bans_over,))
            self._connection.execute("DELETE FROM home WHERE last < ?", (homes_before,))


class BanStore:
    """Keeps the server's `bans` and the file at `path` the same."""

    log = Logger(namespace="twisted_mta.bans")

    def __init__(self, bans: Bans, path: Path, *, reactor: Any) -> None:
        self._bans = bans
        self._path = path
        self._reactor = reactor
        self._thread: DatabaseThread[BanDatabase] = DatabaseThread("bans", reactor=reactor)
        self._version = -1
        self._forgotten = 0.0  # when what is long over was removed last
        self._read = reactor.seconds()  # when changes of others were read last
        self._look = task.LoopingCall(self._synchronise)
        self._look.clock = reactor

    async def start(self) -> None:
        """Read what there is. Raises sqlite3.Error when the file cannot be used at all."""
        homes: list[Home] = []

        def opened() -> BanDatabase:
            database = BanDatabase(self._path, damaged=self._damaged)
            self._forget(database)
            homes.extend(database.homes())
            return database

        await self._thread.start(opened)
        self._bans.settle(homes)
        await self._synchronise()
        self._look.start(INTERVAL, now=False).addErrback(self._failed)

    async def stop(self) -> None:
        """Write the last changes. Idempotent."""
        if self._look.running:
            self._look.stop()
        try:
            if self._thread.is_open:
                bans, homes = self._bans.take_changes()
                await self._thread.run(lambda database: database.write(bans, homes))
        finally:
            await self._thread.stop()

    def _damaged(self, aside: Path) -> None:
        self.log.error("{path} was damaged and is now {aside}", path=self._path, aside=aside)

    def _forget(self, database: BanDatabase) -> None:
        self._forgotten = self._reactor.seconds()
        database.forget(self._forgotten - KEPT, self._forgotten - HOMES_KEPT)

    def _synchronise(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._exchange()).addErrback(self._failed)

    async def _exchange(self) -> None:
        bans, homes = self._bans.take_changes()
        found = await self._thread.run(partial(self._write_and_read, bans=bans, homes=homes))
        if found is not None:
            bans, homes = found
            self._bans.settle(homes)
            self._adopt(bans)

    def _write_and_read(
        self, database: BanDatabase, *, bans: list[Ban], homes: list[Home]
    ) -> tuple[list[Ban], list[Home]] | None:
        """In the thread: all bans and the latest homes, if another process has changed them."""
        if bans or homes:
            database.write(bans, homes)
        now = self._reactor.seconds()
        if abs(now - self._forgotten) > FORGETTING:
            self._forget(database)
        version = database.data_version()
        if version == self._version:
            return None
        self._version = version
        since, self._read = min(self._read, now) - _LATE, now  # the clock may have been ahead
        return database.bans(), database.homes(since)

    def _adopt(self, found: list[Ban]) -> None:
        """What stands in the file holds, except for what is on its way there."""
        known, stored = {ban[:2]: ban for ban in self._bans.all()}, {ban[:2] for ban in found}
        for ban in found:
            if known.get(ban[:2]) != ban and not self._bans.is_unwritten(ban.kind, ban.subject):
                self._bans.put(ban)
        for kind, subject in known:
            if (kind, subject) not in stored and not self._bans.is_unwritten(kind, subject):
                self._bans.lift(kind, subject)

    def _failed(self, failure: Failure) -> None:
        """The bans in memory hold in any case."""
        self.log.error("bans are not kept: {error}", error=failure.getErrorMessage())
