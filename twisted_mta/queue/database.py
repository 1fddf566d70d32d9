"""The statements that the server works the queue with; plain, blocking and single-threaded.

Those of administration are in `selection.py`, and what the columns mean is in `schema.py`. The SQL keeps to
what SQLite and PostgreSQL share. Statements work on whole batches with few calls into SQLite: each call
gives up the interpreter lock, and getting it back from a busy reactor costs more than the statement.

Exactly one process may work the queue off (`MailQueue` sees to that); any number of others may open the
database to administer it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, replace
from itertools import chain
from pathlib import Path
from typing import Any

from twisted_mta.database import transaction
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
from twisted_mta.queue.rows import (
    MESSAGE,
    NEW_RECIPIENT,
    NEW_RECIPIENT_TOO,
    NEW_RECIPIENT_VALUES,
    PARAMETERS,
    RECIPIENT,
    STORED_MESSAGE,
    STORED_MESSAGE_FROM,
    message_row,
    new_recipient_row,
    parameters_row,
    stored_message,
    stored_recipient,
)
from twisted_mta.queue.schema import DamagedDatabase, connect

_DUE = (
    "SELECT r.message, CASE WHEN p.hold_until > m.arrived THEN p.hold_until ELSE m.arrived END, "
    "r.next_attempt, r.number, r.forward_path, r.domain, r.attempts, r.original_path, r.notify, r.orcpt, "
    "r.delay_told, r.route, r.returned, coalesce(p.priority, 0), p.deliver_by, "
    "m.reverse_path, coalesce(p.account, ''), r.passed_over "
    "FROM recipient r JOIN message m ON m.number = r.message LEFT JOIN parameters p ON p.message = r.message "
    "WHERE r.state = 'waiting' AND "
)
# A recipient that ended meanwhile, or was removed by hand, stays as it is.
_END = (
    "UPDATE recipient SET state = ?, attempts = attempts + 1, last_attempt = ?, status = ?, diagnostic = ?, "
    "remote_mta = ? WHERE number = ? AND state IN ('waiting', 'held')"
)
# What is to be returned by hand, or to go another way, is not put off by an attempt that began before that.
_DELAY = _END.replace(
    "state = ?",
    "next_attempt = CASE WHEN returned = ? AND route = ? THEN ? ELSE next_attempt END, "
    "delay_told = CASE delay_told WHEN 0 THEN ? ELSE 1 END",
    1,
)
_NEW_RECIPIENTS = f"recipient ({NEW_RECIPIENT}, {NEW_RECIPIENT_TOO})"
_SUCCESSES = frozenset({Action.DELIVERED, Action.RELAYED})
_DIAGNOSTIC_LIMIT = 1000  # characters kept of a remote reply
_MOST_ROWS = 64  # rows in one INSERT
_ANY_ROWS = 16  # up to here of any number; beyond, a power of two: few statements to prepare


def _listed(values: Sequence[int]) -> tuple[str, list[int]]:
    """Placeholders and parameters of an IN list, padded to a power of two: few statements to prepare."""
    padded = [*values] or [-1]
    padded += padded[-1:] * ((1 << (len(padded) - 1).bit_length()) - len(padded))
    return ",".join("?" * len(padded)), padded


class QueueDatabase:
    """One open connection. Every method raises sqlite3.Error when the disk or the file is at fault."""

    def __init__(self, path: Path, *, timeout: float = 30.0, damaged: bool = False) -> None:
        """Opens, and creates or migrates; see `connect`. Raises sqlite3.Error, OSError or SchemaTooNew."""
        self._connection = connect(path, timeout=timeout, damaged=damaged)
        self._execute = self._connection.execute

    def close(self) -> None:
        """Close; the last one to close folds the log into the database."""
        self._connection.close()

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing; durable when it has been left."""
        return transaction(self._connection)

    def touch(self) -> None:
        """Write something that changes nothing, to learn whether that can be done."""
        with self.transaction():
            version = self._execute("PRAGMA user_version").fetchone()[0]
            self._execute(f"PRAGMA user_version = {version}")

    # What the server does

    def commit(self, additions: Sequence[NewMessage], settlements: Sequence[Settlement]) -> list[Settled]:
        """Record all of these in one transaction; the results are those of the settlements, in order."""
        with self.transaction():
            if additions:
                self._add(additions)
            return self._settle(settlements) if settlements else []

    def _insert(self, into: str, rows: Sequence[tuple[Any, ...]], also: str = "") -> None:
        """also: constants that end each row, with a comma in front."""
        values = f"({','.join('?' * len(rows[0]))}{also})"
        start = 0
        while start < len(rows):
            left = len(rows) - start
            count = left if left <= _ANY_ROWS else min(_MOST_ROWS, 1 << (left.bit_length() - 1))
            piece = rows[start : start + count]
            statement = f"INSERT INTO {into} VALUES {','.join([values] * count)}"
            self._execute(statement, list(chain.from_iterable(piece)))
            start += count

    def _add(self, additions: Iterable[NewMessage]) -> None:
        messages, parameters, recipients = [], [], []
        for new in additions:
            messages.append(message_row(new))
            if given := parameters_row(new.number, new.account, new.parameters):
                parameters.append(given)
            begins = new.begins
            recipients += [new_recipient_row(new.number, begins, r) for r in new.recipients]
        self._insert(f"message ({MESSAGE})", messages)
        if parameters:
            self._insert(f"parameters ({PARAMETERS})", parameters)
        self._insert(_NEW_RECIPIENTS, recipients, f", {NEW_RECIPIENT_VALUES}")

    def _settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        reached: list[tuple[float, Result]] = []
        touched, delayed, singly = set(), [], {}
        for settlement in settlements:
            for result in settlement.results:
                if result.outcome.action in _SUCCESSES:
                    reached.append((settlement.when, result))
                elif result.outcome.action is Action.DELAYED and settlement.report is None:
                    delayed.append(self._delay(settlement.when, result))
                else:
                    singly[id(settlement)] = settlement
            if settlement.report is not None:
                singly[id(settlement)] = settlement
            touched.add(settlement.message)
        if delayed:
            self._connection.executemany(_DELAY, delayed)
        replaced = {key: self._replace(settlement) for key, settlement in singly.items()}
        finished = self._remove_finished(list(touched), [result.recipient.number for _, result in reached])
        if len(finished) < len(touched):
            self._connection.executemany(_END, [self._end(when, result) for when, result in reached])
        last = {settlement.message: settlement for settlement in settlements}
        settled = []
        for each in settlements:
            # Of several that finish a message together one is told so.
            ended = each.message in finished and last[each.message] is each
            done = replaced.get(id(each))
            settled.append(Settled(ended) if done is None else replace(done, finished=ended))
        return settled

    def _end(self, when: float, result: Result) -> tuple[Any, ...]:
        """The parameters of _END."""
        outcome, number = result.outcome, result.recipient.number
        text = outcome.text[:_DIAGNOSTIC_LIMIT].encode("utf-8", "replace").decode()  # no lone surrogates
        return (outcome.action.value, when, outcome.status, text, outcome.remote_mta, number)

    def _delay(self, when: float, result: Result) -> tuple[Any, ...]:
        """The parameters of _DELAY."""
        recipient = result.recipient
        settings = (recipient.returned, recipient.route)
        return (*settings, result.next_attempt, result.delay_told, *self._end(when, result)[1:])

    def _replace(self, settlement: Settlement) -> Settled:
        """Record what failed or expanded, and what the sender is told of; what comes of it, the expansion or
        the report, comes only for recipients that were still there, not for what was removed by hand
        meanwhile. What was delivered was delivered all the same."""
        added: list[QueuedRecipient] = []
        concerned = 0
        nowhere = set()
        self._execute("SAVEPOINT replaced")
        for result in settlement.results:
            action = result.outcome.action
            if action in _SUCCESSES:
                concerned += 1
            elif action is Action.DELAYED:
                if settlement.report is not None:
                    concerned += self._execute(_DELAY, self._delay(settlement.when, result)).rowcount
            elif self._execute(_END, self._end(settlement.when, result)).rowcount:
                concerned += 1
                new = list(self._expand(settlement, result))
                added += new
                if action is Action.EXPANDED and not new and self._leads_nowhere(settlement.message, result):
                    nowhere.add(result.recipient.number)
        report = settlement.report if concerned and not nowhere else None
        if report is not None:
            self._add([report])
        if nowhere:
            self._execute("ROLLBACK TO replaced")
        self._execute("RELEASE replaced")
        return Settled(False, () if nowhere else tuple(added), report is not None, frozenset(nowhere))

    def _expand(self, settlement: Settlement, result: Result) -> Iterator[QueuedRecipient]:
        """Those that were not recipients already."""
        for recipient in result.expansion:
            row = new_recipient_row(settlement.message, settlement.when, recipient)
            values = f"{','.join('?' * len(row))}, {NEW_RECIPIENT_VALUES}"
            insert = f"INSERT INTO {_NEW_RECIPIENTS} VALUES ({values}) ON CONFLICT DO NOTHING"
            if self._execute(insert, row).rowcount:
                yield recipient

    def _leads_nowhere(self, message: int, result: Result) -> bool:
        """Whether an expansion that brought nobody new ends in a circle: all that came of the sender's
        addresses it leads to was replaced by other addresses in turn."""
        members = ",".join(["lower(?)"] * len(result.expansion))
        row = self._execute(
            "SELECT 1 FROM recipient WHERE message = ? AND state <> 'expanded' AND "
            "lower(coalesce(original_path, forward_path)) IN ("
            "SELECT lower(coalesce(original_path, forward_path)) FROM recipient "
            f"WHERE message = ? AND lower(forward_path) IN ({members})) LIMIT 1",
            (message, message, *(str(member.forward_path) for member in result.expansion)),
        ).fetchone()
        return row is None

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

    def pass_over(self, numbers: Sequence[int]) -> None:
        """These recipients are from now on found by `due_for`, too. Not synced: after a power cut they are
        passed over once more."""
        among, padded = _listed(numbers)
        self._execute("PRAGMA synchronous = NORMAL")
        try:
            self._execute(f"UPDATE recipient SET passed_over = 1 WHERE number IN ({among})", padded)
        finally:
            self._execute("PRAGMA synchronous = FULL")

    def due_for(self, domain: str, after: tuple[float, int], until: float, limit: int) -> DuePage:
        """As `due`, of those that were passed over for one domain; `later` is not looked up."""
        where = (
            "r.passed_over = 1 AND r.domain = ? AND (r.next_attempt, r.number) > (?, ?) AND "
            "r.next_attempt <= ? ORDER BY r.next_attempt, r.number"
        )
        return self._due(where, (domain, *after, until), limit)

    def _due(self, where: str, parameters: tuple[Any, ...], limit: int) -> DuePage:
        rows = self._execute(f"{_DUE} {where} LIMIT ?", (*parameters, limit)).fetchall()
        return DuePage(tuple(map(DueRecipient._make, rows)), len(rows) < limit)

    def retry(self, diagnostic: str, now: float) -> int:
        """Whose last attempt came to this is due now; how many they are. Looks at all that wait."""
        statement = (
            "UPDATE recipient SET next_attempt = ? WHERE state = 'waiting' AND next_attempt > ? "
            "AND diagnostic = ?"
        )
        return self._execute(statement, (now, now, diagnostic)).rowcount

    def message(self, number: int) -> StoredMessage | None:
        """A message with its body; None when it is not in the queue."""
        statement = f"SELECT {STORED_MESSAGE} FROM {STORED_MESSAGE_FROM} WHERE m.number = ?"
        row = self._execute(statement, (number,)).fetchone()
        return None if row is None else stored_message(row)

    def present(self, numbers: Sequence[int]) -> set[int]:
        """Those of these messages that are in the queue."""
        among, padded = _listed(numbers)
        rows = self._execute(f"SELECT number FROM message WHERE number IN ({among})", padded)
        return {number for (number,) in rows.fetchall()}

    def has_envelope(self, envid: str) -> bool:
        """Whether a message with this envelope id is in the queue. Looks at all that have parameters."""
        statement = "SELECT EXISTS (SELECT * FROM parameters WHERE envid = ?)"
        return bool(self._execute(statement, (envid,)).fetchone()[0])

    def has_recipient(self, account: str, orcpt: str) -> bool:
        """Whether a message that this account submitted has a recipient with that ORCPT."""
        statement = (
            "SELECT EXISTS (SELECT * FROM recipient r JOIN parameters p ON p.message = r.message "
            "WHERE r.orcpt = ? AND p.account = ?)"
        )
        return bool(self._execute(statement, (orcpt, account)).fetchone()[0])

    def highest(self) -> tuple[int, int]:
        """The greatest message number and the greatest recipient number in the queue; 0 when empty."""
        message, recipient = (
            self._execute(f"SELECT max(number) FROM {table}").fetchone()[0]
            for table in ("message", "recipient")
        )
        return message or 0, recipient or 0

    def reusable(self) -> int:
        """Octets of the file that are free for what comes next."""
        pages, size = (
            self._execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size")
        )
        return int(pages * size)

    def data_version(self) -> int:
        """A number that changes when another connection has changed something."""
        version: int = self._execute("PRAGMA data_version").fetchone()[0]
        return version

    def set_back(self, by: float, now: float) -> None:
        """The clock was set back by so many seconds: what was planned moves along with it. now: what it says
        by now. What has not been attempted and is not due is released at a time of the sender's choice."""
        self._execute(
            "UPDATE recipient SET next_attempt = next_attempt - ? WHERE state = 'waiting' AND "
            "next_attempt > ? AND (attempts > 0 OR next_attempt <= ?)",
            (by, now, now + by),
        )

    def take_interventions(self) -> list[Intervention]:
        """What was done by hand since this was last asked."""
        with self.transaction():
            rows = self._execute("SELECT message, action, recipient FROM intervention")
            taken = [Intervention(*row) for row in rows]
            if taken:
                self._execute("DELETE FROM intervention")
        return taken

    def hold(self, message: int, diagnostic: str | None = None) -> int:
        """No more attempts until release; with a reason, when there is one beside somebody's wish."""
        statement = (
            "UPDATE recipient SET state = 'held', diagnostic = coalesce(?, diagnostic) "
            "WHERE message = ? AND state = 'waiting'"
        )
        return self._execute(statement, (diagnostic, message)).rowcount

    # Recovery

    def recipients(self, message: int) -> list[StoredRecipient]:
        """The recipients of a message, ended ones too, in the order in which they came."""
        rows = self._execute(
            f"SELECT {RECIPIENT} FROM recipient WHERE message = ? ORDER BY number", (message,)
        )
        return list(map(stored_recipient, rows.fetchall()))

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
        given = message.parameters
        values = (message.number, message.reverse_path, given.body, message.arrived, message.size)
        self._insert(f"message ({MESSAGE})", [(*values, message.checksum, message.head, message.body)])
        if row := parameters_row(message.number, message.account, given):
            self._insert(f"parameters ({PARAMETERS})", [row])
        if recipients:
            self._insert(f"recipient ({RECIPIENT})", [astuple(recipient) for recipient in recipients])
