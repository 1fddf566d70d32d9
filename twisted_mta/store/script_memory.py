"""What an account's Sieve scripts have to remember: whom they answered, and mail that has come (RFC 5230
§4.2, RFC 7352). A small database beside the scripts; to lose it is to answer somebody twice. Plain blocking
functions.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from twisted_mta.store.scripts import DIRECTORY

_FILE = "memory.sqlite"
_MOST = 100_000  # things remembered; beyond them those that end first are forgotten
_TABLE = "CREATE TABLE IF NOT EXISTS seen (key BLOB PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID"


class ScriptMemory:
    """Of the account whose home directory this is. Times are seconds since the epoch. All methods raise
    sqlite3.Error and OSError."""

    def __init__(self, home: Path) -> None:
        self._path = home / DIRECTORY / _FILE

    def knows(self, key: str, now: float) -> bool:
        """Whether this is remembered."""
        if not self._path.exists():
            return False
        with self._open() as database:
            row = database.execute("SELECT until FROM seen WHERE key = ?", (_digest(key),)).fetchone()
        return row is not None and row[0] > now

    def remember(self, until: dict[str, float], now: float) -> None:
        """Remember each key until then."""
        with self._writing() as database:
            database.execute("DELETE FROM seen WHERE until <= ?", (now,))
            rows = [(_digest(key), when) for key, when in until.items()]
            database.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?)", rows)
            _shorten(database)

    def is_new(self, key: str, until: float, now: float) -> bool:
        """Remember a key until then, unless it is remembered already. Of several that ask at once, one is
        told that it is new."""
        with self._writing() as database:
            database.execute("DELETE FROM seen WHERE until <= ?", (now,))
            row = (_digest(key), until)
            added = database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", row).rowcount
            _shorten(database)
        return added > 0

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.commit()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=5.0)) as database:
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(_TABLE)
            yield database


def _shorten(database: sqlite3.Connection) -> None:
    (count,) = database.execute("SELECT count(*) FROM seen").fetchone()
    if count > _MOST:
        oldest = "SELECT key FROM seen ORDER BY until LIMIT ?"
        database.execute(f"DELETE FROM seen WHERE key IN ({oldest})", (count - _MOST,))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:16]
