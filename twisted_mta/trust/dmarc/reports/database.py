"""What is to be told to others of mail in their name, and what they have told us: every statement on
`dmarc.sqlite`; plain, blocking, single-threaded.

Nothing here is mail. When the file is damaged it is set aside and begun anew; what is lost are figures. The
SQL keeps to what SQLite and PostgreSQL share.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from twisted_mta.database import Database
from twisted_mta.trust.dmarc.record import ReportAddress
from twisted_mta.trust.dmarc.reports.aggregate import AggregateReport, Observation, Published

DATABASE = "dmarc.sqlite"  # in the data directory
MOST_ROWS_OF_A_DOMAIN = 10_000  # on one day
MOST_ROWS_OF_A_DAY = 200_000
MOST_DOMAINS_OF_A_DAY = 10_000  # each may get a report
MOST_REPORTS = 20_000  # of others
MOST_ROWS = 1_000_000  # in them

# One entry a version, never changed once released: add another. Times are seconds since the epoch, days are
# days since then, UTC.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE policy (
            day INTEGER NOT NULL,
            domain TEXT NOT NULL,        -- where the record stands
            published TEXT NOT NULL,     -- JSON of Published, as it was seen last that day
            addresses TEXT NOT NULL,     -- JSON: who wants the report, with the limits
            PRIMARY KEY (day, domain)
        )""",
        """CREATE TABLE observation (
            day INTEGER NOT NULL,
            domain TEXT NOT NULL,
            seen TEXT NOT NULL,          -- JSON of Observation
            messages INTEGER NOT NULL,
            PRIMARY KEY (day, domain, seen)
        )""",
        """CREATE TABLE dispatch (         -- of a report of ours to one address
            day INTEGER NOT NULL,
            domain TEXT NOT NULL,
            address TEXT NOT NULL,
            queue_id TEXT NOT NULL,      -- as which it was handed to the queue
            done INTEGER NOT NULL,       -- 0: the queue has not said yet that it has it
            PRIMARY KEY (day, domain, address)
        )""",
        """CREATE TABLE report (           -- of others, on our domains
            number INTEGER PRIMARY KEY,
            organization TEXT NOT NULL,
            identity TEXT NOT NULL,
            contact TEXT NOT NULL,
            domain TEXT NOT NULL,
            begins INTEGER NOT NULL,
            ends INTEGER NOT NULL,
            received REAL NOT NULL,
            sender TEXT NOT NULL,        -- the domain that DMARC proved to have sent it, or ''
            published TEXT NOT NULL,     -- JSON
            UNIQUE (organization, identity, domain, sender)
        )""",
        """CREATE TABLE reported (         -- the rows of a report
            report INTEGER NOT NULL,
            seen TEXT NOT NULL,
            messages INTEGER NOT NULL
        )""",
        "CREATE INDEX reported_report ON reported (report)",
        "CREATE INDEX report_received ON report (received)",
    ),
)

Day = tuple[int, str]  # a day and a policy's domain


class Policy(NamedTuple):
    """What a domain published, and who wants its reports."""

    published: Published
    addresses: tuple[ReportAddress, ...]


class Dispatch(NamedTuple):
    """See the table."""

    queue_id: str
    done: bool


class StoredReport(NamedTuple):
    """A report that was sent to us. `sender`: the domain that DMARC proved to have sent it, "" for nobody."""

    number: int
    received: float
    sender: str
    report: AggregateReport


