"""What has been fetched from other servers into an account: `imported.sqlite` in the account's directory.

A row a message, written when the message is on the disk. So what is fetched once more is only the difference,
whatever became of the messages here: moved and removed ones do not come again. Without the file everything is
fetched again, and recognised by the names of files as long as it is where it was put.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from twisted_mta.database import Database
from twisted_mta.message.headers import first_value

STATE = "imported.sqlite"

_MIGRATIONS = (
    (
        "CREATE TABLE mailboxes (id INTEGER PRIMARY KEY, server TEXT NOT NULL, name BLOB NOT NULL,"
        " uid_validity INTEGER NOT NULL, UNIQUE (server, name))",
        "CREATE TABLE messages (mailbox INTEGER NOT NULL, uid INTEGER NOT NULL, base TEXT NOT NULL,"
        " flags INTEGER NOT NULL, keywords TEXT NOT NULL, likeness BLOB NOT NULL,"
        " PRIMARY KEY (mailbox, uid)) WITHOUT ROWID",
        "CREATE INDEX messages_by_likeness ON messages (likeness)",
    ),
)


class Fetched(NamedTuple):
    """A message that is here. base: the base name of its file, "" for one that came from another mailbox.
    flags, keywords: as the other server had them, `keywords` sorted with a space between."""

    uid: int
    base: str
    flags: int
    keywords: str
    likeness: bytes


class ImportState(Database):
    """The file at `path`. Every method raises sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _MIGRATIONS)

    def mailbox(self, server: str, name: bytes) -> tuple[int, int]:
        """(Number, UIDVALIDITY) of a mailbox of that server; UIDVALIDITY is 0 for a new one."""
        with self.transaction():
            self._execute("INSERT OR IGNORE INTO mailboxes VALUES (NULL, ?, ?, 0)", (server, name))
        return self._execute(  # type: ignore[no-any-return]
            "SELECT id, uid_validity FROM mailboxes WHERE server = ? AND name = ?", (server, name)
        ).fetchone()

    def messages(self, mailbox: int) -> dict[int, Fetched]:
        """What has come from the mailbox, by UID."""
        rows = self._execute(
            "SELECT uid, base, flags, keywords, likeness FROM messages WHERE mailbox = ?", (mailbox,)
        )
        return {row[0]: Fetched(*row) for row in rows}

    def begin(self, mailbox: int, uid_validity: int, messages: Iterable[Fetched]) -> None:
        """The mailbox has this UIDVALIDITY from now on, and of what is here these messages."""
        with self.transaction():
            self._execute("UPDATE mailboxes SET uid_validity = ? WHERE id = ?", (uid_validity, mailbox))
            self._execute("DELETE FROM messages WHERE mailbox = ?", (mailbox,))
            self._put(mailbox, messages)

    def add(self, mailbox: int, messages: Iterable[Fetched]) -> None:
        """These messages are here, in this state."""
        with self.transaction():
            self._put(mailbox, messages)

    def _put(self, mailbox: int, messages: Iterable[Fetched]) -> None:
        for message in messages:
            self._execute("INSERT OR REPLACE INTO messages VALUES (?, ?, ?, ?, ?, ?)", (mailbox, *message))

    def is_elsewhere(self, server: str, mailbox: int, likeness: bytes) -> bool:
        """True when a message like that has come from another mailbox of the server."""
        found = self._execute(
            "SELECT 1 FROM messages JOIN mailboxes ON mailboxes.id = mailbox"
            " WHERE likeness = ? AND mailbox != ? AND server = ? AND base != '' LIMIT 1",
            (likeness, mailbox, server),
        ).fetchone()
        return found is not None


def likeness(header: bytes, size: int) -> bytes:
    """What tells a message from others when UIDs do not: its Message-ID and its size as the server tells it;
    without a Message-ID, the date, the sender and the subject."""
    told = first_value(header, b"Message-ID")
    fields = [told] if told else [first_value(header, name) or b"" for name in (b"Date", b"From", b"Subject")]
    digest = blake2b(digest_size=16)
    for field in fields:
        digest.update(b" ".join(field.split()) + b"\n")
    digest.update(b"%d" % size)
    return digest.digest()
