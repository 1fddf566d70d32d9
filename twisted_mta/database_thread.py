"""A thread that works on one database, so that the reactor never waits for the disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from twisted_mta.database import Database

D = TypeVar("D", bound=Database)
T = TypeVar("T")


class DatabaseThread(Generic[D]):
    """`name` of the thread. One thing is done after the other, in the order they were asked for."""

    def __init__(self, name: str, *, reactor: Any) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=1, name=name)
        self._database: D | None = None

    @property
    def is_open(self) -> bool:
        """Between `start` and `stop`."""
        return self._database is not None

    async def start(self, opened: Callable[[], D]) -> None:
        """Open it, in the thread. Raises what that raises."""
        self._pool.start()
        try:
            self._database = await deferToThreadPool(self._reactor, self._pool, opened)
        except BaseException:
            self._pool.stop()  # a thread that waits would keep the process from ending
            raise

    async def stop(self) -> None:
        """Close it behind everything that was asked for. Idempotent."""
        database, self._database = self._database, None
        if database is not None:
            await deferToThreadPool(self._reactor, self._pool, database.close)
        if self._pool.started:
            self._pool.stop()

    def run(self, work: Callable[[D], T]) -> Deferred[T]:
        """What `work` gives of the database. Fails with what it raises."""
        database = self._database
        assert database is not None, "not started"
        return deferToThreadPool(self._reactor, self._pool, work, database)
