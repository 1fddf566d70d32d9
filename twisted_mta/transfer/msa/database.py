"""A small SQLite file with one thread that works on it, so that the reactor never waits for the disk.

A file that is damaged is put aside under the name `….damaged`, and an empty one takes its place.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger

from twisted_mta import database
from twisted_mta.database_thread import DatabaseThread
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
        self._schema = schema
        self._synchronous = synchronous
        self._thread: DatabaseThread[_File] = DatabaseThread(path.stem, reactor=reactor)

    async def start(self) -> None:
        """Open it. Raises sqlite3.Error, OSError."""
        await self._thread.start(
            lambda: _File(self.path, (self._schema,), synchronous=self._synchronous, damaged=self._damaged)
        )

    async def stop(self) -> None:
        """Close it behind everything that was asked for. Idempotent."""
        await self._thread.stop()

    async def ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` gives, which is called in the thread, in one transaction. Raises what it raises, and
        MailError (451) while the file is not open."""
        if not self._thread.is_open:
            raise unexpected()
        return await self._thread.run(lambda file: file.within(work))

    def _damaged(self, aside: Path) -> None:
        self.log.error("{path} was damaged and is now {aside}", path=self.path, aside=aside)


class _File(database.Database):
    def within(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self.transaction():
            return work(self._connection)
