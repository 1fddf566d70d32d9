"""The SQLite files beside the mail: how each of them is opened, brought up to date, and set aside when it is
damaged.

Before a file is brought up to date it is kept as it was, so that the earlier release can be run again; one of
a later release is refused. Plain and blocking, for one thread at a time; `database_thread.py` has the thread.
The queue and the indexes of accounts have more at stake and open their files themselves.
"""

from __future__ import annotations

import glob
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Literal

from twisted_mta.durable import sync

BUSY = 10.0  # seconds to wait for another process that is writing
_AGAIN = 0.01  # seconds between two attempts, where SQLite does not wait by itself

# One entry a version, never changed once released: add another.
Migrations = Sequence[Sequence[str]]


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and no other process writes meanwhile. Raises sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


class SchemaTooNew(sqlite3.OperationalError):
    """The file was written by a later release of this program; the text says so in a sentence."""


class Database:
    """One open connection in WAL mode. Every method raises sqlite3.Error when the disk or the file is at
    fault."""

    def __init__(
        self,
        path: Path,
        migrations: Migrations,
        *,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        timeout: float = BUSY,
        pragmas: Sequence[str] = (),
        damaged: Callable[[Path], None] | None = None,
    ) -> None:
        """Opens, and creates or migrates. synchronous: FULL when what is written has to outlive a power cut,
        NORMAL when the latest of it may be lost. pragmas: more of them, as "name = value". `damaged` is told
        where a file went that could not be used; without it, that is raised. Raises sqlite3.Error,
        SchemaTooNew."""
        self._migrations = migrations
        self._pragmas = (f"synchronous = {synchronous}", *pragmas)
        try:
            self._open(path, timeout)
        except sqlite3.DatabaseError as error:
            if damaged is None or isinstance(error, sqlite3.OperationalError):
                raise
            damaged(_set_aside(path))
            self._open(path, timeout)

    def _open(self, path: Path, timeout: float) -> None:
        self._connection = sqlite3.connect(
            path, timeout=timeout, isolation_level=None, check_same_thread=False
        )
        self._execute = self._connection.execute
        try:
            _write_ahead(self._connection, timeout)
            for pragma in self._pragmas:
                self._execute(f"PRAGMA {pragma}").fetchall()
            self._migrate(path)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close; the last one to close folds the log into the file."""
        self._connection.close()

    def data_version(self) -> int:
        """A number that changes when another connection has changed the file (a few microseconds)."""
        return int(self._execute("PRAGMA data_version").fetchone()[0])

    def transaction(self) -> AbstractContextManager[None]:
        """See `transaction`."""
        return transaction(self._connection)

    def _migrate(self, path: Path) -> None:
        known = len(self._migrations)
        version = self._version()
        if version > known:
            raise SchemaTooNew(too_new(path, version, known))
        if version < known:
            if version:
                keep_before_upgrade(path, version)
            with self.transaction():
                for statements in self._migrations[self._version() :]:  # another process may have been first
                    for statement in statements:
                        self._execute(statement)
                self._execute(f"PRAGMA user_version = {known}")

    def _version(self) -> int:
        return int(self._execute("PRAGMA user_version").fetchone()[0])


def _write_ahead(connection: sqlite3.Connection, timeout: float) -> None:
    """WAL mode. Where two processes make the same file SQLite does not wait here, whatever its timeout is.
    Blocking. Raises sqlite3.Error."""
    end = time.monotonic() + timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        time.sleep(_AGAIN)


def too_new(path: Path, version: int, known: int) -> str:
    """Why this release does not open that database, and what to do."""
    return (
        f"{path.name} is of version {version}, written by a later release of twisted_mta; this one knows "
        f"{known}: run that release, or put the file back from a backup made before the upgrade"
    )


def keep_before_upgrade(path: Path, version: int) -> None:
    """A copy of the database as it is now, of that version, beside it: `….version-N`, in place of one of an
    earlier version. On disk when this returns. Raises sqlite3.Error, OSError: it stays as it is then."""
    copy = path.with_name(f"{path.name}.version-{version}")
    draft = path.with_name(f"{copy.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        with (
            closing(sqlite3.connect(path, timeout=BUSY)) as source,
            closing(sqlite3.connect(draft)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
            (copied,) = target.execute("PRAGMA user_version").fetchone()
        if copied != version:  # another process was first, and has kept one
            return
        sync(draft)
        draft.replace(copy)
        sync(path.parent)
        for earlier in path.parent.glob(f"{glob.escape(path.name)}.version-*"):
            if earlier != copy and not earlier.name.endswith(".new"):
                earlier.unlink(missing_ok=True)
    finally:
        draft.unlink(missing_ok=True)


def _set_aside(path: Path) -> Path:
    """With its log, under the name "….damaged", in place of an earlier one."""
    aside = path.with_name(f"{path.name}.damaged")
    for end in ("", "-wal", "-shm"):
        new = aside.with_name(aside.name + end)
        new.unlink(missing_ok=True)
        old = path.with_name(path.name + end)
        if old.exists():
            old.rename(new)
    return aside
