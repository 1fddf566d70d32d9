"""How much an account may send: messages, recipients, and people it has never written to, in 24 hours.

A stolen password is worth little when what it can send is bounded (RFC 6409 §3.2 leaves the policy to the
server). What was sent is counted by the hour and forgotten after a day. Who has been written to is kept as a
hash of the address, for the latest KNOWN of each account; who falls off the end of that list counts as new
again.

It is a SQLite file of its own, and one thread works on it. A power cut costs what was counted last; a file
that is damaged is put aside, and counting begins anew. When the disk refuses, mail goes on and the log says
so: the limits protect others from a thief, they are not worth losing mail for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from twisted.logger import Logger

from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.transfer.msa.database import Database, DatabaseReactor

HOURS = 24
KNOWN = 10_000  # people an account has written to that are remembered

_HOUR = 3600
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS sent (
        account TEXT NOT NULL,
        hour INTEGER NOT NULL,        -- since the epoch
        messages INTEGER NOT NULL,
        recipients INTEGER NOT NULL,
        newcomers INTEGER NOT NULL,
        PRIMARY KEY (account, hour)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS known (
        account TEXT NOT NULL,
        person BLOB NOT NULL,         -- hash of the address
        hour INTEGER NOT NULL,        -- when they were last written to
        PRIMARY KEY (account, person)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS known_hour ON known (account, hour)",
    "CREATE INDEX IF NOT EXISTS known_person ON known (person)",
)

T = TypeVar("T")


class SendingLimits(NamedTuple):
    """The most in 24 hours; None: no limit. `newcomers`: recipients that were never written to before."""

    messages: int | None = None
    recipients: int | None = None
    newcomers: int | None = None


class Sent(NamedTuple):
    """What was sent in 24 hours."""

    messages: int = 0
    recipients: int = 0
    newcomers: int = 0


NO_LIMITS = SendingLimits()
LimitsOf = Callable[[str], SendingLimits]  # by account name


class Tally(Protocol):
    """One message of an account, while its recipients are named."""

    async def add(self, forward_path: Address) -> None:
        """One more recipient. Raises MailError (452 4.7.1, 450 4.7.1) when that is too many."""

    async def take(self, forward_paths: Sequence[Address]) -> None:
        """The message is about to be sent to these, and counts. Raises MailError (450, 452)."""

    async def give_back(self) -> None:
        """It was not sent after all."""


class Counting(Protocol):
    """Who counts what an account sends."""

    async def tally(self, account: str) -> Tally:
        """For a new message. Raises MailError (450 4.7.1) when that is one too many."""


class _Uncounted:
    """No limits, and nothing is remembered."""

    async def tally(self, account: str) -> Tally:
        return self

    async def add(self, forward_path: Address) -> None:
        pass

    async def take(self, forward_paths: Sequence[Address]) -> None:
        pass

    async def give_back(self) -> None:
        pass


UNCOUNTED: Counting = _Uncounted()


@asynccontextmanager
async def counted(tally: Tally, forward_paths: Sequence[Address]) -> AsyncIterator[None]:
    """While the message is put into the queue: it counts before, so that no two can share the last message of
    a day, and does not when the queue refuses. Raises MailError (450, 452)."""
    await tally.take(forward_paths)
    try:
        yield
    except BaseException:
        await tally.give_back()
        raise


class Allowances:
    """`path` is the database. limits_of: what an account may send, asked for each message; renew_limits is
    awaited before."""

    log = Logger(namespace="twisted_mta.submission")

    def __init__(
        self,
        path: Path,
        *,
        reactor: DatabaseReactor,
        limits_of: LimitsOf,
        renew_limits: Callable[[], Awaitable[None]],
    ) -> None:
        self._database = Database(path, reactor=reactor, schema=_SCHEMA, synchronous="NORMAL")
        self._reactor = reactor
        self._limits_of = limits_of
        self._renew_limits = renew_limits

    async def start(self) -> None:
        """Open the database. Raises sqlite3.Error, OSError."""
        await self._database.start()
        await self._ask(_forget_old, None)

    async def stop(self) -> None:
        """Close it."""
        await self._database.stop()

    async def tally(self, account: str) -> Tally:
        """See Counting."""
        await self._renew_limits()
        limits = self._limits_of(account)
        sent = Sent() if limits == NO_LIMITS else await self._ask(partial(_sent, account=account), Sent())
        _require(sent, Sent(messages=1), limits)
        return _Message(self, account, limits, sent)

    async def knows(self, account: str, person: bytes) -> bool:
        """True when the account has written to that person before."""
        return await self._ask(partial(_knows, account=account, person=person), True)

    async def anybody_knows(self, address: Address) -> bool:
        """True when some account has written to that address before."""
        return await self._ask(partial(_anybody_knows, person=_person(address)), False)

    async def record(self, account: str, people: Sequence[bytes], limits: SendingLimits) -> Sent:
        """Count a message to these people; what it added. Raises MailError (450, 452)."""
        return await self._ask(partial(_record, account=account, people=people, limits=limits), Sent())

    async def take_off(self, account: str, added: Sent) -> None:
        """Count less by that much. Who was written to stays known."""
        less = Sent(*(-number for number in added))
        await self._ask(partial(_add, account=account, added=less), None)

    async def _ask(self, work: Callable[[sqlite3.Connection, int], T], otherwise: T) -> T:
        """In the thread, with the hour that it is; `otherwise` when the disk refuses."""
        hour = int(self._reactor.seconds()) // _HOUR
        try:
            return await self._database.ask(lambda connection: work(connection, hour))
        except sqlite3.Error as error:
            path = self._database.path
            self.log.error("{path}: {error}; nobody is held to limits", path=path, error=error)
            return otherwise


@dataclass(slots=True)
class _Message:
    """See Tally. `recipients` and `newcomers` are those named so far; the count that binds is that of `take`,
    for others may send at the same time."""

    allowances: Allowances
    account: str
    limits: SendingLimits
    sent: Sent
    recipients: int = 0
    newcomers: int = 0
    people: set[bytes] = field(default_factory=set)
    taken: Sent | None = None

    async def add(self, forward_path: Address) -> None:
        person = _person(forward_path)
        if self.limits == NO_LIMITS or person in self.people:
            return
        new = self.limits.newcomers is not None and not await self.allowances.knows(self.account, person)
        _require(self.sent, Sent(1, self.recipients + 1, self.newcomers + new), self.limits)
        self.people.add(person)
        self.recipients += 1
        self.newcomers += new

    async def take(self, forward_paths: Sequence[Address]) -> None:
        people = list(dict.fromkeys(map(_person, forward_paths)))
        self.taken = await self.allowances.record(self.account, people, self.limits)

    async def give_back(self) -> None:
        taken, self.taken = self.taken, None
        if taken is not None:
            await self.allowances.take_off(self.account, taken)


def stored_usage(path: Path, account: str, now: float) -> Sent:
    """What an account has sent in 24 hours, from the database of a server that runs or not. Blocking. Raises
    sqlite3.Error. now: seconds since the epoch."""
    if not path.exists():
        return Sent()
    with closing(_opened(path)) as database:
        return _sent(database, int(now) // _HOUR, account=account)


def stored_acquaintance(path: Path, account: str, address: Address) -> bool:
    """Whether an account has written to that address before; False when that cannot be read. Blocking."""
    try:
        with closing(_opened(path)) as database:
            return _knows(database, 0, account=account, person=_person(address))
    except sqlite3.Error:
        return False


def _opened(path: Path) -> sqlite3.Connection:
    """To read only. Raises sqlite3.Error."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _person(address: Address) -> bytes:
    return blake2b(address.key.encode(), digest_size=16).digest()


