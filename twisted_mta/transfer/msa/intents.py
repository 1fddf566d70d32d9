"""What is about to be sent from Outboxes, on disk: so that a crash neither forgets a message nor repeats it.

A message is written down before its client is told that it will be sent, and again with its queue id before
the queue gets it; it is struck out when the queue has it. Whether the queue got it is then known after a
crash: until the message has been moved out of the Outbox, the queue holds it. Before anything comes into an
Outbox, that it will is written down, too: a crash between leaves messages there that nobody has promised to
send, and whose owner must hear that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from twisted.logger import Logger

from twisted_mta.message.status import MailError, unexpected
from twisted_mta.transfer.msa.database import Database, DatabaseReactor

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS intent (
        account TEXT NOT NULL,
        uid_validity INTEGER NOT NULL,
        uid INTEGER NOT NULL,
        queue_id TEXT NOT NULL,       -- '': not given to the queue yet
        PRIMARY KEY (account, uid_validity, uid)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS expected (
        token INTEGER PRIMARY KEY,
        account TEXT NOT NULL,
        uid_validity INTEGER NOT NULL,
        uid INTEGER NOT NULL          -- with this one, or one behind it, it comes
    )""",
)


class Intent(NamedTuple):
    """A message in the Outbox of an account. `queue_id`: under which the queue may have it, or ""."""

    account: str
    uid_validity: int
    uid: int
    queue_id: str = ""


class Expected(NamedTuple):
    """What comes into the Outbox of an account has UIDs from this one on."""

    token: int
    account: str
    uid_validity: int
    uid: int


class Intents:
    """`path` is the database. All that change it raise MailError (451) when the disk refuses."""

    log = Logger(namespace="twisted_mta.submission")

    def __init__(self, path: Path, *, reactor: DatabaseReactor) -> None:
        self._database = Database(path, reactor=reactor, schema=_SCHEMA, synchronous="FULL")

    async def start(self) -> list[Intent]:
        """Open the database: what an earlier process has left. Raises sqlite3.Error, OSError."""
        await self._database.start()
        return await self._database.ask(_all)

    async def stop(self) -> None:
        """Close it."""
        await self._database.stop()

    async def add(self, intents: Sequence[Intent]) -> None:
        """Write them down; what was written of the same messages before is forgotten."""
        await self._write("INSERT OR REPLACE INTO intent VALUES (?, ?, ?, ?)", intents)

    async def strike_out(self, intent: Intent) -> None:
        """It is done with, one way or the other."""
        await self._write(
            "DELETE FROM intent WHERE account = ? AND uid_validity = ? AND uid = ?", [intent[:3]]
        )

    async def expected(self) -> list[Expected]:
        """What an earlier process was still waiting for. Raises sqlite3.Error."""
        return await self._database.ask(
            lambda connection: [Expected(*row) for row in connection.execute("SELECT * FROM expected")]
        )

    async def expect(self, account: str, uid_validity: int, uid: int) -> int:
        """Messages are about to come; the token for `came`."""
        row = (account, uid_validity, uid)
        insert = "INSERT INTO expected (account, uid_validity, uid) VALUES (?, ?, ?)"
        try:
            return await self._database.ask(lambda connection: connection.execute(insert, row).lastrowid or 0)
        except sqlite3.Error as error:
            raise self._refused(error) from error

    async def came(self, token: int) -> None:
        """They are there and written down, or will not come."""
        await self._write("DELETE FROM expected WHERE token = ?", [(token,)])

    async def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        try:
            await self._database.ask(lambda connection: connection.executemany(statement, rows))
        except sqlite3.Error as error:
            raise self._refused(error) from error

    def _refused(self, error: sqlite3.Error) -> MailError:
        self.log.error("{path}: {error}", path=self._database.path, error=error)
        return unexpected()


def _all(connection: sqlite3.Connection) -> list[Intent]:
    rows = connection.execute("SELECT account, uid_validity, uid, queue_id FROM intent ORDER BY 1, 2, 3")
    return [Intent(*row) for row in rows]
