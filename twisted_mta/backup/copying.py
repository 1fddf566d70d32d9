"""One section of a snapshot on its way: files linked to what an earlier snapshot has of them, or copied.

A message's file never changes but for its name, so it is the same one when its mailbox, base name, size and
time are those of an earlier snapshot; any other file when its path, size and time are. One that bears another
name now (it was moved to another mailbox) is read, and recognised by its SHA-256. Databases are copied by
SQLite itself, as of one moment, while others write to them.

Entries reach the manifest when what they tell of is on disk, a batch at a time.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from typing import NamedTuple
from urllib.parse import quote

from twisted_mta.backup import manifest
from twisted_mta.backup.manifest import Entry, Writer, mode_of
from twisted_mta.backup.snapshots import DATA, digest_of, manifest_path
from twisted_mta.durable import sync
from twisted_mta.store.maildir import CUR, NEW, base_name

BATCH = 1000  # files that are synced one right after the other
BATCH_OCTETS = 64 * 1024 * 1024  # after which a batch ends, too
TICK = 2_000_000_000  # nanoseconds in which a file may change twice and have the same time
DATABASE = ".sqlite"
BESIDE = ("-wal", "-shm", "-journal")  # what stands beside a database that is open, and is copied with it
LOGS = tuple(DATABASE + end for end in BESIDE)

_CHUNK = 1 << 20
_NO_LINKS = frozenset({errno.EPERM, errno.EMLINK, errno.EXDEV, errno.ENOTSUP, errno.ENOSYS})


class Tally:
    """What a backup has done."""

    def __init__(self) -> None:
        self.files = self.octets = 0  # in the snapshot
        self.copied = self.copied_octets = 0  # of these, not linked
        self.notes: list[str] = []  # what could not be had, a sentence each


class _Known(NamedTuple):
    entry: Entry
    path: str


class Section:
    """The section `name` of the snapshot at `snapshot`, of the data directory `data`. earlier: the paths of
    other snapshots, whole ones or not, the best first."""

    def __init__(self, name: str, data: str, snapshot: str, earlier: Iterable[str], tally: Tally) -> None:
        self.data = data
        self.target = f"{snapshot}/{DATA}"
        self.tally = tally
        self._manifest = manifest_path(snapshot, name)
        self._writer = Writer(self._manifest)
        self._there: dict[str, Entry] = {}  # what is in the snapshot by now, by path
        self._unsynced: set[str] = set()  # paths of what was copied since the last batch
        self._octets = 0  # of these
        self._directories: set[str] = set()
        self._by_identity: dict[tuple[object, ...], _Known] = {}
        self._by_content: dict[tuple[int, int], list[_Known]] = {}
        self._by_inode: dict[tuple[int, int], Entry] = {}
        for other in earlier:
            self._learn(other, manifest_path(other, name))

    def _learn(self, other: str, path: str) -> None:
        with suppress(OSError, ValueError):  # it does without
            for entry in manifest.read(path):
                known = _Known(entry, f"{other}/{DATA}/{entry.path}")
                self._by_identity.setdefault(_identity(entry), known)
                if entry.kind == "file":
                    self._by_content.setdefault((entry.size, entry.modified), []).append(known)

    def has(self, path: str) -> bool:
        """True when it is in the snapshot by now."""
        return path in self._there

    # Putting in

    def file(self, path: str) -> bool:
        """Bring the regular file of that path in, or the symbolic link. False when it is gone, or neither.
        Raises OSError."""
        source = f"{self.data}/{path}"
        try:
            found = os.lstat(source)
            if os.path.islink(source):
                self._link(path, os.readlink(source))
                return True
            if not os.path.isfile(source):
                return False
            entry = Entry(path, "file", found.st_size, found.st_mtime_ns, mode_of(found))
            self._parent(path)
            if not self._linked(entry, found) and not self._copied(entry, source):
                return False
        except FileNotFoundError:
            return False
        if found.st_nlink > 1:
            self._by_inode[(found.st_dev, found.st_ino)] = self._there[path]
        return True

    def _linked(self, entry: Entry, found: os.stat_result) -> bool:
        """Try to give what an earlier snapshot, or this one, has of it a second name."""
        known = self._by_identity.get(_identity(entry))
        if (
            known is None
            and found.st_nlink > 1
            and (same := self._by_inode.get((found.st_dev, found.st_ino)))
        ):
            known = _Known(same, f"{self.target}/{same.path}") if same.path in self._there else None
        if known is None or known.entry.kind != "file":
            return False
        return self._second_name(known, entry)

    def _second_name(self, known: _Known, entry: Entry) -> bool:
        try:
            os.link(known.path, f"{self.target}/{entry.path}")
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return False
        self._add(entry._replace(sha256=known.entry.sha256), copied=False)
        return True

    def _copied(self, entry: Entry, source: str) -> bool:
        target = f"{self.target}/{entry.path}"
        alike = self._by_content.get((entry.size, entry.modified))
        with open(source, "rb", opener=_opener) as file:
            if alike:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                for known in alike:
                    if known.entry.sha256 == digest and self._second_name(known, entry):
                        return True
                file.seek(0)
            sums, size = hashlib.sha256(), 0
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb", buffering=0) as copy:
                while data := file.read(_CHUNK):
                    _write(copy.fileno(), data)
                    sums.update(data)
                    size += len(data)
                if entry.mode != 0o600:
                    os.fchmod(descriptor, entry.mode)
                os.utime(descriptor, ns=(entry.modified, entry.modified))
        self._add(entry._replace(size=size, sha256=sums.hexdigest()), copied=True)
        return True

    def _link(self, path: str, target: str) -> None:
        self._parent(path)
        os.symlink(target, f"{self.target}/{path}")
        self._add(Entry(path, "link", target=target), copied=False)

    def directory(self, path: str) -> None:
        """There is such a directory, though perhaps with nothing in it."""
        if path not in self._there:
            os.makedirs(f"{self.target}/{path}", mode=0o700, exist_ok=True)
            self._directories.add(path)
            self._add(Entry(path, "directory", mode=0o700), copied=False)

    def _parent(self, path: str) -> None:
        parent = os.path.dirname(path)
        if parent not in self._directories:
            os.makedirs(f"{self.target}/{parent}", mode=0o700, exist_ok=True)
            self._directories.add(parent)

    def database(self, path: str, opened: sqlite3.Connection | None = None) -> bool:
        """Bring in the database of that path, as it is now, or as `opened` sees it. False when it is gone.
        Raises OSError, sqlite3.Error."""
        source, target = f"{self.data}/{path}", f"{self.target}/{path}"
        try:
            found = os.stat(source)
            if not found.st_size:
                return self.file(path)
        except FileNotFoundError:
            return False
        stamp = _stamp(source)
        self._parent(path)
        known = self._by_identity.get((path,))
        if stamp and known is not None and known.entry.stamp == stamp:
            entry = known.entry._replace(path=path)
            if self._second_name(known, entry):
                return True
        try:
            copy_database(source, target, opened)
            size, digest = os.path.getsize(target), digest_of(target)
            entry = Entry(path, "database", size, found.st_mtime_ns, mode_of(found), digest)
        except BaseException:
            with suppress(OSError):
                os.unlink(target)
            raise
        if known is not None and (known.entry.sha256, known.entry.size) == (entry.sha256, entry.size):
            os.unlink(target)
            if self._second_name(known, entry._replace(stamp=stamp)):
                return True
            copy_database(source, target, opened)  # the file system has no links
        self._add(entry._replace(stamp=stamp), copied=True)
        return True

    def _add(self, entry: Entry, *, copied: bool) -> None:
        self._there[entry.path] = entry
        if entry.kind in ("link", "directory"):
            return
        self.tally.files += 1
        self.tally.octets += entry.size
        if copied:
            self.tally.copied += 1
            self.tally.copied_octets += entry.size
            self._unsynced.add(entry.path)
            self._octets += entry.size
            if len(self._unsynced) >= BATCH or self._octets >= BATCH_OCTETS:
                self._sync()

    # Second thoughts

    def rename(self, old: str, new: str) -> None:
        """A file that is in the snapshot has another name now. Raises OSError."""
        self._parent(new)
        os.rename(f"{self.target}/{old}", f"{self.target}/{new}")
        self._there[new] = self._there.pop(old)._replace(path=new)
        if old in self._unsynced:
            self._unsynced.remove(old)
            self._unsynced.add(new)

    def drop(self, path: str) -> None:
        """A file, or an empty directory, that is in the snapshot is not to be there. Raises OSError."""
        entry = self._there.pop(path)
        if entry.kind == "directory":
            self._directories.discard(path)
            os.rmdir(f"{self.target}/{path}")
            return
        os.unlink(f"{self.target}/{path}")
        self._unsynced.discard(path)
        if entry.kind != "link":
            self.tally.files -= 1
            self.tally.octets -= entry.size

    def edit(self, path: str, work: Callable[[str], None]) -> None:
        """Change a database that is in the snapshot, and in no other one. Raises what `work` raises."""
        target = f"{self.target}/{path}"
        if os.stat(target).st_nlink > 1:
            shutil.copyfile(target, f"{target}.own")
            os.replace(f"{target}.own", target)
        work(target)
        before = self._there[path]
        self._there[path] = before._replace(size=os.path.getsize(target), sha256=digest_of(target), stamp=())
        self._unsynced.add(path)

    # The end

    def _sync(self) -> None:
        """What was copied is on disk, and the manifest of an unfinished snapshot knows it."""
        unsynced = [self._there[path] for path in sorted(self._unsynced)]
        self._unsynced, self._octets = set(), 0
        for entry in unsynced:
            sync(f"{self.target}/{entry.path}")
        self._writer.write(unsynced)

    def finish(self) -> tuple[int, int, str]:
        """All of it is on disk: (files, octets, SHA-256 of the manifest). Raises OSError."""
        self._sync()
        self._writer.close()
        os.unlink(self._manifest)  # it may tell of names that were second thoughts
        writer = Writer(self._manifest)
        entries = sorted(self._there.values())
        writer.write(entries)
        writer.close()
        for directory in sorted(self._directories):
            sync(f"{self.target}/{directory}")
        sync(os.path.dirname(self._manifest))
        digest = digest_of(self._manifest)
        files = [entry for entry in entries if entry.kind in ("file", "database")]
        return len(files), sum(entry.size for entry in files), digest

    def close(self) -> None:
        """It is given up, or finished."""
        self._writer.close()


def _identity(entry: Entry) -> tuple[object, ...]:
    """What tells that a file is the same one; of a database only the path: its stamp and sum tell more."""
    if entry.kind != "file":
        return (entry.path,)
    parent, _, name = entry.path.rpartition("/")
    above, _, directory = parent.rpartition("/")
    if directory in (CUR, NEW):
        return above, base_name(name), entry.size, entry.modified
    return parent, name, entry.size, entry.modified


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _stamp(path: str) -> tuple[int, ...]:
    """The times and sizes of a database's file and its log; () when they are so young that it may change
    without another time."""
    told: list[int] = []
    for each in (path, f"{path}-wal"):
        try:
            found = os.stat(each)
        except FileNotFoundError:
            found = None
        if found is None or not found.st_size:
            told += (0, 0)
        else:
            told += (found.st_mtime_ns, found.st_size)
    newest = max(told[0], told[2])
    return tuple(told) if time.time_ns() - newest > TICK else ()


def reading(path: str) -> sqlite3.Connection:
    """A database, to be read only. Raises sqlite3.Error."""
    return sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=10.0, isolation_level=None)


def writing(path: str, patience: float = 10.0) -> sqlite3.Connection:
    """A database that is there. patience: seconds to wait for others. Raises sqlite3.Error."""
    return sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=patience, isolation_level=None)


def copy_database(source: str, target: str, opened: sqlite3.Connection | None = None) -> None:
    """A database into a new file, as of one moment, whoever writes meanwhile; without a log beside it, so
    that it can be read without another file being made. Raises sqlite3.Error, OSError."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(target, isolation_level=None)) as copy:
        copy.execute("PRAGMA synchronous = OFF")  # it is synced with the others
        if opened is not None:
            opened.backup(copy)
        else:
            try:
                with closing(reading(source)) as database:
                    database.backup(copy)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
                    raise
                with closing(writing(source)) as database:  # what a crash left half done is undone
                    database.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()
    for end in BESIDE:
        with suppress(FileNotFoundError):
            os.unlink(target + end)


def remove_tree(path: str) -> None:
    """What is left of a snapshot that was given up."""
    shutil.rmtree(path, ignore_errors=True)