class DmarcDatabase(Database):
    """One open connection. Every method raises sqlite3.Error when the disk or the file is at fault."""

    def __init__(self, path: Path, *, damaged: Callable[[Path], None] | None = None) -> None:
        """See `Database`. A power cut must not send a report twice."""
        super().__init__(path, MIGRATIONS, synchronous="FULL", damaged=damaged)

    # What is to be told to others

    def add(self, policies: Mapping[Day, Policy], counts: Mapping[tuple[int, str, Observation], int]) -> int:
        """By day and domain, and by observation. Returns for how many of them there was no room."""
        room = _Room(self._execute)
        refused = 0
        with self.transaction():
            for (day, domain, seen), count in counts.items():
                text = seen.to_json()
                known = self._execute(
                    "UPDATE observation SET messages = messages + ? "
                    "WHERE day = ? AND domain = ? AND seen = ?",
                    (count, day, domain, text),
                ).rowcount
                if known:
                    continue
                if not room.take(day, domain):
                    refused += 1
                    continue
                self._execute(
                    "INSERT INTO observation (day, domain, seen, messages) VALUES (?, ?, ?, ?)",
                    (day, domain, text, count),
                )
            for (day, domain), policy in policies.items():
                if room.has(day, domain):
                    self._keep_policy(day, domain, policy)
        return refused

    def _keep_policy(self, day: int, domain: str, policy: Policy) -> None:
        self._execute(
            "INSERT INTO policy (day, domain, published, addresses) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (day, domain) DO UPDATE SET "
            "published = excluded.published, addresses = excluded.addresses",
            (
                day,
                domain,
                json.dumps(asdict(policy.published)),
                json.dumps([(each.address, each.limit) for each in policy.addresses]),
            ),
        )

    def days_to_report(self, before: int) -> list[Day]:
        """Of all days before this one, in order."""
        rows = self._execute("SELECT day, domain FROM policy WHERE day < ? ORDER BY day, domain", (before,))
        return [(day, domain) for day, domain in rows]

    def policy(self, day: int, domain: str) -> Policy | None:
        """What was published that day."""
        row = self._execute(
            "SELECT published, addresses FROM policy WHERE day = ? AND domain = ?", (day, domain)
        ).fetchone()
        if row is None:
            return None
        addresses = tuple(ReportAddress(address, limit) for address, limit in json.loads(row[1]))
        return Policy(Published(**json.loads(row[0])), addresses)

    def observations(self, day: int, domain: str) -> tuple[tuple[Observation, int], ...]:
        """With the numbers of messages, in a certain order."""
        rows = self._execute(
            "SELECT seen, messages FROM observation WHERE day = ? AND domain = ? ORDER BY seen", (day, domain)
        )
        return tuple((Observation.from_json(text), count) for text, count in rows)

    def dispatched(self, day: int, domain: str) -> frozenset[str]:
        """The addresses that a report on that day was handed in for, as far as is known."""
        rows = self._execute("SELECT address FROM dispatch WHERE day = ? AND domain = ?", (day, domain))
        return frozenset(address for (address,) in rows)

    def undecided(self) -> list[tuple[int, str, str, str]]:
        """(day, domain, address, queue id) of those of which nobody knows whether the queue has taken
        them."""
        return self._execute("SELECT day, domain, address, queue_id FROM dispatch WHERE done = 0").fetchall()

    def keep_dispatch(self, day: int, domain: str, address: str, dispatch: Dispatch) -> None:
        """In place of an earlier one to that address; on disk when it returns."""
        self._execute(
            "INSERT INTO dispatch (day, domain, address, queue_id, done) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (day, domain, address) DO UPDATE SET "
            "queue_id = excluded.queue_id, done = excluded.done",
            (day, domain, address, dispatch.queue_id, int(dispatch.done)),
        )

    def forget_dispatch(self, day: int, domain: str, address: str) -> None:
        """The queue has not taken it."""
        self._execute(
            "DELETE FROM dispatch WHERE day = ? AND domain = ? AND address = ?", (day, domain, address)
        )

    def forget_day(self, day: int, domain: str) -> None:
        """It has been reported, or nobody wants to know."""
        with self.transaction():
            for table in ("observation", "dispatch", "policy"):
                self._execute(f"DELETE FROM {table} WHERE day = ? AND domain = ?", (day, domain))

    # What others have told us

    def keep_report(
        self, report: AggregateReport, now: float, *, sender: str = "", oldest: float = 0.0
    ) -> bool:
        """False when it was there already. Those received before `oldest` are forgotten, and the oldest where
        there are too many."""
        with self.transaction():
            self._forget("received < ?", oldest)
            added = self._execute(
                "INSERT INTO report "
                "(organization, identity, contact, domain, begins, ends, received, sender, published) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (organization, identity, domain, sender) DO NOTHING",
                (
                    report.organization,
                    report.identity,
                    report.contact,
                    report.published.domain,
                    report.begins,
                    report.ends,
                    now,
                    sender,
                    json.dumps(asdict(report.published)),
                ),
            )
            if not added.rowcount:
                return False
            number = added.lastrowid
            self._connection.executemany(
                "INSERT INTO reported (report, seen, messages) VALUES (?, ?, ?)",
                [(number, seen.to_json(), count) for seen, count in report.rows],
            )
            self._forget_first(MOST_REPORTS, MOST_ROWS)
        return True

    def _forget_first(self, reports: int, rows: int) -> None:
        """Those beyond so many."""
        self._forget("number <= (SELECT max(number) FROM report) - ?", reports)
        while int(self._execute("SELECT count(*) FROM reported").fetchone()[0]) > rows:
            self._forget("number = (SELECT min(number) FROM report WHERE ? > 0)", rows)

    def _forget(self, where: str, value: float) -> None:
        self._execute(
            f"DELETE FROM reported WHERE report IN (SELECT number FROM report WHERE {where})", (value,)
        )
        self._execute(f"DELETE FROM report WHERE {where}", (value,))

    def reports(self, since: float = 0.0, domain: str = "", *, number: int = 0) -> Iterator[StoredReport]:
        """Received since then, oldest first; on one domain, or all; the one of that number alone, unless
        0."""
        found = self._execute(
            "SELECT number, received, sender, organization, contact, identity, begins, ends, published "
            "FROM report WHERE received >= ? AND (domain = ? OR ? = '') AND (number = ? OR ? = 0) "
            "ORDER BY number",
            (since, domain, domain, number, number),
        ).fetchall()
        for of, received, sender, organization, contact, identity, begins, ends, published in found:
            rows = self._execute(
                "SELECT seen, messages FROM reported WHERE report = ? ORDER BY messages DESC, seen", (of,)
            )
            yield StoredReport(
                of,
                received,
                sender,
                AggregateReport(
                    organization,
                    contact,
                    identity,
                    begins,
                    ends,
                    Published(**json.loads(published)),
                    tuple((Observation.from_json(text), count) for text, count in rows),
                ),
            )


