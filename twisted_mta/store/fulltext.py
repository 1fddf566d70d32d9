"""The full text of an account's mail, for substring searches in any script: `fulltext.sqlite` beside the
index.

For each email (see index_schema) its header and its body as folded text (message/body_text), and over both an
FTS5 index of trigrams that says no more than which emails have one. A search looks for the emails that have
all trigrams of the needle, and then for the needle itself in the texts of these. What is found is exact: the
same as a look at every message. A needle of one or two characters, which are words in Chinese, is where a
trigram begins with it, as every text ends in padding; only one that begins too many trigrams is better looked
for in the texts.

Which emails are in here is known as ranges of their numbers; a number in a range without text is of an email
that is gone or has none. The database is written by the background indexer only. Everything in it can be made
again: a file that is broken, of another version or of another index (`epoch`) is thrown away. Readers open it
for one search.

A page holds several usual texts, so that most are read without a detour (4 KiB: half the speed).
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Literal, NamedTuple, Self

from twisted_mta.database import transaction
from twisted_mta.message.body_text import body_texts, folded_lines, header_texts
from twisted_mta.message.folding import fold
from twisted_mta.message.mime import Part
from twisted_mta.store.ranges import Ranges

FULLTEXT = "fulltext.sqlite"
VERSION = 1  # of the tables, and of what `fold` and `folded_body` make of a message
CACHE = 2048  # KiB of the writer; a reader has a quarter

_PAGE = 16384  # octets
_CHECKPOINT = 256  # pages
_GRAM = 3  # characters
_LAST = "\U0010ffff"  # the character behind all others
_PADDING = "\n\n"  # with it, every character begins a trigram; no needle has a line feed
_MOST_GRAMS = 24  # of a needle; more would hardly leave out another email
_FEW = 20_000  # trigrams that are followed for a needle that is shorter
_WILD = re.compile(r"[*?[]")  # what means something else in a GLOB pattern
_AS_SUCH = r"[\g<0>]"  # the same there as itself
_LONGEST_PATTERN = 32  # characters of a needle in one: with each, GLOB may begin anew at each of a text
_AT_ONCE = 20_000  # emails whose texts are looked at in one statement

_TABLES = f"""
    CREATE TABLE about (epoch TEXT NOT NULL);
    CREATE TABLE covered (first INTEGER PRIMARY KEY, last INTEGER NOT NULL);
    CREATE TABLE emails (email INTEGER PRIMARY KEY);  -- those that are in the other tables
    CREATE TABLE bodies (email INTEGER PRIMARY KEY, text TEXT NOT NULL);
    CREATE TABLE headers (email INTEGER PRIMARY KEY, text TEXT NOT NULL);
    CREATE VIRTUAL TABLE bodies_grams USING fts5(text, content='bodies', content_rowid='email',
        tokenize='trigram case_sensitive 1', detail=none, columnsize=0);
    CREATE VIRTUAL TABLE headers_grams USING fts5(text, content='headers', content_rowid='email',
        tokenize='trigram case_sensitive 1', detail=none, columnsize=0);
    CREATE VIRTUAL TABLE bodies_terms USING fts5vocab(bodies_grams, instance);
    CREATE VIRTUAL TABLE headers_terms USING fts5vocab(headers_grams, instance);
    PRAGMA user_version = {VERSION};
