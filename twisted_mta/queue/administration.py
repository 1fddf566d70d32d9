"""The queue by hand: list, show, retry, hold, release, remove, bounce, reroute; the server may run or not.

Everything happens in the database, from any process, in transactions of its own. A running server notices
within a second, drops what it had planned and looks anew; an attempt that is under way is not
interrupted. A change to few messages leaves word in the database, so that the server's log tells of it too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from twisted_mta.message.envelope import MailParameters
from twisted_mta.queue.ids import decode, encode
from twisted_mta.queue.mailqueue import DATABASE, SPOOL
from twisted_mta.queue.records import Intervention, StoredRecipient
from twisted_mta.queue.selection import EVERYTHING, Change, SelectedQueue, Selection
from twisted_mta.queue.spool import Spool

_PAGE = 200  # messages read, or changed, at a time: the server waits for a transaction to end
_WORDS = 1000  # messages or recipients of one change that the server's log tells of


@dataclass(frozen=True, slots=True)
class Listing:
    """A queued message. `reverse_path` is "" for the null path; `size` in octets; `arrived` in seconds since
    the epoch; `account` submitted it, "" when nobody logged in. `recipients` are those that still wait or
    are held, and those that ended already."""

    queue_id: str
    reverse_path: str
    arrived: float
    size: int
    account: str
    parameters: MailParameters
    recipients: tuple[StoredRecipient, ...]


@dataclass(frozen=True, slots=True)
class DomainFigures:
    """Recipients at a domain: those that wait, that are held, and of both those that were attempted."""

    domain: str
    waiting: int
    held: int
    attempted: int
    next_attempt: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The queue as a whole. `recipients`: how many are in each state; `attempted`: of those that wait;
    `due`: those whose time has come. `oldest`, `next_attempt`: seconds since the epoch, None for an empty
    queue. `domains`: those with most recipients. `octets`: on disk, quarantine included."""

    messages: int
    recipients: dict[str, int]
    attempted: int
    due: int
    oldest: float | None
    next_attempt: float | None
    domains: tuple[DomainFigures, ...]
    octets: int


class NoSuchMessage(Exception):
    """There is no message of that id in the queue."""


class QueueAdministration:
    """directory: the queue's directory, as MailQueue has it. seconds: the wall clock. pause: waits so long
    between two pages of a large change.

    Every method raises sqlite3.Error, OSError or SchemaTooNew when the database cannot be used; those
    that take a queue id raise NoSuchMessage. What changes the queue does so for all recipients of
    `selection`, of one message only when an id is given, and says how many they were.
    """

    def __init__(
        self,
        directory: Path,
        *,
        seconds: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._directory = directory
        self._spool = Spool(directory / SPOOL)
        self._seconds = seconds
        self._pause = pause
        path = directory / DATABASE
        self._database = SelectedQueue(path) if path.exists() else None

    def close(self) -> None:
        """Let go of the database."""
        if self._database is not None:
            self._database.close()

    def list(self, selection: Selection = EVERYTHING) -> Iterator[Listing]:
        """Every queued message with recipients that are selected, oldest first; read page by page, so a long
        queue is no burden."""
        for database, numbers in self._pages(selection):
            yield from self._listings(database, numbers)

    def show(self, queue_id: str) -> Listing:
        """One message."""
        database, number = self._find(queue_id)
        (listing,) = self._listings(database, [number])
        return listing

    def figures(self, domains: int = 20) -> Figures:
        """The queue as a whole, and that many domains. Reads all recipients."""
        octets = sum(map(_octets, self._directory.rglob("*")))
        if self._database is None:
            return Figures(0, {}, 0, 0, None, None, (), octets)
        states = self._database.states()
        messages, due, oldest, following = self._database.totals(self._seconds())
        return Figures(
            messages=messages,
            recipients={state: count for state, count, _ in states},
            attempted=sum(attempted for state, _, attempted in states if state == "waiting"),
            due=due,
            oldest=oldest,
            next_attempt=following,
            domains=tuple(DomainFigures(*row) for row in self._database.domains(domains)),
            octets=octets,
        )

    def retry(self, queue_id: str | None = None, selection: Selection = EVERYTHING) -> int:
        """Try now what waits."""
        return self._change(Change.RETRY, queue_id, selection)

    def hold(self, queue_id: str | None = None, selection: Selection = EVERYTHING) -> int:
        """No more attempts until `release`."""
        return self._change(Change.HOLD, queue_id, selection)

    def release(self, queue_id: str | None = None, selection: Selection = EVERYTHING) -> int:
        """End a hold, and try now."""
        return self._change(Change.RELEASE, queue_id, selection)

    def bounce(self, queue_id: str | None = None, selection: Selection = EVERYTHING) -> int:
        """Return to the sender with a report, at once, or when the server runs again."""
        return self._change(Change.BOUNCE, queue_id, selection)

    def reroute(self, route: str, queue_id: str | None = None, selection: Selection = EVERYTHING) -> int:
        """Give a next hop, which wins over all other routing, and try now; "" takes it back."""
        return self._change(Change.REROUTE, queue_id, selection, route)

    def remove(self, queue_id: str | None = None, selection: Selection = EVERYTHING) -> int:
        """Forget; nobody is told but the log."""
        return self._change(Change.REMOVE, queue_id, selection)

    def _change(self, change: Change, queue_id: str | None, selection: Selection, route: str = "") -> int:
        if queue_id is not None:
            database, number = self._find(queue_id)
            return self._change_page(database, [number], change, selection, route, _WORDS)
        concerned = 0
        for database, numbers in self._pages(selection):
            began = time.perf_counter()
            words = _WORDS - concerned
            concerned += self._change_page(database, numbers, change, selection, route, words)
            # SQLite lets those who wait for a transaction ask now and then; the server must not ask in vain.
            self._pause(time.perf_counter() - began)
        return concerned

    def _change_page(
        self,
        database: SelectedQueue,
        numbers: Sequence[int],
        change: Change,
        selection: Selection,
        route: str,
        words: int,
    ) -> int:
        """In one transaction. words: the most to leave."""
        concerned, now = 0, self._seconds()
        with database.transaction():
            for number in numbers:
                paths = database.change(change, number, selection, now=now, route=route)
                concerned += len(paths)
                told = paths[:1] if selection.whole_messages else paths
                for path in told[: max(0, words)]:
                    whom = "" if selection.whole_messages else path
                    database.note(Intervention(number, change.value, whom))
                words -= len(told)
        if change is Change.REMOVE:
            self._spool.remove(set(numbers) - database.present(numbers))
        return concerned

    def _pages(self, selection: Selection) -> Iterator[tuple[SelectedQueue, Sequence[int]]]:
        after = 0
        while self._database is not None and (numbers := self._database.selected(selection, after, _PAGE)):
            yield self._database, numbers
            after = numbers[-1]

    def _find(self, queue_id: str) -> tuple[SelectedQueue, int]:
        try:
            number = decode(queue_id)
        except ValueError:
            raise NoSuchMessage(queue_id) from None
        if self._database is None or not self._database.present([number]):
            raise NoSuchMessage(queue_id)
        return self._database, number

    def _listings(self, database: SelectedQueue, numbers: Sequence[int]) -> Iterator[Listing]:
        for message in database.listed(numbers):
            yield Listing(
                encode(message.number),
                message.reverse_path or "",
                message.arrived,
                message.size,
                message.account,
                message.parameters,
                tuple(database.recipients(message.number)),
            )


def _octets(path: Path) -> int:
    """Of a file; 0 for what is none, or has gone meanwhile."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    return found.st_size if S_ISREG(found.st_mode) else 0
