"""Every statement that touches the journey's tables, the tables, their versions, and the opening of the file.

An event is a row; a handle is what its message can be found by: an address, or a Message-ID with its angle
brackets, in lower case. What a sender may ask for from outside (MTRK, RFC 3885) is a row of `tracked`.

One thread of a server's process writes, in batches; any process may read at the same time. A power cut costs
the last seconds at most (`synchronous = NORMAL`): this is a record of the mail, not the mail.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from twisted_mta.database import Database

# One entry a version, never changed once released: add another.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE event (
            number INTEGER PRIMARY KEY,
            time REAL NOT NULL,          -- seconds since the epoch
            message TEXT NOT NULL,       -- the queue id; '': a refusal before there was one
            stage TEXT NOT NULL,
            facts TEXT NOT NULL          -- a JSON object
        )""",
        "CREATE INDEX event_message ON event (message)",
        "CREATE INDEX event_refused ON event (number) WHERE stage = 'refused'",
        """CREATE TABLE handle (
            handle TEXT NOT NULL,
            event INTEGER NOT NULL,
            PRIMARY KEY (handle, event)
        ) WITHOUT ROWID""",
        "CREATE INDEX handle_event ON handle (event)",
        """CREATE TABLE tracked (
            event INTEGER PRIMARY KEY,   -- that told of the request
            envid TEXT NOT NULL,
            certifier TEXT NOT NULL,     -- base64 of the SHA-1 of the secret
            message TEXT NOT NULL
        )""",
        "CREATE INDEX tracked_envid ON tracked (envid)",
    ),
)
_MOST_ROWS = 64  # in one INSERT: a call into SQLite gives up the interpreter, and getting it back costs more


class Event(NamedTuple):
    """A row of `event`. `facts` is JSON."""

    number: int
    time: float
    message: str
    stage: str
    facts: str


class JourneyDatabase(Database):
    """One open connection. Every method raises sqlite3.Error when the disk or the file is at fault."""

    def __init__(self, path: Path) -> None:
        """Opens, and creates or migrates. Raises sqlite3.Error or SchemaTooNew."""
        super().__init__(
            path,
            MIGRATIONS,
            pragmas=(
                "secure_delete = OFF",
                "wal_autocheckpoint = 4000",  # pages
                "journal_size_limit = 67108864",  # octets
                "auto_vacuum = NONE",  # what is pruned makes room for what comes
                "temp_store = MEMORY",  # a batch would make files, to be able to take back half a statement
            ),
        )

    def last(self) -> int:
        """The greatest event number, 0 when there is none."""
        number: int | None = self._execute("SELECT max(number) FROM event").fetchone()[0]
        return number or 0

    def add(
        self,
        events: Sequence[Event],
        handles: Iterable[tuple[str, int]],
        tracked: Sequence[tuple[int, str, str, str]],
    ) -> None:
        """Record all of these, in a transaction of the caller's: events, their handles, and requests to be
        tracked (event, envid, certifier, message)."""
        self._insert("event", events)
        self._insert("handle", list(dict.fromkeys(handles)))
        self._insert("tracked", tracked)

    def _insert(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Pieces whose lengths are powers of two: few statements to prepare."""
        start = 0
        while start < len(rows):
            count = min(_MOST_ROWS, 1 << ((len(rows) - start).bit_length() - 1))
            values = ",".join([f"({','.join('?' * len(rows[0]))})"] * count)
            piece = rows[start : start + count]
            self._execute(f"INSERT INTO {table} VALUES {values}", list(chain.from_iterable(piece)))
            start += count

    def prune(self, before: float, refusals: int, limit: int) -> bool:
        """Forget events older than `before`, and refusals beyond the newest `refusals`, at most `limit` of
        each; whether there may be more to forget."""
        oldest = self._execute("SELECT number, time FROM event ORDER BY number LIMIT ?", (limit,)).fetchall()
        old = [number for number, time in oldest if time < before]
        beyond = "SELECT number FROM event WHERE stage = 'refused' ORDER BY number DESC LIMIT ? OFFSET ?"
        many = [number for (number,) in self._execute(beyond, (limit, refusals))]
        with self.transaction():
            for table, column in (("handle", "event"), ("tracked", "event"), ("event", "number")):
                statement = f"DELETE FROM {table} WHERE {column} = ?"
                self._connection.executemany(statement, [(number,) for number in {*old, *many}])
        return limit in (len(old), len(many))


class JourneyReader:
    """Reads what a server writes, or wrote. Methods raise sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.Error when there is no such file, or it is none."""
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0)

    def close(self) -> None:
        """Close."""
        self._connection.close()

    def events(self, message: str, limit: int) -> list[Event]:
        """The first `limit` events of a message, oldest first."""
        statement = "SELECT * FROM event WHERE message = ? ORDER BY time, number LIMIT ?"
        return [Event(*row) for row in self._connection.execute(statement, (message, limit))]

    def found_by(self, handle: str, since: float, limit: int) -> list[Event]:
        """The newest `limit` events that have this handle, newest first."""
        statement = (
            "SELECT event.* FROM handle JOIN event ON event.number = handle.event "
            "WHERE handle.handle = ? AND event.time >= ? ORDER BY handle.event DESC LIMIT ?"
        )
        return [Event(*row) for row in self._connection.execute(statement, (handle, since, limit))]

    def tracked(self, envid: str, limit: int) -> list[tuple[str, str]]:
        """Certifier and message of each request under this envelope identifier, newest first."""
        statement = "SELECT certifier, message FROM tracked WHERE envid = ? ORDER BY event DESC LIMIT ?"
        return list(self._connection.execute(statement, (envid, limit)))
