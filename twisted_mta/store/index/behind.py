"""Which messages have files whose names are still to follow what the index says, as ranges of UIDs.

A range may hold messages that are not behind, so one row is enough for most changes, however many messages
they are about.
"""

from __future__ import annotations

import sqlite3


class BehindRows:
    """The table `behind` in the database `db`; called within a transaction of its `Index`.

    mailboxes: the numbers of those that have such messages, and perhaps some that have none any more."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.mailboxes = {mailbox for (mailbox,) in db.execute("SELECT DISTINCT mailbox FROM behind")}

    def add(self, mailbox: int, first: int, last: int) -> None:
        """Messages from `first` to `last` may be behind."""
        self.mailboxes.add(mailbox)
        self._db.execute(
            "DELETE FROM behind WHERE mailbox = ? AND first >= ? AND last <= ?", (mailbox, first, last)
        )
        self._db.execute(
            "INSERT INTO behind VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET last = max(last, ?3)",
            (mailbox, first, last),
        )

    def first(self, mailbox: int) -> tuple[int, int] | None:
        """The first range of the mailbox, (first, last), or None."""
        row = self._db.execute(
            "SELECT first, last FROM behind WHERE mailbox = ? ORDER BY first LIMIT 1", (mailbox,)
        ).fetchone()
        if row is None:
            self.mailboxes.discard(mailbox)
            return None
        return row[0], row[1]

    def done(self, mailbox: int, first: int, last: int, reached: int) -> None:
        """The range from `first` to `last` is done up to `reached`."""
        self._db.execute("DELETE FROM behind WHERE mailbox = ? AND first = ?", (mailbox, first))
        if reached < last:
            self.add(mailbox, reached + 1, last)
