"""Lookups in the index for work that goes beside the account's order of execution, from any thread."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

from twisted_mta.message.overview import Overview
from twisted_mta.store.index.rows import FileRow, connect, is_corruption, is_emptied, rows_of_uids

_FILE = "SELECT uid, name, directory, tail, size, email FROM messages WHERE mailbox = ?"
_NAMES = (
    "SELECT group_concat(uid), group_concat(name, '/') FROM messages"  # no file's name has a "/"
    " WHERE mailbox = ? AND uid BETWEEN ? AND ?"
)
_CONTENT = (
    "SELECT email, mailbox, mailboxes.directory, messages.directory, messages.name, tail, size,"
    " EXISTS (SELECT 1 FROM emails WHERE emails.id = email)"
    " FROM messages JOIN mailboxes ON mailboxes.id = mailbox WHERE email BETWEEN ? AND ?"
    " GROUP BY email ORDER BY email DESC LIMIT ?"
)
_REFERENCES = "references"


class Content(NamedTuple):
    """An email and one message that has it: the mailbox's number, the file below the Maildir, its octets with
    CRLF line ends; whether `emails` has it already."""

    email: int
    mailbox: int
    path: str
    size: int
    known: bool


class Reader:
    """The index at `path`; opened when first used. What is missing is left out; so is everything when there
    is no index, or a broken one: then `is_broken` is true until `close`. Raises sqlite3.Error."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self.is_broken = False

    def close(self) -> None:
        """Let go of the database; the next lookup opens it again."""
        with self._lock:
            self.is_broken = False
            if self._db is not None:
                self._db.close()
                self._db = None

    def files(self, mailbox: int, uids: Sequence[int]) -> list[FileRow]:
        """Where these messages are, in ascending order of UIDs."""
        return list(map(FileRow._make, self._rows(_FILE, (mailbox,), uids, "uid")))

    def names(self, mailbox: int, first: int, last: int) -> dict[int, str]:
        """UID -> base name, of the messages with UIDs from `first` to `last`. They come as one row: for each
        row SQLite gives up the interpreter, and getting it back may take longer than all of this."""
        found = self._ask(lambda db: db.execute(_NAMES, (mailbox, first, last)))
        if not found or found[0][0] is None:
            return {}
        uids, names = found[0]
        return dict(zip(map(int, uids.split(",")), names.split("/"), strict=True))

    def structures(self, emails: Sequence[int]) -> dict[int, bytes]:
        """Email -> what was rendered of its structure."""
        return dict(self._rows("SELECT email, data FROM structures WHERE 1", (), emails, "email"))

    def previews(self, emails: Sequence[int]) -> dict[int, str]:
        """Email -> the beginning of its text."""
        return dict(self._rows("SELECT id, preview FROM emails WHERE 1", (), emails, "id"))

    def threads(self, emails: Sequence[int]) -> dict[int, int]:
        """Email -> the thread it belongs to."""
        return dict(self._rows("SELECT id, thread FROM emails WHERE 1", (), emails, "id"))

    def overviews(self, emails: Sequence[int], fields: Sequence[str]) -> dict[int, tuple[Any, ...]]:
        """Email -> the values of those fields of its `Overview`."""
        if not set(fields) <= set(Overview._fields):
            raise ValueError(f"not fields of an overview: {fields}")
        columns = "".join(f', "{field}"' for field in fields)
        found = {
            row[0]: row[1:] for row in self._rows(f"SELECT id{columns} FROM emails WHERE 1", (), emails, "id")
        }
        if _REFERENCES in fields:
            at = fields.index(_REFERENCES)
            for email, row in found.items():
                found[email] = (*row[:at], tuple(row[at].split("\n")) if row[at] else (), *row[at + 1 :])
        return found

    def renderings(self, kind: str, emails: Sequence[int]) -> dict[int, bytes]:
        """Email -> what was kept of that kind."""
        return dict(self._rows("SELECT email, data FROM renderings WHERE kind = ?", (kind,), emails, "email"))

    def epoch(self) -> str:
        """What tells this index from any other of the account (see `Emails`); "" when there is none."""
        found = self._ask(lambda db: db.execute("SELECT value FROM facts WHERE name = 'epoch'"))
        return str(found[0][0]) if found else ""

    def next_email(self) -> int:
        """The number that the next new email will have."""
        found = self._ask(lambda db: db.execute("SELECT value FROM facts WHERE name = 'next_email'"))
        return int(found[0][0]) if found else 1

    def contents(self, first: int, last: int, count: int) -> list[Content]:
        """Where to read the emails with these numbers, the highest first, at most so many."""
        found = self._ask(lambda db: db.execute(_CONTENT, (first, last, count)))
        return [
            Content(email, mailbox, f"{folder}/{directory}/{name}{tail}", size, bool(known))
            for email, mailbox, folder, directory, name, tail, size, known in found
        ]

    def held(self, emails: Collection[int]) -> set[int]:
        """Those of the emails that a message has."""
        sql = "SELECT value FROM json_each(?) WHERE value IN (SELECT email FROM messages)"
        numbers = f"[{','.join(map(str, emails))}]"
        return {email for (email,) in self._ask(lambda db: db.execute(sql, (numbers,)))}

    def count_emails(self) -> int:
        """How many emails the messages have."""
        found = self._ask(lambda db: db.execute("SELECT count(DISTINCT email) FROM messages"))
        return int(found[0][0]) if found else 0

    def _rows(
        self, sql: str, values: tuple[Any, ...], numbers: Sequence[int], column: str
    ) -> list[tuple[Any, ...]]:
        return self._ask(lambda db: rows_of_uids(db, sql, values, numbers, column))

    def _ask(
        self, question: Callable[[sqlite3.Connection], Iterable[tuple[Any, ...]]]
    ) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                if self._db is None:
                    if not os.path.exists(self._path):
                        self.is_broken = True
                        return []
                    self._db = connect(self._path)
                return list(question(self._db))
            except sqlite3.DatabaseError as error:
                if is_corruption(error) or is_emptied(error):
                    self.is_broken = True
                    return []
                raise
