"""The index of one account: its mailboxes, its messages, their numbers (SQLite, WAL).

It gives messages their UIDs and remembers what a Maildir cannot: keywords, mod-sequences, the names and
special uses of mailboxes, which messages have one content. Messages themselves are never in it, so losing it
loses none. The tables are in `index_schema`, what is known of contents in `index_emails`, lookups for
everybody in `index_reader`: together all SQL of the store.

Durability: transactions are committed with synchronous=NORMAL, which a power failure may undo. UIDs must
survive that (RFC 3501 §2.3.1.1), so they are taken from blocks: `uid_reserved` is committed with
synchronous=FULL before any UID below it is given, and after a reboot numbering goes on from that mark.
Mod-sequences and the numbers of emails leap then.

All methods block and belong to one thread at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted_mta.database import SchemaTooNew, keep_before_upgrade, too_new, transaction
from twisted_mta.store.index.annotations import AnnotationRows
from twisted_mta.store.index.behind import BehindRows
from twisted_mta.store.index.emails import Emails
from twisted_mta.store.index.keys import AccessKeyRows
from twisted_mta.store.index.rows import (
    MailboxRow,
    Marked,
    Message,
    connect,
    insert_rows,
    rows_of_uids,
    special_uses,
)
from twisted_mta.store.index.schema import MIGRATIONS

UID_BLOCK = 1000  # UIDs reserved at a time, one sync each
LEAP = 1_000_000  # more steps, and more emails, than ever wait for a checkpoint
TOMBSTONES = 10_000  # ranges of expunged UIDs that a mailbox remembers
MOST_VANISHED = 100_000  # UIDs that are told of them at once
_TOMBSTONES_MORE = 1000  # that come together before the oldest are forgotten

_MAILBOX = (
    "SELECT id, name, directory, uid_validity, special_use, new_stamp, cur_stamp, settled, object_id,"
    " moved_from FROM mailboxes"
)
_MESSAGE = (
    "SELECT uid, name, directory, tail, flags, keywords, size, internal_date, modseq, email, save_date"
    " FROM messages"
)


class Index:
    """The database at `path`, created when it is missing. One of an earlier version is kept beside it and
    brought up to date. Raises sqlite3.Error, SchemaTooNew, OSError."""

    def __init__(self, path: str) -> None:
        self._db = connect(path)
        self.on_reserve: Callable[[Mapping[int, int]], None] = lambda reserved: None  # told `reserved` anew
        self.generation = 0  # changes whenever mailboxes or subscriptions may be other ones
        self._tombstones: dict[int, int] = {}  # how many rows of `vanished` a mailbox has
        self._reserved: dict[int, int] = {}  # so many UIDs of a mailbox, or more, are reserved and not given
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._normal()
            self._migrate(Path(path))
            self.emails = Emails(self._db)
            self.annotations = AnnotationRows(self._db)
            self.access_keys = AccessKeyRows(self._db)
            self.behind = BehindRows(self._db)
        except BaseException:
            self._db.close()
            raise

    def _migrate(self, path: Path) -> None:
        version = int(self._one("PRAGMA user_version")[0])
        if version > len(MIGRATIONS):
            raise SchemaTooNew(too_new(path, version, len(MIGRATIONS)))
        if 0 < version < len(MIGRATIONS):
            keep_before_upgrade(path, version)
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
            with transaction(self._db):
                yield
        except BaseException:
            self.generation += 1
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
        """Another boot than the last one: go on behind the reserved UIDs and whatever mod-sequences and
        emails may have been told, trust no directory time, know of no UID that has vanished before."""
        if self._one("PRAGMA quick_check(1)")[0] != "ok":
            error = sqlite3.DatabaseError("quick_check failed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        with self.transaction():
            self._db.execute(
                "UPDATE mailboxes SET uid_next = max(uid_next, uid_reserved), new_stamp = 0, settled = 0,"
                " highest_modseq = highest_modseq + ?1, vanished_from = highest_modseq + ?1",
                (LEAP,),
            )
            self._db.execute("DELETE FROM vanished")
            self.emails.take(LEAP)
            self.set_fact("boot", boot)

    def reserved(self) -> dict[int, int]:
        """By mailbox, the end of the UIDs that may have been given."""
        return dict(self._db.execute("SELECT id, uid_reserved FROM mailboxes"))

    def go_on_behind(self, reserved: Mapping[int, int]) -> None:
        """Give no UID before these ends, by mailbox."""
        with self.transaction(durable=True):
            self._db.executemany(
                "UPDATE mailboxes SET uid_next = max(uid_next, ?1), uid_reserved = max(uid_reserved, ?1)"
                " WHERE id = ?2",
                [(end, number) for number, end in reserved.items()],
            )
        self._reserved.clear()

    # Mailboxes

    def mailboxes(self) -> list[MailboxRow]:
        """Every mailbox, by name."""
        return [_mailbox(row) for row in self._db.execute(_MAILBOX + " ORDER BY name")]

    def mailbox_numbered(self, number: int) -> MailboxRow | None:
        """The mailbox with that number."""
        row = self._one(_MAILBOX + " WHERE id = ?", number)
        return None if row is None else _mailbox(row)

    def add_mailbox(
        self,
        number: int,
        name: str,
        directory: str,
        uses: Collection[str],
        uid_validity: int | None = None,
        uid_next: int = 1,
    ) -> None:
        """A new, empty mailbox with these special uses; `number` is its identity here, and its UIDVALIDITY
        unless it has one."""
        self.generation += 1
        if uid_validity is None:
            uid_validity = number
        self._db.execute(
            "INSERT INTO mailboxes SELECT ?, ?, ?, ?, ?, ?, 1, 1, ?, NULL, 0, 0, 0,"
            " 'F' || lower(hex(randomblob(8))), 1, ''",
            (number, name, directory, uid_validity, uid_next, uid_next + UID_BLOCK, _in_one(uses)),
        )

    def remove_mailbox(self, mailbox: int) -> None:
        """Forget a mailbox and its messages."""
        self.generation += 1
        self._db.execute(
            "INSERT OR IGNORE INTO loose SELECT email FROM messages WHERE mailbox = ?", (mailbox,)
        )
        for table, column in (
            ("vanished", "mailbox"),
            ("behind", "mailbox"),
            ("messages", "mailbox"),
            ("mailboxes", "id"),
        ):
            self._db.execute(f"DELETE FROM {table} WHERE {column} = ?", (mailbox,))
        self.annotations.forget(mailbox)

    def rename_mailbox(self, mailbox: int, name: str, directory: str, moved_from: str | None) -> None:
        """Give a mailbox another name; the directory at `moved_from` is still to be moved."""
        self.generation += 1
        self._db.execute(
            "UPDATE mailboxes SET name = ?, directory = ?, moved_from = ? WHERE id = ?",
            (name, directory, moved_from, mailbox),
        )

    def set_special_uses(self, mailbox: int, uses: Collection[str]) -> None:
        """Give a mailbox these special uses and no others."""
        self.generation += 1
        self._db.execute("UPDATE mailboxes SET special_use = ? WHERE id = ?", (_in_one(uses), mailbox))

    def mailbox_moved(self, mailbox: int) -> None:
        """The directory has its new name."""
        self.generation += 1
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

    def subscribe(self, names: Iterable[str]) -> int:
        """Add names; those that are there already stay. Returns how many are new."""
        self.generation += 1
        rows = [(name,) for name in names]
        return self._db.executemany("INSERT OR IGNORE INTO subscriptions VALUES (?)", rows).rowcount

    def unsubscribe(self, name: str) -> bool:
        """Take a name off; False when it was not there."""
        self.generation += 1
        return self._db.execute("DELETE FROM subscriptions WHERE name = ?", (name,)).rowcount > 0

    def letters(self, mailbox: int) -> dict[str, str]:
        """The keywords by their letters in file names."""
        (lines,) = self._one("SELECT letters FROM mailboxes WHERE id = ?", mailbox)
        return {line[0]: line[2:] for line in lines.splitlines()}

    def set_letters(self, mailbox: int, letters: Mapping[str, str]) -> None:
        """Remember the letters of keywords."""
        lines = "".join(f"{letter} {keyword}\n" for letter, keyword in letters.items())
        self._db.execute("UPDATE mailboxes SET letters = ? WHERE id = ?", (lines, mailbox))

    # Numbers

    def marks(self, mailbox: int) -> tuple[int, int, int]:
        """(uid_next, recent_from, highest_modseq)."""
        uid_next, recent_from, modseq = self._one(
            "SELECT uid_next, recent_from, highest_modseq FROM mailboxes WHERE id = ?", mailbox
        )
        return uid_next, recent_from, modseq

    def reserve(self, mailbox: int, count: int) -> None:
        """Make sure that `count` UIDs can be given; to be called outside a transaction."""
        left = self._reserved.get(mailbox, 0) - count
        if left < 0:
            uid_next, end = self._one("SELECT uid_next, uid_reserved FROM mailboxes WHERE id = ?", mailbox)
            if uid_next + count > end:
                end = uid_next + count + UID_BLOCK
                with self.transaction(durable=True):
                    self._db.execute("UPDATE mailboxes SET uid_reserved = ? WHERE id = ?", (end, mailbox))
                self.on_reserve(self.reserved())
            left = end - uid_next - count
        self._reserved[mailbox] = left

    def take_uids(self, mailbox: int, count: int) -> tuple[int, int]:
        """Give `count` reserved UIDs: (the first of them, the mod-sequence of this step)."""
        uid_next, modseq = self._one(
            "UPDATE mailboxes SET uid_next = uid_next + ?, highest_modseq = highest_modseq + 1 WHERE id = ?"
            " RETURNING uid_next, highest_modseq",
            *(count, mailbox),
        )
        return uid_next - count, modseq

    def next_modseq(self, mailbox: int) -> int:
        """The mod-sequence of this step."""
        (modseq,) = self._one(
            "UPDATE mailboxes SET highest_modseq = highest_modseq + 1 WHERE id = ? RETURNING highest_modseq",
            mailbox,
        )
        return int(modseq)

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
        return list(
            map(Message._make, rows_of_uids(self._db, _MESSAGE + " WHERE mailbox = ?", (mailbox,), uids))
        )

    def places(self, mailbox: int) -> list[tuple[int, str, str, str]]:
        """(uid, base name, directory, tail) of all messages."""
        return self._db.execute(
            "SELECT uid, name, directory, tail FROM messages WHERE mailbox = ?", (mailbox,)
        ).fetchall()

    def columns(self, mailbox: int) -> Iterator[tuple[int, int, str, int, float, int, int, float]]:
        """(uid, flags, keywords, size, internal_date, modseq, email, save_date) of all messages in ascending
        order."""
        return self._db.execute(
            "SELECT uid, flags, keywords, size, internal_date, modseq, email, save_date FROM messages"
            " WHERE mailbox = ? ORDER BY uid",
            (mailbox,),
        )

    def find(self, mailbox: int, prefixes: Sequence[str]) -> dict[str, int]:
        """The UIDs of messages whose base names begin with one of these and a ".", by that; of those there
        are."""
        if not prefixes:
            return {}
        wanted = ",".join(["(?)"] * len(prefixes))
        rows = self._db.execute(
            f"WITH wanted (prefix) AS (VALUES {wanted}) SELECT prefix, uid FROM wanted CROSS JOIN messages"
            " WHERE mailbox = ? AND name > prefix || '.' AND name < prefix || '/'",
            (*prefixes, mailbox),
        )
        return dict(rows)

    def messages_between(self, mailbox: int, first: int, last: int, most: int) -> list[Message]:
        """The first `most` of the messages with UIDs from `first` to `last`."""
        rows = self._db.execute(
            _MESSAGE + " WHERE mailbox = ? AND uid BETWEEN ? AND ? ORDER BY uid LIMIT ?",
            (mailbox, first, last, most),
        )
        return list(map(Message._make, rows))

    def with_letters(self, mailbox: int, letters: Iterable[str]) -> list[Message]:
        """The messages whose files' names have one of these letters."""
        rows = self._db.execute(
            _MESSAGE + " WHERE mailbox = ? AND tail GLOB ? ORDER BY uid",
            (mailbox, f"*:2,*[{''.join(letters)}]*"),
        )
        return list(map(Message._make, rows))

    def flags(self, mailbox: int, uids: Sequence[int]) -> list[tuple[int, int, str, int]]:
        """(uid, flags, keywords, modseq) of the messages with these UIDs, in ascending order."""
        sql = "SELECT uid, flags, keywords, modseq FROM messages WHERE mailbox = ?"
        return list(rows_of_uids(self._db, sql, (mailbox,), uids))

    def count_between(self, mailbox: int, first: int, last: int) -> int:
        """How many messages have UIDs from `first` to `last`."""
        sql = "SELECT count(*) FROM messages WHERE mailbox = ? AND uid BETWEEN ? AND ?"
        return int(self._one(sql, mailbox, first, last)[0])

    def add(self, mailbox: int, messages: Sequence[Message]) -> None:
        """New messages, with UIDs from `take_uids`."""
        row = f"({mailbox}, {', '.join('?' * len(Message._fields))})"
        insert_rows(self._db, "INSERT INTO messages", row, messages)

    def mark(
        self, mailbox: int, marked: Marked, modseq: int, among: tuple[int, str, int] | None = None
    ) -> None:
        """Other flags and keywords for messages. among: they are all of the messages between the first and
        the last of them that have these flags and keywords, and no higher mod-sequence: that is faster."""
        if among is not None:
            self._db.execute(
                "UPDATE messages SET flags = ?, keywords = ?, modseq = ? WHERE mailbox = ?"
                " AND uid BETWEEN ? AND ? AND flags = ? AND keywords = ? AND modseq <= ?",
                (marked.bits, marked.keywords, modseq, mailbox, marked.uids[0], marked.uids[-1], *among),
            )
            return
        self._db.executemany(
            "UPDATE messages SET flags = ?, keywords = ?, modseq = ? WHERE mailbox = ? AND uid = ?",
            ((marked.bits, marked.keywords, modseq, mailbox, uid) for uid in marked.uids),
        )

    def place(self, mailbox: int, places: Iterable[tuple[str, str, int]]) -> None:
        """Where files are now: (directory, tail, uid)."""
        self._db.executemany(
            f"UPDATE messages SET directory = ?, tail = ? WHERE mailbox = {mailbox} AND uid = ?", places
        )

    def update(self, mailbox: int, messages: Iterable[Message]) -> None:
        """New places, flags, keywords and mod-sequences of messages."""
        self._db.executemany(
            "UPDATE messages SET directory = ?, tail = ?, flags = ?, keywords = ?, modseq = ?"
            " WHERE mailbox = ? AND uid = ?",
            ((m.directory, m.tail, m.flags, m.keywords, m.modseq, mailbox, m.uid) for m in messages),
        )

    def remove(self, mailbox: int, uids: Iterable[int], modseq: int) -> None:
        """Forget messages, and remember that they have vanished in the step with that mod-sequence."""
        ascending = sorted(uids)
        keys = [(mailbox, uid) for uid in ascending]
        self._db.executemany(
            "INSERT OR IGNORE INTO loose SELECT email FROM messages WHERE mailbox = ? AND uid = ?", keys
        )
        self._db.executemany("DELETE FROM messages WHERE mailbox = ? AND uid = ?", keys)
        ranges = _ranges(ascending)
        self._db.executemany(
            "INSERT INTO vanished VALUES (?, ?, ?, ?)", [(mailbox, modseq, *each) for each in ranges]
        )
        self._bury(mailbox, len(ranges))

    def _bury(self, mailbox: int, more: int) -> None:
        """Keep the number of tombstones bounded."""
        count = self._tombstones.get(mailbox, 0) + more
        if count > TOMBSTONES + _TOMBSTONES_MORE or mailbox not in self._tombstones:
            # A transaction that was taken back has left the number too high: nothing is forgotten by it.
            (count,) = self._one("SELECT count(*) FROM vanished WHERE mailbox = ?", mailbox)
        if count > TOMBSTONES + _TOMBSTONES_MORE:
            (complete_after,) = self._one(
                "SELECT modseq FROM vanished WHERE mailbox = ? ORDER BY modseq DESC LIMIT 1 OFFSET ?",
                *(mailbox, TOMBSTONES),
            )
            count -= self._db.execute(
                "DELETE FROM vanished WHERE mailbox = ? AND modseq <= ?", (mailbox, complete_after)
            ).rowcount
            self._db.execute("UPDATE mailboxes SET vanished_from = ? WHERE id = ?", (complete_after, mailbox))
        self._tombstones[mailbox] = count

    def vanished_since(self, mailbox: int, modseq: int) -> list[int] | None:
        """The UIDs, ascending, that were expunged after that mod-sequence; None when too much is forgotten,
        or it would be too many."""
        (complete_after,) = self._one("SELECT vanished_from FROM mailboxes WHERE id = ?", mailbox)
        if modseq < complete_after:
            return None
        found: list[int] = []
        for first, last in self._db.execute(
            "SELECT first, last FROM vanished WHERE mailbox = ? AND modseq > ?", (mailbox, modseq)
        ):
            if len(found) + last - first >= MOST_VANISHED:
                return None
            found.extend(range(first, last + 1))
        return sorted(found)

    def spellings(self, mailbox: int) -> set[str]:
        """Every keyword in use, as it was first written."""
        rows = self._db.execute(
            "SELECT DISTINCT keywords FROM messages WHERE mailbox = ? AND keywords != ''", (mailbox,)
        )
        return {keyword for (keywords,) in rows for keyword in keywords.split()}

    def usage(self) -> tuple[int, int]:
        """(octets, number) of all messages of the account; costs one row."""
        octets, messages = self._one("SELECT octets, messages FROM usage")
        return octets, messages

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


def _ranges(ascending: Sequence[int]) -> list[tuple[int, int]]:
    """The ranges, (first, last), of consecutive UIDs."""
    ranges: list[tuple[int, int]] = []
    for uid in ascending:
        if ranges and ranges[-1][1] == uid - 1:
            ranges[-1] = ranges[-1][0], uid
        else:
            ranges.append((uid, uid))
    return ranges


def _mailbox(row: tuple[Any, ...]) -> MailboxRow:
    number, name, directory, uid_validity, uses, new_stamp, cur_stamp, settled, object_id, moved = row
    stamp = new_stamp, cur_stamp
    return MailboxRow(
        number, name, directory, uid_validity, special_uses(uses), stamp, bool(settled), object_id, moved
    )


def _in_one(uses: Collection[str]) -> str:
    """Special uses as the column has them; `special_uses` reads it."""
    return " ".join(sorted(uses))
