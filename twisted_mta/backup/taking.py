"""A snapshot of the whole data directory, while the server runs.

The order makes that nothing is lost between the parts, even when all of it is not of one moment: the queue
first, then the mailboxes, then everything else. What is delivered meanwhile is then in the queue and in its
mailbox, where the delivery that is done again recognises it by the name of its file; and of every account
that has mail the directory knows. (A message that is moved meanwhile from one account to another, between
mailboxes that are shared, may be in neither, when the one was read before it came and the other after it had
gone: then it is only among what was deleted there, if that is kept.)
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from twisted_mta.backup.account import copy_account
from twisted_mta.backup.copying import DATABASE, LOGS, Section, Tally, reading, remove_tree
from twisted_mta.backup.snapshots import (
    CONFIG,
    DATA,
    MAIL,
    QUEUE,
    REST,
    SECTIONS,
    Snapshot,
    Snapshots,
)
from twisted_mta.durable import sync
from twisted_mta.queue.ids import decode, encode
from twisted_mta.queue.mailqueue import DATABASE as QUEUE_DATABASE

SPOOL = "queue/spool"
_MESSAGES = f"queue/{QUEUE_DATABASE}"

# Of this moment only, or of the running server only.
_LEFT_OUT = frozenset(
    {
        *("lock", "lock.transfer", "lock.access", "handover", "reindex", "import"),
        *("reload.request", "reload.answer", "reload.lock", "queue", "mail"),
    }
)
# The same by endings, of what is being written, or is of use only to whoever looks into damage. Names of
# domains stand within names of files, so nothing but the end tells.
_PASSING = re.compile(r"\.(?:new|tmp|(?:damaged|version)(?:-\d+)?)(?:-wal|-shm)?\Z")

Progress = Callable[[str, int], None]  # what is being read, and files that were looked at since the last call


class Taken(NamedTuple):
    """A snapshot that was made, and what it took."""

    snapshot: Snapshot
    tally: Tally


def take(
    data: Path,
    snapshots: Snapshots,
    *,
    config: bytes,
    hostname: str,
    release: str,
    now: Callable[[], float] = time.time,
    progress: Progress = lambda what, count: None,
) -> Taken:
    """Make one. config: the text of the configuration. Raises BackupError, OSError, sqlite3.Error; a
    full disk then leaves nothing of it, and anything else what was copied, for the next one to go on with."""
    with snapshots.writing():
        names = snapshots.names()
        earlier = [f"{snapshots.path}/{name}" for name in names[-1:]] + snapshots.unfinished()
        began = now()
        path = snapshots.begin(began)
        tally = Tally()
        work = _Taking(str(data.absolute()), path, earlier, tally, progress)
        try:
            header = {"hostname": hostname, "release": release, "sections": work.sections()}
            _write_config(path, config)
            sync(f"{path}/{DATA}")
            sync(f"{path}/{SECTIONS}")
            return Taken(snapshots.finish(path, header, began), tally)
        except (OSError, sqlite3.Error) as error:
            if is_full(error):
                remove_tree(path)
            raise


def is_full(error: BaseException) -> bool:
    """True when there is no room where it was to be written."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _write_config(path: str, config: bytes) -> None:
    with open(f"{path}/{CONFIG}", "xb") as file:
        file.write(config)
        file.flush()
        os.fsync(file.fileno())


class _Taking:
    """One snapshot, at `path`, on its way."""

    def __init__(
        self, data: str, path: str, earlier: Sequence[str], tally: Tally, progress: Progress
    ) -> None:
        self._data = data
        self._path = path
        self._earlier = earlier
        self._tally = tally
        self._progress = progress

    def sections(self) -> dict[str, tuple[int, int, str]]:
        """All of them, in their order."""
        done = {QUEUE: self._section(QUEUE, self._queue)}
        for domain in _directories(f"{self._data}/mail"):
            for local in _directories(f"{self._data}/mail/{domain}"):
                name = f"{MAIL}{domain}/{local}"
                done[name] = self._section(name, partial(self._account, name=name))
        done[REST] = self._section(REST, self._rest)
        return done

    def _section(self, name: str, work: Callable[[Section], None]) -> tuple[int, int, str]:
        section = Section(name, self._data, self._path, self._earlier, self._tally)
        try:
            work(section)
            return section.finish()
        finally:
            section.close()

    def _account(self, section: Section, name: str) -> None:
        copy_account(section, name, lambda count: self._progress(name.removeprefix(MAIL), count))

    def _queue(self, section: Section) -> None:
        """The bodies, then the database, then bodies that came in between. A body that is gone by then is one
        of a message that has been delivered since, and is in its mailbox, or at the next host."""
        section.directory("queue")
        section.directory(SPOOL)
        bodies = self._spool(section)
        if not self._file(section, _MESSAGES):
            return
        copy = f"{section.target}/{_MESSAGES}"
        wanted = set(_spooled(copy))
        gone = [number for number in sorted(wanted - bodies) if not section.file(f"{SPOOL}/{encode(number)}")]
        for number in sorted(bodies - wanted):
            section.drop(f"{SPOOL}/{encode(number)}")
        if gone:
            section.edit(_MESSAGES, lambda path: _forget(path, gone))

    def _spool(self, section: Section) -> set[int]:
        found = set()
        with suppress(FileNotFoundError):
            for name in os.listdir(f"{self._data}/{SPOOL}"):
                with suppress(ValueError):
                    number = decode(name)
                    if name == encode(number) and section.file(f"{SPOOL}/{name}"):
                        found.add(number)
        self._progress("queue", len(found))
        return found

    def _rest(self, section: Section) -> None:
        self._tree(section, "")
        for name in _files(f"{self._data}/mail"):
            self._file(section, f"mail/{name}")

    def _tree(self, section: Section, directory: str) -> None:
        prefix = f"{directory}/" if directory else ""
        if directory:
            section.directory(directory)
        with suppress(FileNotFoundError):
            for entry in sorted(os.scandir(f"{self._data}/{directory}"), key=lambda entry: entry.name):
                if not directory and (entry.name in _LEFT_OUT or entry.name.startswith(".")):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    self._tree(section, prefix + entry.name)
                else:
                    self._file(section, prefix + entry.name)

    def _file(self, section: Section, path: str) -> bool:
        """False when it is left out or gone, or is a database that cannot be read."""
        if path.endswith(LOGS) or _PASSING.search(path):
            return False
        self._progress("the rest", 1)
        if not path.endswith(DATABASE):
            return section.file(path)
        try:
            return section.database(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            section.file(path)
            self._tally.notes.append(f"{self._data}/{path} is damaged ({error}): copied as it is")
            return False


def _directories(path: str) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _files(path: str) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_file(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _spooled(path: str) -> Iterator[int]:
    """The messages of a queue database whose bodies are files. Raises sqlite3.Error."""
    with closing(reading(path)) as database:
        for (number,) in database.execute("SELECT number FROM message WHERE body IS NULL"):
            yield number


def _forget(path: str, messages: Sequence[int]) -> None:
    """Take messages out of a copy of the queue database. Raises sqlite3.Error."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("BEGIN")
        database.executemany("DELETE FROM message WHERE number = ?", [(number,) for number in messages])
        database.execute("COMMIT")
