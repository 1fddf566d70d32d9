"""Databases of an earlier release are kept before they are brought up to date; those of a later one are
refused, and not touched."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from twisted_mta import database
from twisted_mta.database import Database, SchemaTooNew, keep_before_upgrade
from twisted_mta.queue.database import QueueDatabase
from twisted_mta.queue.schema import MIGRATIONS as QUEUE
from twisted_mta.queue.schema import SchemaTooNew as QueueTooNew
from twisted_mta.store.index.index import Index
from twisted_mta.store.index.schema import MIGRATIONS as INDEX

ONE = (("CREATE TABLE one (x)", "INSERT INTO one VALUES (1)"),)
TWO = (*ONE, ("DROP TABLE one", "CREATE TABLE two (x)"))
THREE = (*TWO, ("CREATE TABLE three (x)",))


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def test_it_is_kept_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    Database(path, ONE).close()
    assert list(tmp_path.iterdir()) == [path]
    Database(path, TWO).close()
    kept = tmp_path / "a.sqlite.version-1"
    assert sorted(tmp_path.iterdir()) == [path, kept]
    with closing(sqlite3.connect(kept)) as database:
        assert database.execute("SELECT x FROM one").fetchall() == [(1,)]
    assert kept.stat().st_mode & 0o077 == 0
    Database(path, THREE).close()
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "a.sqlite.version-2"]
    kept.with_name("a.sqlite.version-2").rename(path)  # the way back
    Database(path, TWO).close()
    with pytest.raises(SchemaTooNew, match=r"a\.sqlite is of version 2, .* knows 1: run that release"):
        Database(path, ONE)


def test_what_cannot_be_kept_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    Database(path, ONE).close()
    (tmp_path / "a.sqlite.version-1").mkdir()  # in the way
    with pytest.raises(OSError, match="version-1"):
        Database(path, TWO)
    assert version(path) == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_another_process_was_first(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    Database(path, TWO).close()
    keep_before_upgrade(path, 1)
    assert list(tmp_path.iterdir()) == [path]


class Waiting:
    """The clock of who waits; what is waited for happens meanwhile."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self._happens = happens

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        self._happens()


def test_two_processes_may_make_the_same_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # as while it changes to WAL: SQLite waits for nobody then
        monkeypatch.setattr(database, "time", Waiting(lambda: other.execute("ROLLBACK")))
        made = Database(path, (("CREATE TABLE thing (name TEXT)",),), timeout=0.0)
        made.close()
    assert version(path) == 1


def test_the_queue_and_the_index_are_kept_too(tmp_path: Path) -> None:
    queue, index = tmp_path / "queue.sqlite", tmp_path / "index.sqlite"
    with closing(sqlite3.connect(queue, isolation_level=None)) as database:
        for statement in QUEUE[0]:
            database.execute(statement)
        database.execute("PRAGMA user_version = 1")
    with closing(sqlite3.connect(index, isolation_level=None)) as database:
        database.executescript(f"BEGIN;{INDEX[0]}PRAGMA user_version = 1;COMMIT;")
    QueueDatabase(queue).close()
    Index(str(index)).close()
    for path, known in ((queue, QUEUE), (index, INDEX)):
        assert version(path) == len(known)
        assert version(path.with_name(f"{path.name}.version-1")) == 1
        with closing(sqlite3.connect(path)) as database:
            database.execute(f"PRAGMA user_version = {len(known) + 1}")
    with pytest.raises(QueueTooNew, match="written by a later release"):
        QueueDatabase(queue)
    with pytest.raises(SchemaTooNew, match="written by a later release"):
        Index(str(index))
    assert (version(queue), version(index)) == (len(QUEUE) + 1, len(INDEX) + 1)
