"""A small SQLite file with one thread that works on it, so that the reactor never waits for the disk.

A file that is damaged is put aside under the name `….damaged`, and an empty one takes its place.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from twisted_mta.message.status import unexpected

T = TypeVar("T")


class DatabaseReactor(IReactorTime, IReactorFromThreads):
    """What a database needs of a reactor."""


class Database:
    """`schema`: statements that make what is not there. `synchronous`: "FULL" when what is written has to
    outlive a power cut, "NORMAL" when the latest of it may be lost."""

    log = Logger(namespace="twisted_mta.submission")

    def __init__(
        self,
        path: Path,
        *,
        reactor: DatabaseReactor,
        schema: Sequence[str],
        synchronous: Literal["NORMAL", "FULL"],
    ) -> None:
        self.path = path
        self._reactor = reactor
        self._schema = schema
        self._synchronous = synchronous
        self._pool = ThreadPool(minthreads=0, maxthreads=1, name=path.stem)
        self._connection: sqlite3.Connection | None = None

    async def start(self) -> None:
        """Open it. Raises sqlite3.Error, OSError."""
        self._pool.start()
        try:
            self._connection = await deferToThreadPool(self._reactor, self._pool, self._open)
        except BaseException:
            self._pool.stop()  # a thread that waits would keep the process from ending
            raise

    async def stop(self) -> None:
        """Close it behind everything that was asked for. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await deferToThreadPool(self._reactor, self._pool, connection.close)
        if self._pool.started:
            self._pool.stop()

    async def ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` gives, which is called in the thread, in one transaction. Raises what it raises, and
        MailError (451) while the file is not open."""
        if self._connection is None:
            raise unexpected()
        result: T = await deferToThreadPool(self._reactor, self._pool, _within, self._connection, work)
        return result

    # In the thread

    def _open(self) -> sqlite3.Connection:
        try:
            return self._opened()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._put_aside()
            self._reactor.callFromThread(
                self.log.error, "{path} was damaged and is put aside: {error}", path=self.path, error=error
            )
            return self._opened()

    def _put_aside(self) -> None:
        os.replace(self.path, self.path.with_name(f"{self.path.name}.damaged"))
        for end in ("-wal", "-shm"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            for statement in self._schema:
                connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        return connection


def _within(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result