class _Room:
    """How much more may be kept, while some is added."""

    def __init__(self, execute: Callable[..., sqlite3.Cursor]) -> None:
        self._execute = execute
        self._rows: dict[Day, int] = {}  # that there are
        self._of_day: dict[int, tuple[int, int]] = {}  # rows and domains

    def take(self, day: int, domain: str) -> bool:
        """One more row; False when there is no room."""
        rows = self._counted(day, domain)
        all_rows, domains = self._of_day[day]
        if rows >= MOST_ROWS_OF_A_DOMAIN or all_rows >= MOST_ROWS_OF_A_DAY:
            return False
        if not rows and domains >= MOST_DOMAINS_OF_A_DAY:
            return False
        self._rows[day, domain] = rows + 1
        self._of_day[day] = all_rows + 1, domains + (not rows)
        return True

    def has(self, day: int, domain: str) -> bool:
        """Whether there is any row."""
        return self._counted(day, domain) > 0

    def _counted(self, day: int, domain: str) -> int:
        if day not in self._of_day:
            self._of_day[day] = self._execute(
                "SELECT count(*), count(DISTINCT domain) FROM observation WHERE day = ?", (day,)
            ).fetchone()
        if (day, domain) not in self._rows:
            self._rows[day, domain] = self._execute(
                "SELECT count(*) FROM observation WHERE day = ? AND domain = ?", (day, domain)
            ).fetchone()[0]
        return self._rows[day, domain]