def _require(sent: Sent, more: Sent, limits: SendingLimits) -> None:
    """Raises MailError in words for people when what is to be sent is too much."""
    if _is_over(sent.messages, more.messages, limits.messages):
        what = f"{sent.messages} messages"
        raise MailError(450, "4.7.1", _SENTENCE.format(what=what, limit=limits.messages))
    if _is_over(sent.recipients, more.recipients, limits.recipients):
        what = f"messages to {sent.recipients + more.recipients - 1} recipients"
        raise MailError(452, "4.7.1", _SENTENCE.format(what=what, limit=limits.recipients))
    if _is_over(sent.newcomers, more.newcomers, limits.newcomers):
        what = f"messages to {sent.newcomers + more.newcomers - 1} people you never wrote to before"
        raise MailError(450, "4.7.1", _SENTENCE.format(what=what, limit=limits.newcomers))


_SENTENCE = (
    f"You have sent {{what}} within {HOURS} hours and may send {{limit}}; try again later, or ask your "
    "postmaster for more"
)


def _is_over(sent: int, more: int, limit: int | None) -> bool:
    return limit is not None and more > 0 and sent + more > limit


# In the thread


def _sent(database: sqlite3.Connection, hour: int, *, account: str) -> Sent:
    row = database.execute(
        "SELECT COALESCE(SUM(messages), 0), COALESCE(SUM(recipients), 0), COALESCE(SUM(newcomers), 0)"
        " FROM sent WHERE account = ? AND hour > ? AND hour <= ?",
        (account, hour - HOURS, hour),
    ).fetchone()
    return Sent(*row)


