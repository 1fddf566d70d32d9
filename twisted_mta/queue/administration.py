"""The queue by hand: list, show, retry, hold, release, remove, whether the server runs or not.

Everything happens in the database, from any process, in transactions of its own. A running server notices
within a second, drops what it had planned and looks anew; an attempt that is under way is not
interrupted. A change to one message leaves word in the database, so that the server's log tells of it too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from twisted_mta.queue.database import QueueDatabase
from twisted_mta.queue.ids import decode, encode
from twisted_mta.queue.mailqueue import DATABASE, SPOOL
from twisted_mta.queue.records import Intervention, StoredMessage, StoredRecipient
from twisted_mta.queue.spool import Spool

_PAGE = 200  # messages read at a time


@dataclass(frozen=True, slots=True)
class Listing:
    """A queued message. `reverse_path` is "" for the null path; `size` in octets; `arrived` in seconds since
    the epoch. `recipients` are those that still wait or are held, and those that ended already."""

    queue_id: str
    reverse_path: str
    arrived: float
    size: int
    recipients: tuple[StoredRecipient, ...]


class NoSuchMessage(Exception):
    """There is no message of that id in the queue."""


class QueueAdministration:
    """directory: the queue's directory, as MailQueue has it. seconds: the wall clock.

    Every method raises sqlite3.Error, OSError or SchemaTooNew when the database cannot be used; the
    methods that take a queue id raise NoSuchMessage.
    """

    def __init__(self, directory: Path, *, seconds: Callable[[], float] = time.time) -> None:
        self._spool = Spool(directory / SPOOL)
        self._seconds = seconds
        path = directory / DATABASE
        self._database = QueueDatabase(path) if path.exists() else None

    def close(self) -> None:
        """Let go of the database."""
        if self._database is not None:
            self._database.close()

    def list(self) -> Iterator[Listing]:
        """Every queued message, oldest first; read page by page, so a long queue is no burden."""
        after = 0
        while self._database is not None and (page := self._database.page(after, _PAGE)):
            for message in page:
                yield self._listing(self._database, message)
            after = page[-1].number

    def show(self, queue_id: str) -> Listing:
        """One message."""
        database, number = self._find(queue_id)
        (message,) = database.page(number - 1, 1)
        return self._listing(database, message)

    def retry(self, queue_id: str | None = None) -> int:
        """Try now what waits; all of the queue without an id. How many recipients that concerns."""
        now = self._seconds()
        return self._change("retried", queue_id, lambda database, number: database.reschedule(number, now))

    def hold(self, queue_id: str | None = None) -> int:
        """No more attempts until `release`. How many recipients that concerns."""
        return self._change("held", queue_id, QueueDatabase.hold)

    def release(self, queue_id: str | None = None) -> int:
        """End a hold, and try now. How many recipients that concerns."""
        now = self._seconds()
        return self._change("released", queue_id, lambda database, number: database.release(number, now))

    def remove(self, queue_id: str) -> None:
        """Forget a message; nobody is told but the log."""
        self._change("removed", queue_id, QueueDatabase.remove)
        self._spool.remove([decode(queue_id)])

    def _change(self, action: str, queue_id: str | None, change: Callable[[QueueDatabase, int], int]) -> int:
        if queue_id is not None:
            database, number = self._find(queue_id)
            with database.transaction():
                if concerned := change(database, number):
                    database.note(Intervention(number, action))
                return concerned
        concerned, after = 0, 0
        while self._database is not None and (page := self._database.page(after, _PAGE)):
            with self._database.transaction():
                concerned += sum(change(self._database, message.number) for message in page)
            after = page[-1].number
        return concerned

    def _find(self, queue_id: str) -> tuple[QueueDatabase, int]:
        try:
            number = decode(queue_id)
        except ValueError:
            raise NoSuchMessage(queue_id) from None
        if self._database is None or not self._database.present([number]):
            raise NoSuchMessage(queue_id)
        return self._database, number

    def _listing(self, database: QueueDatabase, message: StoredMessage) -> Listing:
        return Listing(
            encode(message.number),
            message.reverse_path or "",
            message.arrived,
            message.size,
            tuple(database.recipients(message.number)),
        )