"""

Where = Literal["header", "body", "text"]


class Texts(NamedTuple):
    """What is kept of an email: its header, each line behind a line feed, and its body; padded, or empty."""

    header: str
    body: str


class Plain(NamedTuple):
    """What is to be folded of a message, which need not be in memory any longer for that."""

    header: list[tuple[str, str]]
    body: list[str]

    @classmethod
    def of(cls, data: bytes, root: Part) -> Self:
        """Of a message, CRLF, with the structure `root`. Never raises."""
        return cls(header_texts(data, 0, root.header_end), body_texts(data, root))

    def folded(self) -> Texts:
        """What is kept."""
        header = "".join(f"\n{line}" for line in folded_lines(self.header))
        body = "\n".join(map(fold, self.body))
        return Texts(header and header + _PADDING, body and body + _PADDING)


class Found(NamedTuple):
    """The emails that were found; which emails the answer covers, the others have not been looked at."""

    emails: set[int]
    covered: Ranges


NOTHING = Found(set(), Ranges())

# Searching


def find_text(path: str, epoch: str, emails: Collection[int], where: Where, wanted: str) -> Found:
    """Which of these emails have the text in their header, their body or either. `wanted` is folded here.

    Nothing is covered when there is no database for this index. Raises sqlite3.Error."""
    needle = fold(wanted)
    tables = {"header": ("headers",), "body": ("bodies",), "text": ("bodies", "headers")}[where]
    found: set[int] = set()
    with _reading(path, epoch) as db:
        if db is None:
            return NOTHING
        covered = _covered(db)
        candidates = covered.within(emails)
        if not needle:  # which is everywhere, also where there is nothing
            return Found(candidates, covered)
        for table in tables:
            left = candidates - found if found else candidates
            found |= _verified(db, table, _with_grams(db, table, needle, left), needle)
    return Found(found, covered)


def find_header(path: str, epoch: str, emails: Collection[int], name: str, wanted: str) -> Found:
    """Which of these emails have a field called `name`, in any case, whose value has the text; as
    `find_text`."""
    begin = f"\n{name.encode('latin-1', 'replace').lower().decode('latin-1')}: "
    needle = fold(wanted)
    found: set[int] = set()
    with _reading(path, epoch) as db:
        if db is None:
            return NOTHING
        covered = _covered(db)
        candidates = _with_grams(db, "headers", begin[1:-1], covered.within(emails))
        candidates = _with_grams(db, "headers", needle, candidates)
        for some in _slices(_verified(db, "headers", candidates, begin)):
            holds, value = _holding(needle)
            rows = db.execute(f"SELECT email, text {_of_these('headers')} AND {holds}", (_json(some), value))
            found.update(email for email, text in rows if _field_has(text, begin, needle))
    return Found(found, covered)


def _field_has(header: str, begin: str, needle: str) -> bool:
    return any(needle in line.partition("\n")[0] for line in header.split(begin)[1:])


def _with_grams(db: sqlite3.Connection, table: str, needle: str, emails: set[int]) -> set[int]:
    """Those of the emails that have every trigram of the needle, or perhaps more of them."""
    if not needle or not emails:
        return emails
    if len(needle) < _GRAM:
        sql = f"SELECT doc FROM {table}_terms WHERE term >= ? AND term <= ? LIMIT ?"
        sql = f"SELECT group_concat(doc), count(*) FROM ({sql})"
        found, count = db.execute(sql, (needle, needle + _LAST * 2, _FEW + 1)).fetchone()
        return emails if count > _FEW else emails.intersection(_numbers(found))
    (found,) = db.execute(
        f"SELECT group_concat(rowid) FROM {table}_grams"
        f" WHERE {table}_grams MATCH ? AND rowid BETWEEN ? AND ?",
        (_query(needle), min(emails), max(emails)),
    ).fetchone()
    return emails.intersection(_numbers(found))


def _query(needle: str) -> str:
    """The FTS5 query for all trigrams of the needle, or as many as are worth it, from all of its parts."""
    count = len(needle) - _GRAM + 1
    step = max(1.0, count / _MOST_GRAMS)
    starts = sorted({*(int(number * step) for number in range(min(count, _MOST_GRAMS))), count - 1})
    grams = dict.fromkeys(needle[start : start + _GRAM] for start in starts)
    return " AND ".join('"' + gram.replace('"', '""') + '"' for gram in grams)


def _verified(db: sqlite3.Connection, table: str, emails: set[int], needle: str) -> set[int]:
    """Those of the emails whose text has the needle. One row comes back for many texts: with every row the
    interpreter lock would change hands."""
    found: set[int] = set()
    holds, value = _holding(needle)
    sql = f"SELECT group_concat(email) {_of_these(table)} AND {holds}"
    for some in _slices(emails):
        (numbers,) = db.execute(sql, (_json(some), value)).fetchone()
        found.update(_numbers(numbers))
    return found


def _of_these(table: str) -> str:
    """The rows of the emails in a list of numbers, in its order; it is not looked up which are in it."""
    return f"FROM json_each(?) CROSS JOIN {table} ON email = value WHERE true"


def _holding(needle: str) -> tuple[str, str]:
    """What tells in SQL that a text has the needle, and the value for it. GLOB is the faster one, but takes
    characters for one another that are not ASCII, and is slow where a long needle nearly fits."""
    if needle.isascii() and len(needle) <= _LONGEST_PATTERN:
        return "text GLOB ?", f"*{_WILD.sub(_AS_SUCH, needle)}*"
    return "instr(text, ?)", needle


def _slices(emails: set[int]) -> Iterator[Sequence[int]]:
    ordered = sorted(emails)
    for start in range(0, len(ordered), _AT_ONCE):
        yield ordered[start : start + _AT_ONCE]


def _json(numbers: Sequence[int]) -> str:
    return f"[{','.join(map(str, numbers))}]"


def _numbers(concatenated: str | None) -> Iterable[int]:
    return map(int, concatenated.split(",")) if concatenated else ()


@contextmanager
def _reading(path: str, epoch: str) -> Iterator[sqlite3.Connection | None]:
    """The database as it is now; None when there is none for this index."""
    if not os.path.exists(path):
        yield None
        return
    with closing(_connect(path, CACHE // 4)) as db:
        db.execute("BEGIN")
        yield db if _belongs(db, epoch) else None


def _connect(path: str, cache: int) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    db.execute(f"PRAGMA cache_size = -{cache}")
    return db


def _belongs(db: sqlite3.Connection, epoch: str) -> bool:
    """True when it is the full text of that index, in the form of this program."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return version == VERSION and db.execute("SELECT epoch FROM about").fetchall() == [(epoch,)]


