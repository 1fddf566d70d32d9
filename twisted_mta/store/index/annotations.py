"""What the index has of annotations (RFC 5464). Everything here belongs to the account's lane."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable


class AnnotationRows:
    """The table `annotations` of the database. Raises sqlite3.Error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def of(self, mailbox: int, owners: Iterable[str]) -> list[tuple[str, str, bytes]]:
        """(owner, entry, value) of a mailbox's annotations of these owners, by entry."""
        wanted = list(owners)
        marks = ",".join("?" * len(wanted))
        return self._db.execute(
            f"SELECT owner, entry, value FROM annotations WHERE mailbox = ? AND owner IN ({marks})"
            " ORDER BY entry",
            (mailbox, *wanted),
        ).fetchall()

    def count(self, mailbox: int, owner: str | None = None) -> int:
        """How many a mailbox has: of one owner, or of all."""
        row = self._db.execute(
            "SELECT count(*) FROM annotations WHERE mailbox = ? AND (? IS NULL OR owner = ?)",
            (mailbox, owner, owner),
        ).fetchone()
        return int(row[0])

    def octets(self, mailbox: int | None = None) -> int:
        """What those of a mailbox, or all, take up: their values and names, and 100 octets for each one."""
        row = self._db.execute(
            "SELECT coalesce(sum(length(value) + length(entry) + length(owner) + 100), 0) FROM annotations"
            " WHERE ? IS NULL OR mailbox = ?",
            (mailbox, mailbox),
        ).fetchone()
        return int(row[0])

    def set(self, mailbox: int, owner: str, entry: str, value: bytes | None) -> None:
        """Give an entry a value; None removes it."""
        key = (mailbox, owner, entry)
        if value is None:
            self._db.execute("DELETE FROM annotations WHERE mailbox = ? AND owner = ? AND entry = ?", key)
        else:
            self._db.execute("INSERT OR REPLACE INTO annotations VALUES (?, ?, ?, ?)", (*key, value))

    def copy(self, source: int, target: int) -> None:
        """Give one mailbox all annotations of another."""
        self._db.execute(
            "INSERT OR REPLACE INTO annotations"
            " SELECT ?, owner, entry, value FROM annotations WHERE mailbox = ?",
            (target, source),
        )

    def forget(self, mailbox: int) -> None:
        """The mailbox is gone."""
        self._db.execute("DELETE FROM annotations WHERE mailbox = ?", (mailbox,))