def _knows(database: sqlite3.Connection, hour: int, *, account: str, person: bytes) -> bool:
    query = "SELECT 1 FROM known WHERE account = ? AND person = ?"
    return database.execute(query, (account, person)).fetchone() is not None


def _anybody_knows(database: sqlite3.Connection, hour: int, *, person: bytes) -> bool:
    query = "SELECT 1 FROM known WHERE person = ? LIMIT 1"
    return database.execute(query, (person,)).fetchone() is not None


def _record(
    database: sqlite3.Connection, hour: int, *, account: str, people: Sequence[bytes], limits: SendingLimits
) -> Sent:
    new = sum(not _knows(database, hour, account=account, person=person) for person in people)
    added = Sent(1, len(people), new)
    _require(_sent(database, hour, account=account), added, limits)
    _add(database, hour, account=account, added=added)
    _remember(database, hour, account, people, new)
    return added


def _forget_old(database: sqlite3.Connection, hour: int) -> None:
    query = "SELECT DISTINCT account FROM sent WHERE hour <= ?"
    for (account,) in database.execute(query, (hour - HOURS,)).fetchall():
        _forget_old_of(database, hour, account)


def _forget_old_of(database: sqlite3.Connection, hour: int, account: str) -> None:
    """What is old, and with it hours to come: they are from before it (they would have had it forgotten),
    when the clock was ahead, and must not count when they are there. While nothing is old the clock may be
    behind for a moment, and they are right."""
    old = database.execute("DELETE FROM sent WHERE account = ? AND hour <= ?", (account, hour - HOURS))
    if old.rowcount:
        database.execute("DELETE FROM sent WHERE account = ? AND hour > ?", (account, hour))


def _add(database: sqlite3.Connection, hour: int, *, account: str, added: Sent) -> None:
    database.execute(
        "INSERT INTO sent VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET messages = messages +"
        " excluded.messages, recipients = recipients + excluded.recipients, newcomers = newcomers +"
        " excluded.newcomers",
        (account, hour, *added),
    )
    _forget_old_of(database, hour, account)


def _remember(
    database: sqlite3.Connection, hour: int, account: str, people: Iterable[bytes], new: int
) -> None:
    database.executemany(
        "INSERT INTO known VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET hour = excluded.hour"
        " WHERE hour < excluded.hour",
        [(account, person, hour) for person in people],
    )
    if new:
        database.execute(
            "DELETE FROM known WHERE account = ?1 AND person IN"
            " (SELECT person FROM known WHERE account = ?1 ORDER BY hour DESC LIMIT -1 OFFSET ?2)",
            (account, KNOWN),
        )