def _covered(db: sqlite3.Connection) -> Ranges:
    return Ranges(db.execute("SELECT first, last FROM covered ORDER BY first"))


# Writing


class Fulltext:
    """The database at `path`, to be written; made, or thrown away and made anew, when it does not belong to
    the index `epoch`. For one thread at a time. Raises sqlite3.Error, OSError."""

    def __init__(self, path: str, epoch: str) -> None:
        self.epoch = epoch
        self._path = path
        db = _connect(path, CACHE)
        try:
            if db.execute("PRAGMA page_count").fetchone()[0] and not _belongs(db, epoch):
                db.close()
                discard(path)
                db = _connect(path, CACHE)
            self._set_up(db)
        except BaseException:
            db.close()
            raise
        self._db = db
        self._inode = os.stat(path).st_ino

    def _set_up(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
        if not db.execute("PRAGMA page_count").fetchone()[0]:
            db.execute(f"PRAGMA page_size = {_PAGE}")
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(f"BEGIN;{_TABLES}INSERT INTO about VALUES ('{self.epoch}');COMMIT;")

    def is_there(self) -> bool:
        """False when the file has been removed or replaced meanwhile."""
        with suppress(OSError):
            return os.stat(self._path).st_ino == self._inode
        return False

    def covered(self) -> Ranges:
        """The numbers of the emails that need no look any more."""
        return _covered(self._db)

    def emails(self) -> set[int]:
        """The emails whose texts are here."""
        return set(_numbers(self._db.execute("SELECT group_concat(email) FROM emails").fetchone()[0]))

    def add(self, texts: Iterable[tuple[int, Texts]], covered: Ranges) -> None:
        """Keep the texts of emails that are not in here yet; `covered` holds from now on. In ascending order,
        as FTS5 begins another segment whenever a number is lower than the last one."""
        with transaction(self._db):
            for email, (header, body) in sorted(texts):
                self._db.execute("INSERT INTO emails VALUES (?)", (email,))
                for table, text in (("headers", header), ("bodies", body)):
                    if text:
                        self._db.execute(f"INSERT INTO {table} VALUES (?, ?)", (email, text))
                        self._db.execute(
                            f"INSERT INTO {table}_grams (rowid, text) VALUES (?, ?)", (email, text)
                        )
            self._db.execute("DELETE FROM covered")
            self._db.executemany("INSERT INTO covered VALUES (?, ?)", covered)

    def remove(self, emails: Iterable[int]) -> None:
        """Forget the texts of emails that are gone."""
        with transaction(self._db):
            for email in sorted(emails):
                self._db.execute("DELETE FROM emails WHERE email = ?", (email,))
                for table in ("headers", "bodies"):
                    row = self._db.execute(f"SELECT text FROM {table} WHERE email = ?", (email,)).fetchone()
                    if row is not None:
                        self._db.execute(
                            f"INSERT INTO {table}_grams ({table}_grams, rowid, text) VALUES ('delete', ?, ?)",
                            (email, row[0]),
                        )
                        self._db.execute(f"DELETE FROM {table} WHERE email = ?", (email,))

    def close(self) -> None:
        """Write everything into the one file, and close."""
        self._db.close()


def discard(path: str) -> None:
    """Remove the database."""
    for rest in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(path + rest)
