"""What one account thinks of its mail, learned from what its owner moves: the tokens of junk and of mail, and
the senders.

A SQLite file beside the account's index; to lose it is to learn again. Plain blocking functions, for a
thread. Each message is learned once, and learned anew when its owner changes his mind; tokens and senders
that were seen once and long ago make room for others. Tokens are kept as hashes: the file does not tell what
was in the mail.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from twisted_mta.trust.abuse.bayes import Counts, probability

FILE = "junk.sqlite"
MOST_TOKENS = 150_000
MOST_SENDERS = 20_000
MOST_MESSAGES = 20_000  # that are remembered as learned
NEEDED = 20  # messages of each kind before the words of a message count
_TIDY_EVERY = 50  # messages learned between two looks at the size
_AT_ONCE = 500  # tokens in a query
_DAY = 86400
_MAPPED = 32 << 20  # octets of the file that are read where they are, without a call for each page

# `day`: when it was learned last, since the epoch.
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS token (hash INTEGER PRIMARY KEY, junk INTEGER NOT NULL,"
    " good INTEGER NOT NULL, day INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS sender (address TEXT PRIMARY KEY, junk INTEGER NOT NULL,"
    " good INTEGER NOT NULL, day INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS learned (message BLOB PRIMARY KEY, junk INTEGER NOT NULL,"
    " day INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS total (name TEXT PRIMARY KEY, junk INTEGER NOT NULL,"
    " good INTEGER NOT NULL, day INTEGER NOT NULL) WITHOUT ROWID",
)


class Opinion(NamedTuple):
    """`probability` of junk, 0 to 1. `sender`: what decided it was whom it is from, proven. `why` in plain
    words."""

    probability: float
    why: str
    sender: bool = False


class Lesson(NamedTuple):
    """What is to be learned of one message: `message` is a hash of it, `tokens` what it is made of, `senders`
    whom it is proven to be from, `junk` what its reader takes it for."""

    message: bytes
    tokens: Sequence[str]
    senders: Sequence[str]
    junk: bool


class Reputation:
    """Of the account whose home directory this is. All methods raise sqlite3.Error and OSError."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE

    def opinion(
        self, tokens: Iterable[str], senders: Sequence[str], *, needed: int = NEEDED
    ) -> Opinion | None:
        """Of a message with these tokens, proven to be from these addresses. None while too little has been
        learned."""
        if not self._path.exists():
            return None
        with self._open() as database:
            if (known := _of_senders(database, senders)) is not None:
                return known
            learned = _learned(database)
            if learned.junk < needed or learned.good < needed:
                return None
            return _of_tokens(database, tokens, learned)

    def learn(self, lessons: Sequence[Lesson], *, now: float) -> int:
        """How many of them were new. now: seconds since the epoch."""
        day, new = int(now) // _DAY, 0
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            for lesson in lessons:
                if _learn(database, lesson, day):
                    new += 1
                    if sum(_learned(database)) % _TIDY_EVERY == 0:
                        _tidy(database)
            database.commit()
        return new

    def counts(self) -> tuple[Counts, int, int]:
        """Messages learned, tokens and senders known."""
        if not self._path.exists():
            return Counts(), 0, 0
        with self._open() as database:
            (tokens,) = database.execute("SELECT count(*) FROM token").fetchone()
            (senders,) = database.execute("SELECT count(*) FROM sender").fetchone()
            return _learned(database), tokens, senders

    def forget(self) -> None:
        """All of it."""
        for end in ("", "-journal"):
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            database = _opened(self._path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._path.replace(self._path.with_suffix(".damaged"))
            database = _opened(self._path)
        with closing(database):
            yield database


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=5.0, isolation_level=None)
    try:
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA mmap_size = {_MAPPED}")
        if not database.execute("PRAGMA user_version").fetchone()[0]:
            for statement in _SCHEMA:
                database.execute(statement)
            database.execute("PRAGMA user_version = 1")
    except BaseException:
        database.close()
        raise
    return database


def _of_senders(database: sqlite3.Connection, senders: Sequence[str]) -> Opinion | None:
    for address in senders:
        row = database.execute("SELECT junk, good FROM sender WHERE address = ?", (address,)).fetchone()
        seen = Counts(*row) if row is not None else Counts()
        if seen.good > seen.junk:
            return Opinion(0.0, f"mail from {address} was kept before", True)
        if seen.junk > 1 and not seen.good:
            return Opinion(1.0, f"mail from {address} was put into Junk {seen.junk} times", True)
    return None


def _of_tokens(database: sqlite3.Connection, tokens: Iterable[str], learned: Counts) -> Opinion:
    hashes = sorted(map(_hash, tokens))  # in the order of the table
    seen: list[Counts] = []
    for start in range(0, len(hashes), _AT_ONCE):
        some = hashes[start : start + _AT_ONCE]
        marks = ",".join("?" * len(some))
        rows = database.execute(f"SELECT junk, good FROM token WHERE hash IN ({marks})", some)
        seen += [Counts(*row) for row in rows]
    found = probability(seen, learned)
    return Opinion(found, f"{found:.0%} like what was put into Junk before")


def _learn(database: sqlite3.Connection, lesson: Lesson, day: int) -> bool:
    row = database.execute("SELECT junk FROM learned WHERE message = ?", (lesson.message,)).fetchone()
    if row is not None and bool(row[0]) == lesson.junk:
        return False
    change = _change(lesson.junk, -1 if row is not None else 0)
    _count(database, "token", "hash", sorted(map(_hash, lesson.tokens)), change, day)
    _count(database, "sender", "address", lesson.senders, change, day)
    _count(database, "total", "name", ["messages"], change, day)
    database.execute("INSERT OR REPLACE INTO learned VALUES (?, ?, ?)", (lesson.message, lesson.junk, day))
    return True


def _learned(database: sqlite3.Connection) -> Counts:
    row = database.execute("SELECT junk, good FROM total").fetchone()
    return Counts(*row) if row is not None else Counts()


def _change(junk: bool, other: int) -> Counts:
    """One more of a kind, and `other` of the other one."""
    return Counts(1, other) if junk else Counts(other, 1)


def _count(
    database: sqlite3.Connection,
    table: str,
    key: str,
    names: Iterable[int | str],
    change: Counts,
    day: int,
) -> None:
    database.executemany(
        f"INSERT INTO {table} VALUES (?1, max(0, ?2), max(0, ?3), ?4) ON CONFLICT ({key}) DO UPDATE SET"
        " junk = max(0, junk + ?2), good = max(0, good + ?3), day = ?4",
        [(name, *change, day) for name in names],
    )


def _tidy(database: sqlite3.Connection) -> None:
    """Make room: what was seen least and longest ago goes, down to three quarters."""
    for table, key, order, most in (
        ("token", "hash", "junk + good > 1, day", MOST_TOKENS),
        ("sender", "address", "junk + good > 1, day", MOST_SENDERS),
        ("learned", "message", "day", MOST_MESSAGES),
    ):
        (number,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
        if number > most:
            least = f"SELECT {key} FROM {table} ORDER BY {order} LIMIT ?"
            database.execute(f"DELETE FROM {table} WHERE {key} IN ({least})", (number - most * 3 // 4,))


def _hash(token: str) -> int:
    digest = blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
