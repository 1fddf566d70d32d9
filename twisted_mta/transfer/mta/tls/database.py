"""What is remembered of the TLS of others: every statement on `tls.sqlite`; plain, blocking, single-threaded.

Nothing here is mail. When the file is damaged it is set aside and begun anew; what is lost are policies,
which are fetched again, and figures. The SQL keeps to what SQLite and PostgreSQL share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from twisted_mta.database import Database
from twisted_mta.transfer.mta.tls.findings import Finding

DATABASE = "tls.sqlite"  # in the data directory

# One entry a version, never changed once released: add another. Times are seconds since the epoch.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE policy (
            domain TEXT PRIMARY KEY,     -- whose MTA-STS policy this is
            id TEXT NOT NULL,            -- of the DNS record when it was fetched
            body BLOB NOT NULL,
            fetched REAL NOT NULL,
            expires REAL NOT NULL
        )""",
        "CREATE INDEX policy_expires ON policy (expires)",
        """CREATE TABLE host (
            name TEXT PRIMARY KEY,       -- a mail server that has spoken TLS with us
            first REAL NOT NULL,
            last REAL NOT NULL,          -- when it did, to the day
            lost REAL                    -- when it was seen without, NULL: it has it
        )""",
        """CREATE TABLE finding (
            day INTEGER NOT NULL,        -- days since the epoch, UTC
            domain TEXT NOT NULL,
            finding TEXT NOT NULL,       -- JSON, see findings.py
            sessions INTEGER NOT NULL,
            PRIMARY KEY (day, domain, finding)
        )""",
        """CREATE TABLE report (          -- of others, on mail to us
            number INTEGER PRIMARY KEY,
            organization TEXT NOT NULL,
            report_id TEXT NOT NULL,
            begins TEXT NOT NULL,        -- as it is written in the report
            domain TEXT NOT NULL,
            received REAL NOT NULL,
            successes INTEGER NOT NULL,
            failures INTEGER NOT NULL,
            body TEXT NOT NULL,          -- JSON
            UNIQUE (organization, report_id)
        )""",
    ),
)


class StoredPolicy(NamedTuple):
    """A policy of another domain as it was fetched."""

    domain: str
    id: str
    body: bytes
    fetched: float
    expires: float


class KnownHost(NamedTuple):
    """A mail server that has spoken TLS. `lost`: when it was first seen without, None while it has it."""

    name: str
    first: float
    last: float
    lost: float | None


class StoredReport(NamedTuple):
    """A report that was sent to us, and its sums."""

    organization: str
    report_id: str
    begins: str
    domain: str
    received: float
    successes: int
    failures: int
    body: str


class TlsDatabase(Database):
    """One open connection. Every method raises sqlite3.Error when the disk or the file is at fault."""

    def __init__(self, path: Path, *, damaged: Callable[[Path], None] | None = None) -> None:
        """See `Database`."""
        super().__init__(path, MIGRATIONS, damaged=damaged)

    # Policies

    def policies(self, now: float, limit: int) -> list[StoredPolicy]:
        """Those that have not expired, the last fetched first. What has expired is forgotten."""
        self._execute("DELETE FROM policy WHERE expires <= ?", (now,))
        rows = self._execute(
            "SELECT domain, id, body, fetched, expires FROM policy ORDER BY fetched DESC LIMIT ?", (limit,)
        )
        return [StoredPolicy(*row) for row in rows]

    def keep_policy(self, policy: StoredPolicy) -> None:
        """In place of the domain's earlier one."""
        with self.transaction():
            self._execute("DELETE FROM policy WHERE domain = ?", (policy.domain,))
            self._execute(
                "INSERT INTO policy (domain, id, body, fetched, expires) VALUES (?, ?, ?, ?, ?)", policy
            )

    # Hosts that have spoken TLS

    def hosts(self, limit: int) -> list[KnownHost]:
        """The last seen first."""
        rows = self._execute("SELECT name, first, last, lost FROM host ORDER BY last DESC LIMIT ?", (limit,))
        return [KnownHost(*row) for row in rows]

    def keep_hosts(self, hosts: Iterable[KnownHost]) -> None:
        """In place of what was known of them."""
        hosts = list(hosts)
        with self.transaction():
            self._connection.executemany("DELETE FROM host WHERE name = ?", [(host.name,) for host in hosts])
            self._connection.executemany(
                "INSERT INTO host (name, first, last, lost) VALUES (?, ?, ?, ?)", hosts
            )

    def forget_host(self, name: str) -> bool:
        """False when it was not known."""
        return self._execute("DELETE FROM host WHERE name = ?", (name,)).rowcount > 0

    # What is to be reported to others

    def add_findings(self, counts: Mapping[tuple[int, str, Finding], int]) -> None:
        """By day, domain and finding."""
        rows = [(day, domain, finding.to_json(), count) for (day, domain, finding), count in counts.items()]
        with self.transaction():
            self._connection.executemany(
                "INSERT INTO finding (day, domain, finding, sessions) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (day, domain, finding) DO UPDATE SET "
                "sessions = finding.sessions + excluded.sessions",
                rows,
            )

    def days_with_findings(self, before: int) -> list[tuple[int, str]]:
        """(day, domain) of all days before this one, in order."""
        rows = self._execute(
            "SELECT DISTINCT day, domain FROM finding WHERE day < ? ORDER BY day, domain", (before,)
        )
        return [(day, domain) for day, domain in rows]

    def findings(self, day: int, domain: str) -> list[tuple[Finding, int]]:
        """With the number of sessions."""
        rows = self._execute(
            "SELECT finding, sessions FROM finding WHERE day = ? AND domain = ?", (day, domain)
        )
        return [(Finding.from_json(text), count) for text, count in rows]

    def forget_findings(self, day: int, domain: str) -> None:
        """They have been reported, or nobody wants to know."""
        self._execute("DELETE FROM finding WHERE day = ? AND domain = ?", (day, domain))

    # What others have reported to us

    def keep_report(self, report: StoredReport, most: int) -> bool:
        """False when it was there already. The oldest beyond `most` are forgotten."""
        with self.transaction():
            added = self._execute(
                "INSERT INTO report "
                "(organization, report_id, begins, domain, received, successes, failures, body) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (organization, report_id) DO NOTHING",
                report,
            ).rowcount
            self._execute("DELETE FROM report WHERE number <= (SELECT max(number) FROM report) - ?", (most,))
        return added > 0

    def reports(self, since: float, domain: str = "") -> list[StoredReport]:
        """Received since then, oldest first; on one domain, or all."""
        rows: Sequence[Any] = self._execute(
            "SELECT organization, report_id, begins, domain, received, successes, failures, body FROM report "
            "WHERE received >= ? AND (domain = ? OR ? = '') ORDER BY number",
            (since, domain, domain),
        ).fetchall()
        return [StoredReport(*row) for row in rows]
