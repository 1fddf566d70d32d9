"""A look into an account's index from another process, whether a server has it open or not.

Read-only, and in one short read transaction for each question, so that a server's writer goes on
undisturbed and its log can be folded in. What is asked here is for `mta mailbox`; the server itself never
needs it.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import quote

from twisted_mta.store.index.rows import is_corruption, special_uses
from twisted_mta.store.index.schema import MIGRATIONS

_PATIENCE = 10.0  # seconds to wait for a server that builds its index


class Unreadable(Exception):
    """The index is there, but of no use; the text says why. damaged: it is corrupt. harmless: it is as it
    should be, but not for this program."""

    def __init__(self, text: str, *, damaged: bool = False, harmless: bool = False) -> None:
        super().__init__(text)
        self.damaged = damaged
        self.harmless = harmless


@dataclass(frozen=True, slots=True)
class MailboxMarks:
    """A mailbox as the index has it. `stamp` holds the times of `new` and `cur` when they last agreed."""

    number: int
    name: str
    directory: str
    uid_next: int
    uid_reserved: int
    special_uses: frozenset[str]
    stamp: tuple[int, int]
    settled: bool


class IndexedMessage(NamedTuple):
    """A message as the index has it; see index_schema."""

    uid: int
    name: str
    directory: str
    tail: str
    flags: int
    keywords: str
    size: int
    internal_date: float
    email: int


class IndexSurvey:
    """The index at `path`. Raises Unreadable, here and in every method."""

    def __init__(self, path: str) -> None:
        try:
            if os.path.getsize(path) == 0:
                raise Unreadable("the file is empty", damaged=True)
            self._db = sqlite3.connect(
                f"file:{quote(path)}?mode=ro", uri=True, timeout=_PATIENCE, isolation_level=None
            )
        except (OSError, sqlite3.Error) as error:
            raise Unreadable(str(error)) from error
        try:
            ((version,),) = self._ask("PRAGMA user_version")
            if version < len(MIGRATIONS):
                raise Unreadable(
                    "made by an earlier release, and brought up to date when used", harmless=True
                )
            if version > len(MIGRATIONS):
                raise Unreadable("made by a later release than this program", harmless=True)
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def faults(self) -> list[str]:
        """What SQLite finds wrong with the file."""
        return quick_check(self._db)

    def mailboxes(self) -> list[MailboxMarks]:
        """Every mailbox, by name."""
        rows = self._ask(
            "SELECT id, name, directory, uid_next, uid_reserved, special_use, new_stamp, cur_stamp, settled"
            " FROM mailboxes ORDER BY name"
        )
        return [
            MailboxMarks(
                number, name, directory, uid_next, reserved, special_uses(uses), (new, cur), bool(settled)
            )
            for number, name, directory, uid_next, reserved, uses, new, cur, settled in rows
        ]

    def messages(self, number: int) -> list[IndexedMessage]:
        """Every message of the mailbox with that number, by UID."""
        rows = self._ask(
            "SELECT uid, name, directory, tail, flags, keywords, size, internal_date, email FROM messages"
            " WHERE mailbox = ? ORDER BY uid",
            number,
        )
        return list(map(IndexedMessage._make, rows))

    def usage(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """(octets, messages) as they are counted with every row, and as the rows add up."""
        ((octets, messages, real_octets, real_messages),) = self._ask(
            "SELECT octets, messages, (SELECT coalesce(sum(size), 0) FROM messages),"
            " (SELECT count(*) FROM messages) FROM usage"
        )
        return (octets, messages), (real_octets, real_messages)

    def emails(self) -> tuple[set[int], int]:
        """The emails that the messages have, and how many of them have not been read yet."""
        there = {email for (email,) in self._ask("SELECT DISTINCT email FROM messages")}
        known = {email for (email,) in self._ask("SELECT id FROM emails JOIN structures ON email = id")}
        return there, len(there - known)

    def epoch(self) -> str:
        """What tells this index from any other of the account."""
        ((epoch,),) = self._ask("SELECT value FROM facts WHERE name = 'epoch'")
        return str(epoch)

    def _ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise Unreadable(str(error), damaged=is_corruption(error)) from error


def quick_check(db: sqlite3.Connection) -> list[str]:
    """What SQLite finds wrong with a database."""
    try:
        said = [str(line) for (line,) in db.execute("PRAGMA quick_check(10)")]
    except sqlite3.Error as error:
        return [str(error)]
    return [] if said == ["ok"] else said


def faults_of(path: str) -> list[str]:
    """What SQLite finds wrong with the database at `path`; nothing when there is none."""
    if not os.path.exists(path):
        return []
    try:
        db = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=_PATIENCE)
    except sqlite3.Error as error:
        return [str(error)]
    try:
        return quick_check(db)
    finally:
        db.close()
