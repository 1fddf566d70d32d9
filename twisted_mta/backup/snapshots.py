"""The directory that backups go to: dated snapshots, each whole, and at most what is left of one that was not
finished.

    DIR/2026-11-23T11-40-05Z/snapshot.json      written last: what it is of, its sections with their sums
    DIR/2026-11-23T11-40-05Z/sections/*.jsonl   see manifest
    DIR/2026-11-23T11-40-05Z/data/              the files, as in the data directory
    DIR/2026-11-23T11-40-05Z/mta.toml           the configuration
    DIR/unfinished-*/                           never taken for a snapshot; the next backup makes use of it

A snapshot is made under another name and renamed when all of it is on disk. What has not changed since the
one before is a hard link to the same file there, so every snapshot is whole and any may be removed. The name
is the time; after the clock was set back, the time of the newest one and the next number. So the names tell
which came first.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from twisted_mta.durable import sync

FORMAT = 1
HEADER = "snapshot.json"
SECTIONS = "sections"
DATA = "data"
CONFIG = "mta.toml"
UNFINISHED = "unfinished-"
QUEUE, REST, MAIL = "queue", "rest", "mail/"  # names of sections; of an account: mail/<domain>/<local part>

_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(?:-\d+)?\Z")


class BackupError(Exception):
    """What was asked for cannot be done; the text is a sentence for the operator."""


class SectionSum(NamedTuple):
    """A section: its files and their octets, and the SHA-256 of its manifest."""

    files: int
    octets: int
    sha256: str


class Snapshot(NamedTuple):
    """A whole one, at `path`. made: seconds since the epoch. sections: by name."""

    path: str
    name: str
    made: float
    hostname: str
    release: str
    sections: dict[str, SectionSum]

    def manifest(self, section: str) -> str:
        """The path of the section's manifest."""
        return manifest_path(self.path, section)

    def file(self, path: str) -> str:
        """Where a file of the data directory is here."""
        return f"{self.path}/{DATA}/{path}"


def manifest_path(snapshot: str, section: str) -> str:
    """The path of a section's manifest in the snapshot at that path."""
    return f"{snapshot}/{SECTIONS}/{section}.jsonl"


class Snapshots:
    """Those in a directory."""

    def __init__(self, path: Path) -> None:
        self.path = str(path.absolute())

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Make the directory when it is missing; nobody else writes to it meanwhile. Raises BackupError,
        OSError."""
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        lock = os.open(f"{self.path}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BackupError(f"another backup into {self.path} is under way; wait for its end") from None
            yield
        finally:
            os.close(lock)

    def names(self) -> list[str]:
        """Of whole snapshots, oldest first. Raises BackupError when there is no such directory."""
        try:
            return sorted((name for name in os.listdir(self.path) if _NAME.match(name)), key=_order)
        except OSError as error:
            raise BackupError(f"{self.path}: {error.strerror}") from error

    def open(self, name: str = "") -> Snapshot:
        """The one of that name, or the newest. Raises BackupError."""
        names = self.names()
        if not names:
            raise BackupError(f"there is no snapshot in {self.path}; mta backup makes them")
        if name and name not in names:
            raise BackupError(f"there is no snapshot {name} in {self.path}; there are: {', '.join(names)}")
        return read_snapshot(f"{self.path}/{name or names[-1]}")

    def unfinished(self) -> list[str]:
        """The paths of what was left behind, newest first."""
        found = [name for name in os.listdir(self.path) if name.startswith(UNFINISHED)]
        return [f"{self.path}/{name}" for name in sorted(found, reverse=True)]

    def begin(self, now: float) -> str:
        """A directory for a new snapshot; its path. Raises OSError."""
        path = f"{self.path}/{UNFINISHED}{int(now * 1e6):017}"
        os.mkdir(path, 0o700)
        return path

    def finish(self, path: str, header: dict[str, Any], now: float) -> Snapshot:
        """All of it is on disk: make it a snapshot, and remove what others have left. Raises OSError."""
        with open(f"{path}/{HEADER}", "x", encoding="ascii") as file:
            json.dump({"format": FORMAT, "made": now, **header}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        sync(path)
        name = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime(now))
        for newest in self.names()[-1:]:
            if _order(newest) >= _order(name):
                at, number = _order(newest)
                name = f"{at}Z-{number + 1}"
        os.rename(path, f"{self.path}/{name}")
        sync(self.path)
        for left in self.unfinished():
            shutil.rmtree(left, ignore_errors=True)
        return read_snapshot(f"{self.path}/{name}")

    def keep(self, count: int) -> list[str]:
        """Remove all but the newest `count`; the names of those removed. Raises OSError."""
        gone = self.names()[:-count]
        for name in gone:
            aside = f"{self.path}/{UNFINISHED}removed-{name}"
            os.rename(f"{self.path}/{name}", aside)
            shutil.rmtree(aside)
        return gone


def _order(name: str) -> tuple[str, int]:
    """The time in the name, and its number among those of that time."""
    at, _, number = name.partition("Z")
    return at, int(number[1:] or 1)


def read_snapshot(path: str) -> Snapshot:
    """The snapshot at that path. Raises BackupError when it is damaged, or of a later release."""
    try:
        with open(f"{path}/{HEADER}", "rb") as file:
            header = json.load(file)
        if header["format"] > FORMAT:
            raise BackupError(
                f"{path} was written by a later release of twisted_mta ({header['release']}): use that one"
            )
        sections = {
            str(name): SectionSum(int(files), int(octets), str(sha256))
            for name, (files, octets, sha256) in header["sections"].items()
        }
        made, hostname, release = float(header["made"]), str(header["hostname"]), str(header["release"])
        return Snapshot(path, os.path.basename(path), made, hostname, release, sections)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupError(f"{path}/{HEADER} is damaged: {error}") from error


def digest_of(path: str) -> str:
    """The SHA-256 of a file, as hexadecimal digits. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
