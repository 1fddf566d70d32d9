"""What the index knows of contents: overviews, structures, threads, renderings; by the number of the email.

Threads (RFC 8474 §5.2): an email joins the oldest thread in which its Message-ID, or one of those it refers
to, has been seen; else it begins one, which bears its number. The thread of an email never changes, so two
threads stay two when a later message ties them together.

All methods block and belong to the thread that has the index.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from twisted_mta.message.overview import Overview
from twisted_mta.store.index.rows import insert_rows, rows_of_uids
from twisted_mta.store.knowledge import Knowledge

_COLUMNS = 3 + len(Overview._fields)
_RENEW = (
    "UPDATE emails SET "
    + ", ".join(f'"{name}" = ?' for name in Overview._fields)
    + ", preview = ? WHERE id = ?"
)
_ADD = f"INSERT INTO emails VALUES ({','.join('?' * _COLUMNS)})"


class Emails:
    """The tables of contents in the database `db`; called within a transaction of its `Index`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._key: bytes | None = None  # of the digests

    @property
    def epoch(self) -> str:
        """What tells this index from any other that the account had or will have; letters and digits."""
        (epoch,) = self._db.execute("SELECT value FROM facts WHERE name = 'epoch'").fetchone()
        return str(epoch)

    def take(self, count: int) -> int:
        """Numbers for `count` new emails: the first of them."""
        (after,) = self._db.execute(
            "UPDATE facts SET value = value + ? WHERE name = 'next_email' RETURNING value", (count,)
        ).fetchone()
        return int(after) - count

    def keep(self, known: Mapping[int, Knowledge]) -> None:
        """Keep what was learned of emails that are still there and have not been kept."""
        wanted = list(known)
        held = self._among(wanted, "SELECT email FROM messages WHERE 1", "email")
        new = sorted(held - self._among(wanted, "SELECT id FROM emails WHERE 1", "id"))
        threads = self._join([(email, known[email].overview) for email in new])
        self._db.executemany(_ADD, [(email, threads[email], *_columns(known[email])) for email in new])
        self._put_structures([(email, known[email].structures) for email in new])

    def keep_structures(self, structures: Mapping[int, bytes]) -> None:
        """Keep structures alone, of emails that are still there."""
        held = self._among(list(structures), "SELECT email FROM messages WHERE 1", "email")
        self._put_structures([(email, structures[email]) for email in sorted(held)])

    def _put_structures(self, structures: Sequence[tuple[int, bytes]]) -> None:
        insert_rows(self._db, "INSERT OR REPLACE INTO structures", "(?, ?)", structures)

    def renew(self, known: Mapping[int, Knowledge]) -> None:
        """Put what was learned in the place of what was kept before; the threads stay."""
        self._db.executemany(_RENEW, [(*_columns(each), email) for email, each in known.items()])
        self._db.executemany(
            "UPDATE structures SET data = ? WHERE email = ?",
            [(each.structures, email) for email, each in known.items()],
        )

    def _among(self, emails: Sequence[int], sql: str, column: str) -> set[int]:
        return {email for (email,) in rows_of_uids(self._db, sql, (), emails, column)}

    def _join(self, emails: list[tuple[int, Overview]]) -> dict[int, int]:
        """Email -> its thread, for new emails; what they refer to is from now on seen there."""
        digests = {
            email: [self._digest(each) for each in {overview.message_id, *overview.references} if each]
            for email, overview in emails
        }
        wanted = [digest for some in digests.values() for digest in some]
        sql = "SELECT digest, thread FROM message_ids WHERE 1"
        seen: dict[int, int] = dict(rows_of_uids(self._db, sql, (), wanted, "digest"))
        new: dict[int, int] = {}
        joined = {}
        for email, _ in emails:
            known = [seen[digest] for digest in digests[email] if digest in seen]
            thread = min(known, default=email)
            for digest in digests[email]:
                if digest not in seen:
                    seen[digest] = new[digest] = thread
            joined[email] = thread
        self._db.executemany("INSERT INTO message_ids VALUES (?, ?)", sorted(new.items()))
        return joined

    def _digest(self, message_id: str) -> int:
        """64 bits that nobody can aim at: the key is the epoch."""
        if self._key is None:
            self._key = self.epoch.encode("ascii")
        octets = message_id.encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(octets, digest_size=8, key=self._key).digest(), "big", signed=True)

    def keep_renderings(self, kind: str, renderings: Iterable[tuple[int, bytes]]) -> None:
        """Keep renderings of those emails that are still there."""
        self._db.executemany(
            "INSERT OR REPLACE INTO renderings SELECT ?, ?, ?"
            " WHERE EXISTS (SELECT 1 FROM messages WHERE email = ?)",
            ((email, kind, data, email) for email, data in renderings),
        )

    def collect(self, count: int) -> list[int] | None:
        """Forget emails that no message has any more; looks at `count` at most. Returns their numbers; None
        when there is nothing left to look at."""
        candidates = [
            email for (email,) in self._db.execute("SELECT email FROM loose ORDER BY email LIMIT ?", (count,))
        ]
        if not candidates:
            return None
        gone = [email for email in candidates if not self._is_held(email)]
        keys = [(email,) for email in gone]
        threads = self._threads(gone)
        for table, column in (("emails", "id"), ("structures", "email"), ("renderings", "email")):
            self._db.executemany(f"DELETE FROM {table} WHERE {column} = ?", keys)
        self._db.executemany(
            "DELETE FROM message_ids WHERE thread = ?1"
            " AND NOT EXISTS (SELECT 1 FROM emails WHERE thread = ?1)",
            [(thread,) for thread in threads],
        )
        self._db.executemany("DELETE FROM loose WHERE email = ?", [(email,) for email in candidates])
        return gone

    def _is_held(self, email: int) -> bool:
        return self._db.execute("SELECT 1 FROM messages WHERE email = ?", (email,)).fetchone() is not None

    def _threads(self, emails: Sequence[int]) -> set[int]:
        threads = set()
        for email in emails:
            row = self._db.execute("SELECT thread FROM emails WHERE id = ?", (email,)).fetchone()
            if row is not None:
                threads.add(int(row[0]))
        return threads


def _columns(known: Knowledge) -> tuple[Any, ...]:
    """What a row of `emails` has besides its number and its thread."""
    return (*known.overview[:-1], "\n".join(known.overview.references), known.preview)
