"""Opening the queue when its database may be damaged: move it aside, save what can be read, go on.

Damage is found at the start, when the file is small enough to be read through, and otherwise when a
statement meets it. Nothing is ever repaired in place: the damaged files stay in `quarantine/` for whoever
has better tools.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twisted_mta.queue.database import QueueDatabase
from twisted_mta.queue.refusal import sqlite_code
from twisted_mta.queue.schema import DamagedDatabase

_CHECK_LIMIT = 64 << 20  # octets: about a fifth of a second to read through
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


@dataclass(frozen=True, slots=True)
class Quarantine:
    """What happened to a damaged database: where it is now, how many messages were saved from it, and
    how many were seen but could not be read."""

    directory: Path
    saved: int
    lost: int


def is_damage(error: BaseException) -> bool:
    """True when SQLite says that the file is not what it wrote."""
    return isinstance(error, DamagedDatabase) or sqlite_code(error) in _DAMAGE


def open_database(path: Path, now: float) -> tuple[QueueDatabase, Quarantine | None]:
    """Open the queue's database, a new one when the old one is damaged. now: seconds since the epoch,
    for the name of the quarantine. Raises sqlite3.Error, OSError or SchemaTooNew."""
    try:
        return _open_sound(path), None
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
    aside = _move_aside(path, now)
    fresh = QueueDatabase(path)
    saved, lost = _salvage(aside / path.name, fresh)
    return fresh, Quarantine(aside, saved, lost)


def _open_sound(path: Path) -> QueueDatabase:
    size = path.stat().st_size if path.exists() else -1
    if size == 0:  # SQLite would take it for a new database, and throw its log away
        raise DamagedDatabase("the queue database is empty")
    database = QueueDatabase(path)
    try:
        if size <= _CHECK_LIMIT:
            database.check()
    except BaseException:
        database.close()
        raise
    return database


def _move_aside(path: Path, now: float) -> Path:
    quarantine = path.parent / "quarantine"
    names = (f"{now:.0f}-{number}" for number in itertools.count(1))
    directory = next(quarantine / name for name in names if not (quarantine / name).exists())
    directory.mkdir(mode=0o700, parents=True)
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(path.name + suffix)
        if file.exists():
            os.rename(file, directory / file.name)
    return directory


def _salvage(damaged: Path, fresh: QueueDatabase) -> tuple[int, int]:
    if damaged.stat().st_size == 0:
        return 0, 0
    try:
        source = QueueDatabase(damaged, damaged=True)
    except sqlite3.Error:
        return 0, 0
    saved, lost = 0, 0
    try:
        for number in sorted(set(_readable_numbers(source))):
            try:
                message, recipients = source.message(number), source.recipients(number)
                if message is None or not recipients:
                    raise DamagedDatabase("incomplete")
                with fresh.transaction():
                    fresh.restore(message, recipients)
                saved += 1
            except sqlite3.Error:
                lost += 1
    finally:
        source.close()
    return saved, lost


def _readable_numbers(source: QueueDatabase) -> Iterator[int]:
    """Every message number that some part of the database still tells: a walk ends at the first page that
    cannot be read, so walk both tables from both ends."""
    for by_recipient in (False, True):
        for descending in (False, True):
            try:
                yield from source.numbers(descending=descending, by_recipient=by_recipient)
            except sqlite3.Error:
                continue
