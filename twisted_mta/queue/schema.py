"""The tables of the queue, their versions, and the opening of the database file.

The tables are portable SQL. What belongs to SQLite alone, the file and its pragmas, is here in `connect`.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from twisted_mta.database import keep_before_upgrade
from twisted_mta.queue.reserve import largest_log

_PAGE = 4096  # octets

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
    (
        # A row only for messages that have any of it. What is read for every recipient that is due must not
        # stand behind the body in a message's row: SQLite would walk through the pages of the body.
        """CREATE TABLE parameters (
            message INTEGER PRIMARY KEY REFERENCES message (number) ON DELETE CASCADE,
            account TEXT NOT NULL,       -- that submitted it; '': nobody logged in
            smtputf8 INTEGER NOT NULL,   -- 0 or 1, as all flags here
            ret TEXT NOT NULL,           -- FULL, HDRS or '' (RFC 3461), as envid
            envid TEXT NOT NULL,
            require_tls INTEGER NOT NULL,
            priority INTEGER NOT NULL,
            hold_until REAL NOT NULL,    -- 0: at once
            deliver_by REAL,             -- NULL: no such deadline (RFC 2852), as the two that follow
            by_notify INTEGER NOT NULL,
            by_trace INTEGER NOT NULL,
            tracking TEXT NOT NULL       -- the certifier of MTRK (RFC 3885) or ''
        )""",
        "ALTER TABLE recipient ADD COLUMN notify TEXT NOT NULL DEFAULT ''",  # as in RCPT (RFC 3461)
        "ALTER TABLE recipient ADD COLUMN orcpt TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE recipient ADD COLUMN delay_told INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE recipient ADD COLUMN route TEXT NOT NULL DEFAULT ''",  # next hop given by hand
        "ALTER TABLE recipient ADD COLUMN returned INTEGER NOT NULL DEFAULT 0",  # to the sender, by hand
        # Where a row goes in an index by domain is a matter of chance: in a long queue every message would
        # dirty a page of its own. So only those are in it that are looked for by domain.
        "DROP INDEX recipient_domain",
        "ALTER TABLE recipient ADD COLUMN passed_over INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX recipient_passed_over ON recipient (domain, next_attempt, number) "
        "WHERE state = 'waiting' AND passed_over = 1",
        "ALTER TABLE intervention ADD COLUMN recipient TEXT NOT NULL DEFAULT ''",  # '': the whole message
    ),
    # Why it belongs into the mailbox for junk; '': it does not.
    ("ALTER TABLE parameters ADD COLUMN junk TEXT NOT NULL DEFAULT ''",),
)


class DamagedDatabase(sqlite3.DatabaseError):
    """The file does not hold what was written to it."""


class SchemaTooNew(Exception):
    """The database was written by a later version of this program."""


def connect(path: Path, *, timeout: float = 30.0, damaged: bool = False) -> sqlite3.Connection:
    """Open or create the database file. timeout: seconds to wait for another process's transaction. damaged:
    only to read what can be read; of an older version, whose tables cannot be walked through for new indexes.

    `synchronous = FULL` in WAL mode syncs the log at every commit: a returned COMMIT is on disk.
    """
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
    try:
        for pragma in (
            f"page_size = {_PAGE}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "secure_delete = OFF",  # Debian's default is to overwrite what is deleted: twice the writing
            f"wal_autocheckpoint = {max(1, largest_log(path.parent) // _PAGE)}",
            "journal_size_limit = 67108864",  # octets the log keeps once it was emptied
            "cache_size = -16000",  # KiB
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        _migrate(connection, path, damaged)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path, damaged: bool) -> None:
    known = len(MIGRATIONS)
    if (version := _version(connection)) < known:
        if version and not damaged:
            keep_before_upgrade(path, version)
        connection.execute("BEGIN EXCLUSIVE")
        try:
            for statements in MIGRATIONS[_version(connection) :]:
                for statement in statements:
                    if not (damaged and " INDEX " in statement):
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
