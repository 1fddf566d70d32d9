"""What the index has of the mailboxes' access keys. Everything here belongs to the account's lane."""

from __future__ import annotations

import sqlite3


class AccessKeyRows:
    """The table `access_keys` of the database. Raises sqlite3.Error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def of(self, mailbox: int) -> bytes | None:
        """The key of a mailbox, if it has one."""
        row = self._db.execute("SELECT key FROM access_keys WHERE mailbox = ?", (mailbox,)).fetchone()
        return None if row is None else bytes(row[0])

    def set(self, mailbox: int, key: bytes) -> None:
        """Give a mailbox a key in place of the one that it has."""
        self._db.execute("INSERT OR REPLACE INTO access_keys VALUES (?, ?)", (mailbox, key))

    def clear(self) -> None:
        """No mailbox has a key any more."""
        self._db.execute("DELETE FROM access_keys")
