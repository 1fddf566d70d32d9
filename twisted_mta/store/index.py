"""The index of one account: every SQL statement of the store (SQLite, WAL).

It gives messages their UIDs and remembers what a Maildir cannot: keywords, mod-sequences, the names and
special uses of mailboxes, renderings. Messages themselves are never in it, so losing it loses none.

Durability: transactions are committed with synchronous=NORMAL, which a power failure may undo. UIDs must
survive that (RFC 3501 §2.3.1.1), so they are taken from blocks: `uid_reserved` is committed with
synchronous=FULL before any UID below it is given, and after a reboot numbering goes on from that mark.

All methods block and belong to one thread at a time; `Reader` may be used from any.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from twisted_mta.store.maildir import Place

UID_BLOCK = 1000  # UIDs reserved at a time, one sync each
MODSEQ_LEAP = 1_000_000  # more steps than ever wait for a checkpoint
_MANY = 500  # UIDs in one statement; beyond, a range is read and filtered
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

MIGRATIONS = (
    """
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE mailboxes (
        id INTEGER PRIMARY KEY,             -- never used again, even by the next index of this account
        name TEXT NOT NULL UNIQUE,
        directory TEXT NOT NULL UNIQUE,
        uid_validity INTEGER NOT NULL,
        uid_next INTEGER NOT NULL,
        uid_reserved INTEGER NOT NULL,      -- durable: every UID given so far is below it
        recent_from INTEGER NOT NULL,       -- the first UID that no session has been told of as recent
        highest_modseq INTEGER NOT NULL,
        special_use TEXT NOT NULL,
        moved_from TEXT,                    -- a rename under way: the directory's old name
        new_stamp INTEGER NOT NULL,         -- modification times of new and cur, in nanoseconds, when
        cur_stamp INTEGER NOT NULL,         -- index and directories last agreed
        settled INTEGER NOT NULL            -- 1: no later change can hide behind the same times
    );
    CREATE TABLE messages (
        mailbox INTEGER NOT NULL,
        uid INTEGER NOT NULL,
        name TEXT NOT NULL,                 -- base name of the file
        directory TEXT NOT NULL,            -- new or cur
        tail TEXT NOT NULL,                 -- what follows it, as last seen
        flags INTEGER NOT NULL,             -- bits of the system flags
        keywords TEXT NOT NULL,             -- sorted, a space between
        size INTEGER NOT NULL,              -- octets with CRLF
        internal_date REAL NOT NULL,        -- seconds since the epoch
        modseq INTEGER NOT NULL,
        PRIMARY KEY (mailbox, uid)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX messages_by_name ON messages (mailbox, name);
    CREATE TABLE renderings (
        mailbox INTEGER NOT NULL,
        uid INTEGER NOT NULL,
        kind TEXT NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (mailbox, uid, kind)
    ) WITHOUT ROWID;
    CREATE TABLE subscriptions (name TEXT PRIMARY KEY) WITHOUT ROWID;
    """,
)


@dataclass(slots=True)
class MailboxRow:
    """A row of `mailboxes`. `stamp` holds the times of `new` and `cur`."""

    id: int
    name: str
    directory: str
    uid_validity: int
    special_use: str
    stamp: tuple[int, int]
    settled: bool
    moved_from: str | None = None


class Message(NamedTuple):
    """A row of `messages` without its mailbox."""

    uid: int
    name: str
    directory: str
    tail: str
    flags: int
    keywords: str
    size: int
    internal_date: float
    modseq: int


_MAILBOX = (
    "SELECT id, name, directory, uid_validity, special_use, new_stamp, cur_stamp, settled, moved_from"
    " FROM mailboxes"
)
_MESSAGE = "SELECT uid, name, directory, tail, flags, keywords, size, internal_date, modseq FROM messages"


def is_corruption(error: sqlite3.Error) -> bool:
    """True when the database file itself is broken: only then is it thrown away."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _CORRUPT


def is_full(error: sqlite3.Error) -> bool:
    """True when there is no space left for the database."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


class Index:
    """The database at `path`, created when it is missing. Raises sqlite3.Error."""

    def __init__(self, path: str) -> None:
        self._db = _connect(path)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._normal()
            self._migrate()
        except BaseException:
            self._db.close()
            raise

    def _migrate(self) -> None:
        version = int(self._one("PRAGMA user_version")[0])
        for number in range(version, len(MIGRATIONS)):
            self._db.executescript(f"BEGIN;{MIGRATIONS[number]}PRAGMA user_version = {number + 1};COMMIT;")

    def close(self) -> None:
        """Write everything into the one file, and close."""
        self._db.close()

    def _normal(self) -> None:
        self._db.execute("PRAGMA synchronous = NORMAL")

    @contextmanager
    def transaction(self, durable: bool = False) -> Iterator[None]:
        """All or nothing. `durable`: and on the disk itself, whatever happens to the power."""
        if durable:
            self._db.execute("PRAGMA synchronous = FULL")
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        finally:
            if durable:
                self._normal()

    def _one(self, sql: str, *values: Any) -> Any:
        return self._db.execute(sql, values).fetchone()

    # The account

    def fact(self, name: str) -> str | None:
        """A named fact about this index."""
        row = self._one("SELECT value FROM facts WHERE name = ?", name)
        return None if row is None else str(row[0])

    def set_fact(self, name: str, value: str) -> None:
        """Remember a fact."""
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def begin_after_reboot(self, boot: str) -> None:
        """Another boot than the last one: go on behind the reserved UIDs and whatever mod-sequences may
        have been told, trust no directory time."""
        if self._one("PRAGMA quick_check(1)")[0] != "ok":
            error = sqlite3.DatabaseError("quick_check failed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        with self.transaction():
            self._db.execute(
                "UPDATE mailboxes SET uid_next = max(uid_next, uid_reserved),"
                " highest_modseq = highest_modseq + ?, new_stamp = 0, settled = 0",
                (MODSEQ_LEAP,),
            )
            self.set_fact("boot", boot)

    # Mailboxes

    def mailboxes(self) -> list[MailboxRow]:
        """Every mailbox, by name."""
        return [_mailbox(row) for row in self._db.execute(_MAILBOX + " ORDER BY name")]

    def mailbox(self, name: str) -> MailboxRow | None:
        """The mailbox of that name."""
        row = self._one(_MAILBOX + " WHERE name = ?", name)
        return None if row is None else _mailbox(row)

    def mailbox_numbered(self, number: int) -> MailboxRow | None:
        """The mailbox with that number."""
        row = self._one(_MAILBOX + " WHERE id = ?", number)
        return None if row is None else _mailbox(row)

    def add_mailbox(self, number: int, name: str, directory: str, special_use: str) -> None:
        """A new, empty mailbox; `number` is its identity and its UIDVALIDITY."""
        self._db.execute(
            "INSERT INTO mailboxes VALUES (?, ?, ?, ?, 1, ?, 1, 1, ?, NULL, 0, 0, 0)",
            (number, name, directory, number, 1 + UID_BLOCK, special_use),
        )

    def remove_mailbox(self, mailbox: int) -> None:
        """Forget a mailbox and what is known of its messages."""
        for table, column in (("renderings", "mailbox"), ("messages", "mailbox"), ("mailboxes", "id")):
            self._db.execute(f"DELETE FROM {table} WHERE {column} = ?", (mailbox,))

    def rename_mailbox(self, mailbox: int, name: str, directory: str, moved_from: str | None) -> None:
        """Give a mailbox another name; the directory at `moved_from` is still to be moved."""
        self._db.execute(
            "UPDATE mailboxes SET name = ?, directory = ?, moved_from = ? WHERE id = ?",
            (name, directory, moved_from, mailbox),
        )

    def mailbox_moved(self, mailbox: int) -> None:
        """The directory has its new name."""
        self._db.execute("UPDATE mailboxes SET moved_from = NULL WHERE id = ?", (mailbox,))

    def set_stamp(self, mailbox: int, stamp: tuple[int, int], settled: bool) -> None:
        """Index and directories agree at these times of `new` and `cur`."""
        self._db.execute(
            "UPDATE mailboxes SET new_stamp = ?, cur_stamp = ?, settled = ? WHERE id = ?",
            (*stamp, settled, mailbox),
        )

    def subscriptions(self) -> list[str]:
        """Every subscribed name."""
        return [name for (name,) in self._db.execute("SELECT name FROM subscriptions ORDER BY name")]

    def subscribe(self, names: Iterable[str]) -> None:
        """Add names; those that are there already stay."""
        self._db.executemany("INSERT OR IGNORE INTO subscriptions VALUES (?)", [(name,) for name in names])

    def unsubscribe(self, name: str) -> bool:
        """Take a name off; False when it was not there."""
        return self._db.execute("DELETE FROM subscriptions WHERE name = ?", (name,)).rowcount > 0

    # Numbers

    def marks(self, mailbox: int) -> tuple[int, int, int]:
        """(uid_next, recent_from, highest_modseq)."""
        uid_next, recent_from, modseq = self._one(
            "SELECT uid_next, recent_from, highest_modseq FROM mailboxes WHERE id = ?", mailbox
        )
        return uid_next, recent_from, modseq

    def reserve(self, mailbox: int, count: int) -> None:
        """Make sure that `count` UIDs can be given; to be called outside a transaction."""
        uid_next, reserved = self._one("SELECT uid_next, uid_reserved FROM mailboxes WHERE id = ?", mailbox)
        if uid_next + count > reserved:
            with self.transaction(durable=True):
                self._db.execute(
                    "UPDATE mailboxes SET uid_reserved = ? WHERE id = ?",
                    (uid_next + count + UID_BLOCK, mailbox),
                )

    def take_uids(self, mailbox: int, count: int) -> tuple[int, int]:
        """Give `count` reserved UIDs: (the first of them, the mod-sequence of this step)."""
        uid_next, _, modseq = self.marks(mailbox)
        self._db.execute(
            "UPDATE mailboxes SET uid_next = ?, highest_modseq = ? WHERE id = ?",
            (uid_next + count, modseq + 1, mailbox),
        )
        return uid_next, modseq + 1

    def next_modseq(self, mailbox: int) -> int:
        """The mod-sequence of this step."""
        _, _, modseq = self.marks(mailbox)
        self._db.execute("UPDATE mailboxes SET highest_modseq = ? WHERE id = ?", (modseq + 1, mailbox))
        return modseq + 1

    def set_recent_from(self, mailbox: int, uid: int) -> None:
        """Messages below `uid` are recent no more."""
        self._db.execute(
            "UPDATE mailboxes SET recent_from = max(recent_from, ?) WHERE id = ?", (uid, mailbox)
        )

    # Messages

    def messages(self, mailbox: int, uids: Sequence[int] | None = None) -> list[Message]:
        """The messages with these UIDs, or all, in ascending order; missing ones are left out."""
        if uids is None:
            everything = self._db.execute(_MESSAGE + " WHERE mailbox = ? ORDER BY uid", (mailbox,))
            return list(map(Message._make, everything))
        return list(map(Message._make, _of_uids(self._db, _MESSAGE + " WHERE mailbox = ?", (mailbox,), uids)))

    def columns(self, mailbox: int) -> Iterator[tuple[int, int, str, int, float, int]]:
        """(uid, flags, keywords, size, internal_date, modseq) of all messages in ascending order."""
        return self._db.execute(
            "SELECT uid, flags, keywords, size, internal_date, modseq FROM messages WHERE mailbox = ?"
            " ORDER BY uid",
            (mailbox,),
        )

    def find(self, mailbox: int, prefix: str) -> int | None:
        """The UID of the message whose base name begins with `prefix` and a "."; or None."""
        row = self._one(
            "SELECT uid FROM messages WHERE mailbox = ? AND name > ? AND name < ?",
            *(mailbox, prefix + ".", prefix + "/"),
        )
        return None if row is None else int(row[0])

    def in_new(self, mailbox: int, first: int) -> list[Message]:
        """The messages from that UID on whose files are still in `new`."""
        rows = self._db.execute(
            _MESSAGE + " WHERE mailbox = ? AND uid >= ? AND directory = 'new' ORDER BY uid", (mailbox, first)
        )
        return list(map(Message._make, rows))

    def add(self, mailbox: int, messages: Iterable[Message]) -> None:
        """New messages, with UIDs from `take_uids`."""
        self._db.executemany(f"INSERT INTO messages VALUES ({mailbox}, ?, ?, ?, ?, ?, ?, ?, ?, ?)", messages)

    def update(self, mailbox: int, messages: Iterable[Message]) -> None:
        """New places, flags, keywords and mod-sequences of messages."""
        self._db.executemany(
            "UPDATE messages SET directory = ?, tail = ?, flags = ?, keywords = ?, modseq = ?"
            " WHERE mailbox = ? AND uid = ?",
            ((m.directory, m.tail, m.flags, m.keywords, m.modseq, mailbox, m.uid) for m in messages),
        )

    def remove(self, mailbox: int, uids: Iterable[int]) -> None:
        """Forget messages and their renderings."""
        keys = [(mailbox, uid) for uid in uids]
        self._db.executemany("DELETE FROM messages WHERE mailbox = ? AND uid = ?", keys)
        self._db.executemany("DELETE FROM renderings WHERE mailbox = ? AND uid = ?", keys)

    def spellings(self, mailbox: int) -> set[str]:
        """Every keyword in use, as it was first written."""
        rows = self._db.execute(
            "SELECT DISTINCT keywords FROM messages WHERE mailbox = ? AND keywords != ''", (mailbox,)
        )
        return {keyword for (keywords,) in rows for keyword in keywords.split()}

    def counts(self, mailbox: int, seen: int, deleted: int) -> tuple[int, int, int, int]:
        """(messages, those without the bit `seen`, those with the bit `deleted`, octets together)."""
        messages, unseen, marked, size = self._one(
            "SELECT count(*), coalesce(sum(flags & ? = 0), 0), coalesce(sum(flags & ? != 0), 0),"
            " coalesce(sum(size), 0) FROM messages WHERE mailbox = ?",
            *(seen, deleted, mailbox),
        )
        return messages, unseen, marked, size

    def recent(self, mailbox: int) -> int:
        """How many messages no session has been told of as recent."""
        row = self._one(
            "SELECT count(*) FROM messages WHERE mailbox = ?"
            " AND uid >= (SELECT recent_from FROM mailboxes WHERE id = ?)",
            *(mailbox, mailbox),
        )
        return int(row[0])

    def keep_renderings(self, mailbox: int, kind: str, renderings: Iterable[tuple[int, bytes]]) -> None:
        """Keep renderings of those messages that are still there."""
        self._db.executemany(
            "INSERT OR REPLACE INTO renderings SELECT mailbox, uid, ?, ? FROM messages"
            " WHERE mailbox = ? AND uid = ?",
            ((kind, data, mailbox, uid) for uid, data in renderings),
        )


class Reader:
    """Lookups for reads that go beside the account's order of execution; opened when first used."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def close(self) -> None:
        """Let go of the database; the next lookup opens it again."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def files(self, mailbox: int, uids: Sequence[int]) -> dict[int, tuple[str, Place]]:
        """UID -> (base name, place). Missing ones are left out; so are all when there is no index."""
        sql = "SELECT uid, name, directory, tail FROM messages WHERE mailbox = ?"
        rows = self._rows(sql, (mailbox,), uids)
        return {uid: (name, Place(directory, tail)) for uid, name, directory, tail in rows}

    def renderings(self, mailbox: int, kind: str, uids: Sequence[int]) -> dict[int, bytes]:
        """UID -> what was kept of that kind."""
        sql = "SELECT uid, data FROM renderings WHERE mailbox = ? AND kind = ?"
        return dict(self._rows(sql, (mailbox, kind), uids))

    def _rows(self, sql: str, values: tuple[Any, ...], uids: Sequence[int]) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                if self._db is None:
                    if not os.path.exists(self._path):
                        return []
                    self._db = _connect(self._path)
                return list(_of_uids(self._db, sql, values, uids))
            except sqlite3.DatabaseError as error:
                if is_corruption(error):
                    return []  # the owner of the index will notice and build it anew
                raise


def _connect(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    db.execute("PRAGMA cache_size = -512")
    return db


def _mailbox(row: tuple[Any, ...]) -> MailboxRow:
    number, name, directory, uid_validity, special_use, new_stamp, cur_stamp, settled, moved_from = row
    return MailboxRow(
        number, name, directory, uid_validity, special_use, (new_stamp, cur_stamp), bool(settled), moved_from
    )


def _of_uids(
    db: sqlite3.Connection, sql: str, values: tuple[Any, ...], uids: Sequence[int]
) -> Iterator[tuple[Any, ...]]:
    """The rows of these UIDs in ascending order; `uid` is the first column of the statement."""
    if not uids:
        return
    wanted = set(uids)
    if len(wanted) > _MANY:
        for row in db.execute(
            sql + " AND uid BETWEEN ? AND ? ORDER BY uid", (*values, min(wanted), max(wanted))
        ):
            if row[0] in wanted:
                yield row
        return
    marks = ",".join("?" * len(wanted))
    yield from db.execute(f"{sql} AND uid IN ({marks}) ORDER BY uid", (*values, *wanted))
