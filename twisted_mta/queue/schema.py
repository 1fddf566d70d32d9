"""The tables of the queue, their versions, and the opening of the database file.

The tables are portable SQL. What belongs to SQLite alone, the file and its pragmas, is here in `connect`.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

# One entry a version, never changed once released: add another. A recipient's row outlives its delivery
# until the message is finished, and the unique index then keeps an address that is reached twice, by name
# and through an alias, from being delivered to twice, and an alias loop from turning.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE message (
            number INTEGER PRIMARY KEY,  -- the queue id as a number
            reverse_path TEXT,           -- NULL: the null path
            body_type TEXT NOT NULL,
            arrived REAL NOT NULL,       -- seconds since the epoch, as all times here
            size INTEGER NOT NULL,       -- octets of head and body
            checksum INTEGER NOT NULL,   -- CRC-32 of the body
            head BLOB NOT NULL,
            body BLOB                    -- NULL: in the spool file of that queue id
        )""",
        """CREATE TABLE recipient (
            number INTEGER PRIMARY KEY,
            message INTEGER NOT NULL REFERENCES message (number) ON DELETE CASCADE,
            forward_path TEXT NOT NULL,
            original_path TEXT,          -- the sender's word for it, when an alias led here
            domain TEXT NOT NULL,
            state TEXT NOT NULL,         -- waiting, held; ended: delivered, relayed, expanded, failed
            next_attempt REAL NOT NULL,
            attempts INTEGER NOT NULL,
            last_attempt REAL,
            status TEXT NOT NULL,        -- of the last attempt, as the two that follow
            diagnostic TEXT NOT NULL,
            remote_mta TEXT NOT NULL
        )""",
        "CREATE UNIQUE INDEX recipient_path ON recipient (message, lower(forward_path))",
        "CREATE INDEX recipient_due ON recipient (next_attempt, number) WHERE state = 'waiting'",
        "CREATE INDEX recipient_domain ON recipient (domain, next_attempt) WHERE state = 'waiting'",
        # What was done by hand, until the running server, or the next one, has told of it.
        "CREATE TABLE intervention (message INTEGER NOT NULL, action TEXT NOT NULL)",
    ),
)


class DamagedDatabase(sqlite3.DatabaseError):
    """The file does not hold what was written to it."""


class SchemaTooNew(Exception):
    """The database was written by a later version of this program."""


def connect(path: Path, *, timeout: float = 30.0) -> sqlite3.Connection:
    """Open or create the database file. timeout: seconds to wait for another process's transaction.

    `synchronous = FULL` in WAL mode syncs the log at every commit: a returned COMMIT is on disk.
    """
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
    try:
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "secure_delete = OFF",  # Debian's default is to overwrite what is deleted: twice the writing
            "wal_autocheckpoint = 4000",  # pages
            "journal_size_limit = 67108864",  # octets the log keeps once it was emptied
            "cache_size = -16000",  # KiB
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    known = len(MIGRATIONS)
    if (version := _version(connection)) < known:
        connection.execute("BEGIN EXCLUSIVE")
        try:
            for statements in MIGRATIONS[_version(connection) :]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {known}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
    elif version > known:
        raise SchemaTooNew(
            f"The queue database is of version {version}, written by a later release; this release knows "
            f"versions up to {known}. Start the later release again, or move the queue directory aside."
        )


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
