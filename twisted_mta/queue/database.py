"""Every statement that touches the queue's tables; plain, blocking and single-threaded.

The SQL keeps to what SQLite and PostgreSQL share. Statements work on whole batches with few calls into
SQLite: each call gives up the interpreter lock, and getting it back from a busy reactor costs more
than the statement.

Exactly one process may work the queue off (`MailQueue` sees to that); any number of others may open the
database to administer it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from itertools import chain
from pathlib import Path
from typing import Any

from twisted_mta.message.outcome import Action, QueuedRecipient
from twisted_mta.queue.records import (
    DuePage,
    DueRecipient,
    Intervention,
    NewMessage,
    Result,
    Settled,
    Settlement,
    StoredMessage,
    StoredRecipient,
)
from twisted_mta.queue.schema import DamagedDatabase, connect

_MESSAGE = "number, reverse_path, body_type, arrived, size, checksum, head, body"
_RECIPIENT = (
    "number, message, forward_path, original_path, domain, state, next_attempt, attempts, last_attempt, "
    "status, diagnostic, remote_mta"
)
_DUE = (
    "SELECT r.message, m.arrived, r.next_attempt, r.number, r.forward_path, r.domain, r.attempts, "
    "r.original_path FROM recipient r JOIN message m ON m.number = r.message WHERE r.state = 'waiting' AND "
)
# A recipient that ended meanwhile, or was removed by hand, stays as it is.
_END = (
    "UPDATE recipient SET state = ?, attempts = attempts + 1, last_attempt = ?, status = ?, diagnostic = ?, "
    "remote_mta = ? WHERE number = ? AND state IN ('waiting', 'held')"
)
_DELAY = _END.replace("state = ?", "next_attempt = ?", 1)
_SUCCESSES = frozenset({Action.DELIVERED, Action.RELAYED})
_DIAGNOSTIC_LIMIT = 1000  # characters kept of a remote reply
_MOST_ROWS = 64  # rows in one INSERT


def _listed(values: Sequence[int]) -> tuple[str, list[int]]:
    """Placeholders and parameters of an IN list, padded to a power of two: few statements to prepare."""
    padded = [*values] or [-1]
    padded += padded[-1:] * ((1 << (len(padded) - 1).bit_length()) - len(padded))
    return ",".join("?" * len(padded)), padded


class QueueDatabase:
    """One open connection. Every method raises sqlite3.Error when the disk or the file is at fault."""

    def __init__(self, path: Path, *, timeout: float = 30.0) -> None:
        """Opens, and creates or migrates. Raises sqlite3.Error, OSError or SchemaTooNew."""
        self._connection = connect(path, timeout=timeout)
        self._execute = self._connection.execute

    def close(self) -> None:
        """Close; the last one to close folds the log into the database."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; durable when it has been left."""
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._execute("ROLLBACK")
            raise

    # What the server does

    def commit(self, additions: Sequence[NewMessage], settlements: Sequence[Settlement]) -> list[Settled]:
        """Record all of these in one transaction; the results are those of the settlements, in order."""
        with self.transaction():
            if additions:
                self._add(additions)
            return self._settle(settlements) if settlements else []

    def _insert(self, into: str, rows: Sequence[tuple[Any, ...]]) -> None:
        values = f"({','.join('?' * len(rows[0]))})"
        start = 0
        while start < len(rows):
            count = min(_MOST_ROWS, 1 << ((len(rows) - start).bit_length() - 1))
            piece = rows[start : start + count]
            statement = f"INSERT INTO {into} VALUES {','.join([values] * count)}"
            self._execute(statement, list(chain.from_iterable(piece)))
            start += count

    def _add(self, additions: Iterable[NewMessage]) -> None:
        messages, recipients = [], []
        for new in additions:
            reverse_path = None if new.reverse_path is None else str(new.reverse_path)
            body = None if new.content.path else new.content.data
            messages.append(
                (
                    new.number,
                    reverse_path,
                    new.parameters.body,
                    new.arrived,
                    new.size,
                    new.checksum,
                    new.content.head,
                    body,
                )
            )
            recipients += [self._new_recipient(new.number, new.arrived, r) for r in new.recipients]
        self._insert(f"message ({_MESSAGE})", messages)
        self._insert(f"recipient ({_RECIPIENT})", recipients)

    def _new_recipient(self, message: int, when: float, recipient: QueuedRecipient) -> tuple[Any, ...]:
        path, original = recipient.forward_path, recipient.original_path
        written = None if original is None else str(original)
        number = recipient.number
        return (number, message, str(path), written, path.domain, "waiting", when, 0, None, "", "", "")

    def _settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        reached, touched, delayed, troubles = [], set(), [], {}
        for settlement in settlements:
            for result in settlement.results:
                if result.outcome.action in _SUCCESSES:
                    reached.append(self._end(settlement.when, result))
                elif result.outcome.action is Action.DELAYED:
                    delayed.append((result.next_attempt, *self._end(settlement.when, result)[1:]))
                else:
                    troubles[id(settlement)] = settlement
            touched.add(settlement.message)
        if delayed:
            self._connection.executemany(_DELAY, delayed)
        replaced = {key: self._replace(settlement) for key, settlement in troubles.items()}
        finished = self._remove_finished(list(touched), [end[-1] for end in reached])
        if len(finished) < len(touched):
            self._connection.executemany(_END, reached)
        nothing: tuple[tuple[QueuedRecipient, ...], bool] = ((), False)
        return [Settled(s.message in finished, *replaced.get(id(s), nothing)) for s in settlements]

    def _end(self, when: float, result: Result) -> tuple[Any, ...]:
        """The parameters of _END."""
        outcome, number = result.outcome, result.recipient.number
        text = outcome.text[:_DIAGNOSTIC_LIMIT].encode("utf-8", "replace").decode()  # no lone surrogates
        return (outcome.action.value, when, outcome.status, text, outcome.remote_mta, number)

    def _replace(self, settlement: Settlement) -> tuple[tuple[QueuedRecipient, ...], bool]:
        """End what failed or expanded; what comes instead, the expansion or the report, comes only for
        recipients that were still there: not for what was removed by hand meanwhile."""
        added: list[QueuedRecipient] = []
        failed = 0
        for result in settlement.results:
            action = result.outcome.action
            if action in _SUCCESSES or action is Action.DELAYED:
                continue
            if not self._execute(_END, self._end(settlement.when, result)).rowcount:
                continue
            failed += action is Action.FAILED
            for recipient in result.expansion:
                row = self._new_recipient(settlement.message, settlement.when, recipient)
                marks = ",".join("?" * len(row))
                insert = f"INSERT INTO recipient ({_RECIPIENT}) VALUES ({marks}) ON CONFLICT DO NOTHING"
                if self._execute(insert, row).rowcount:
                    added.append(recipient)
        report = settlement.report if failed else None
        if report is not None:
            self._add([report])
        return tuple(added), report is not None

    def _remove_finished(self, messages: Sequence[int], reached: Sequence[int]) -> set[int]:
        """Remove those of the messages that have no recipient left, `reached` counting as ended already."""
        among, numbers = _listed(messages)
        besides, reached_numbers = _listed(reached)
        rows = self._execute(
            f"SELECT number FROM message WHERE number IN ({among}) AND NOT EXISTS (SELECT 1 FROM recipient r "
            "WHERE r.message = message.number AND r.state IN ('waiting', 'held') "
            f"AND r.number NOT IN ({besides}))",
            numbers + reached_numbers,
        )
        finished = [number for (number,) in rows.fetchall()]
        if finished:  # not DELETE … RETURNING, which SQLite has only since 3.35
            among, numbers = _listed(finished)
            self._execute(f"DELETE FROM message WHERE number IN ({among})", numbers)
        return set(finished)

    def due(self, after: tuple[float, int], until: float, limit: int) -> DuePage:
        """Recipients that wait for an attempt at `until` or before, behind the position `after`: the
        next_attempt and number of the last recipient seen."""
        where = (
            "(r.next_attempt, r.number) > (?, ?) AND r.next_attempt <= ? ORDER BY r.next_attempt, r.number"
        )
        page = self._due(where, (*after, until), limit)
        if not page.complete:
            return page
        later = "SELECT min(next_attempt) FROM recipient WHERE state = 'waiting' AND next_attempt > ?"
        return DuePage(page.recipients, True, self._execute(later, (until,)).fetchone()[0])

    def due_for(self, domain: str, until: float, limit: int) -> DuePage:
        """The same for one domain, from the beginning; `later` is not looked up."""
        return self._due(
            "r.domain = ? AND r.next_attempt <= ? ORDER BY r.next_attempt", (domain, until), limit
        )

    def _due(self, where: str, parameters: tuple[Any, ...], limit: int) -> DuePage:
        rows = self._execute(f"{_DUE} {where} LIMIT ?", (*parameters, limit)).fetchall()
        return DuePage(tuple(map(DueRecipient._make, rows)), len(rows) < limit)

    def message(self, number: int) -> StoredMessage | None:
        """A message with its body; None when it is not in the queue."""
        row = self._execute(f"SELECT {_MESSAGE} FROM message WHERE number = ?", (number,)).fetchone()
        return None if row is None else StoredMessage(*row)

    def present(self, numbers: Sequence[int]) -> set[int]:
        """Those of these messages that are in the queue."""
        among, padded = _listed(numbers)
        rows = self._execute(f"SELECT number FROM message WHERE number IN ({among})", padded)
        return {number for (number,) in rows.fetchall()}

    def highest(self) -> tuple[int, int]:
        """The greatest message number and the greatest recipient number in the queue; 0 when empty."""
        message, recipient = (
            self._execute(f"SELECT max(number) FROM {table}").fetchone()[0]
            for table in ("message", "recipient")
        )
        return message or 0, recipient or 0

    def data_version(self) -> int:
        """A number that changes when another connection has changed something."""
        version: int = self._execute("PRAGMA data_version").fetchone()[0]
        return version

    def take_interventions(self) -> list[Intervention]:
        """What was done by hand since this was last asked."""
        with self.transaction():
            taken = [Intervention(*row) for row in self._execute("SELECT message, action FROM intervention")]
            if taken:
                self._execute("DELETE FROM intervention")
        return taken

    # Administration

    def page(self, after: int, limit: int) -> list[StoredMessage]:
        """Messages behind the number `after`, oldest first, without head and body."""
        columns = _MESSAGE.replace("head, body", "x'', NULL")
        rows = self._execute(
            f"SELECT {columns} FROM message WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
        )
        return [StoredMessage(*row) for row in rows.fetchall()]

    def recipients(self, message: int) -> list[StoredRecipient]:
        """The recipients of a message, ended ones too, in the order in which they came."""
        rows = self._execute(
            f"SELECT {_RECIPIENT} FROM recipient WHERE message = ? ORDER BY number", (message,)
        )
        return [StoredRecipient(*row) for row in rows.fetchall()]

    def reschedule(self, message: int, when: float) -> int:
        """Try what waits at `when`; how many recipients that concerns."""
        statement = "UPDATE recipient SET next_attempt = ? WHERE message = ? AND state = 'waiting'"
        return self._execute(statement, (when, message)).rowcount

    def hold(self, message: int, diagnostic: str | None = None) -> int:
        """No more attempts until release; with a reason, when there is one beside somebody's wish."""
        statement = (
            "UPDATE recipient SET state = 'held', diagnostic = coalesce(?, diagnostic) "
            "WHERE message = ? AND state = 'waiting'"
        )
        return self._execute(statement, (diagnostic, message)).rowcount

    def release(self, message: int, when: float) -> int:
        """End a hold: the next attempt is at `when`."""
        statement = (
            "UPDATE recipient SET state = 'waiting', next_attempt = ? WHERE message = ? AND state = 'held'"
        )
        return self._execute(statement, (when, message)).rowcount

    def remove(self, message: int) -> int:
        """Forget a message, without a report to anybody."""
        return self._execute("DELETE FROM message WHERE number = ?", (message,)).rowcount

    def note(self, intervention: Intervention) -> None:
        """Leave word of it for the server."""
        values = (intervention.message, intervention.action)
        self._execute("INSERT INTO intervention (message, action) VALUES (?, ?)", values)

    # Recovery

    def check(self) -> None:
        """Read everything once. Raises DamagedDatabase, or what SQLite raises for damage."""
        row = self._execute("PRAGMA quick_check(1)").fetchone()
        if row != ("ok",):
            raise DamagedDatabase(str(row))

    def numbers(self, *, descending: bool, by_recipient: bool) -> Iterator[int]:
        """Message numbers, from either end of either table, as far as they can be read."""
        column, table = ("message", "recipient") if by_recipient else ("number", "message")
        order = "DESC" if descending else "ASC"
        rows = self._execute(f"SELECT {column} FROM {table} ORDER BY number {order}")
        for (number,) in rows:
            yield number

    def restore(self, message: StoredMessage, recipients: Sequence[StoredRecipient]) -> None:
        """Put back a message that was read from a damaged database."""
        self._insert(f"message ({_MESSAGE})", [astuple(message)])
        if recipients:
            self._insert(f"recipient ({_RECIPIENT})", [astuple(recipient) for recipient in recipients])
