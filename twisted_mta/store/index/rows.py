"""Rows of an account's index as values, and how a connection to it is made and asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

_ROWS = 64  # in one INSERT: with each call SQLite gives up the interpreter, and getting it back costs more
_MANY = 500  # UIDs in one statement
_SPARSE = 3  # from this many numbers for each UID on they are looked up one by one
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


@dataclass(slots=True)
class MailboxRow:
    """A row of `mailboxes`. `stamp` holds the times of `new` and `cur`; `special_uses`: as `MailboxInfo`."""

    id: int
    name: str
    directory: str
    uid_validity: int
    special_uses: frozenset[str]
    stamp: tuple[int, int]
    settled: bool
    object_id: str
    moved_from: str | None = None


class Message(NamedTuple):
    """A row of `messages` without its mailbox. email, save_date: 0 in a row that is still to be added means
    an email of its own, and now."""

    uid: int
    name: str
    directory: str
    tail: str
    flags: int
    keywords: str
    size: int
    internal_date: float
    modseq: int
    email: int = 0
    save_date: float = 0.0


class Marked(NamedTuple):
    """Messages that have one combination of flags now: the bits, the keywords as the index holds them, the
    UIDs in ascending order."""

    bits: int
    keywords: str
    uids: Sequence[int]


class FileRow(NamedTuple):
    """Where the octets of a message are, and how many they are with CRLF line ends."""

    uid: int
    name: str
    directory: str
    tail: str
    size: int
    email: int


def special_uses(column: str) -> frozenset[str]:
    """What the column of that name holds: words between spaces."""
    return frozenset(column.split())


def is_corruption(error: sqlite3.Error) -> bool:
    """True when the database file itself is broken: only then is it thrown away."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _CORRUPT


def is_emptied(error: sqlite3.Error) -> bool:
    """True when the database lacks what it was made with: the file has been emptied, or replaced."""
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_ERROR and "no such table" in str(error)


def is_full(error: sqlite3.Error) -> bool:
    """True when there is no space left for the database."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def connect(path: str) -> sqlite3.Connection:
    """The database, without transactions of Python's making."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    db.execute("PRAGMA cache_size = -512")
    return db


def insert_rows(db: sqlite3.Connection, into: str, row: str, rows: Sequence[Sequence[Any]]) -> None:
    """Many at a time. into: "INSERT INTO …"; row: the values of one, as `(?, ?)`."""
    for start in range(0, len(rows), _ROWS):
        some = rows[start : start + _ROWS]
        db.execute(f"{into} VALUES {', '.join([row] * len(some))}", list(chain.from_iterable(some)))


def rows_of_uids(
    db: sqlite3.Connection, sql: str, values: tuple[Any, ...], uids: Sequence[int], column: str = "uid"
) -> Iterator[tuple[Any, ...]]:
    """The rows of these UIDs in ascending order; `column` is the first of the statement, which ends in a
    condition. UIDs that lie close together are read as one range."""
    wanted = sorted(set(uids))
    ranged = f"{sql} AND {column} BETWEEN ? AND ? ORDER BY {column}"
    if wanted and wanted[-1] - wanted[0] < len(wanted):
        yield from db.execute(ranged, (*values, wanted[0], wanted[-1]))
    elif wanted and wanted[-1] - wanted[0] < _SPARSE * len(wanted):
        there = frozenset(wanted)
        for row in db.execute(ranged, (*values, wanted[0], wanted[-1])):
            if row[0] in there:
                yield row
    else:
        for start in range(0, len(wanted), _MANY):
            some = wanted[start : start + _MANY]
            marks = ",".join("?" * len(some))
            yield from db.execute(f"{sql} AND {column} IN ({marks}) ORDER BY {column}", (*values, *some))
