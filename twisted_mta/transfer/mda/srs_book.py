"""The senders whose addresses are too long to be written into a rewritten one (`srs.py`), in a small
database.

To lose it is to lose reports to those senders. An address that was noted today is not written again.
"""

from __future__ import annotations

import sqlite3
from base64 import b32encode
from collections import OrderedDict
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from twisted_mta.message.address import Address
from twisted_mta.message.status import unexpected

FILE = "reverse-paths.sqlite"
MOST = 1_000_000  # addresses; those that end first go
_IN_MEMORY = 10_000
_SLACK = 86400.0  # seconds by which an entry may end earlier than asked, so as not to be written each time
_TABLE = (
    "CREATE TABLE IF NOT EXISTS sender (name TEXT PRIMARY KEY, address TEXT NOT NULL, until REAL NOT NULL)"
)
_INDEX = "CREATE INDEX IF NOT EXISTS sender_until ON sender (until)"

T = TypeVar("T")


class SenderBook:
    """`path` is the database; it is made with the first entry. `seconds`: the wall clock. Trouble
    with it is a MailError (451)."""

    log = Logger(namespace="twisted_mta.mda")

    def __init__(self, path: Path, *, reactor: IReactorThreads, seconds: Callable[[], float]) -> None:
        self._path = path
        self._reactor = reactor
        self._seconds = seconds
        self._noted: OrderedDict[str, float] = OrderedDict()

    async def note(self, address: Address, until: float) -> str:
        """See srs.Book; kept for a day less."""
        text = str(address)
        name = b32encode(sha256(text.encode()).digest())[:16].decode("ascii").lower()
        if self._noted.get(name, 0.0) < until - _SLACK:
            await self._in_thread(lambda: self._write(name, text, until))
            self._noted[name] = until
            self._noted.move_to_end(name)
            if len(self._noted) > _IN_MEMORY:
                self._noted.popitem(last=False)
        return name

    async def address(self, name: str) -> Address | None:
        """See srs.Book."""
        found = await self._in_thread(lambda: self._read(name))
        return None if found is None else Address.parse(found, utf8=True)

    def _write(self, name: str, text: str, until: float) -> None:
        with closing(self._open()) as database, database:
            database.execute("DELETE FROM sender WHERE until < ?", (self._seconds(),))
            database.execute("INSERT OR REPLACE INTO sender VALUES (?, ?, ?)", (name, text, until))
            (count,) = database.execute("SELECT count(*) FROM sender").fetchone()
            if count > MOST:
                eldest = "SELECT name FROM sender ORDER BY until LIMIT ?"
                database.execute(f"DELETE FROM sender WHERE name IN ({eldest})", (count - MOST,))

    def _read(self, name: str) -> str | None:
        if not self._path.exists():
            return None
        with closing(self._open()) as database:
            row = database.execute("SELECT address FROM sender WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=5.0)
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(_TABLE)
        database.execute(_INDEX)
        return database

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work)
        except (sqlite3.Error, OSError) as error:
            self.log.error("{path}: {error}", path=self._path, error=error)
            raise unexpected() from error
