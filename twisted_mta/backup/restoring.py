"""A snapshot back into a data directory: all of it, or one account that has no mail there.

Everything is written and checked under another name before any of it is in its place. An index that is put
back gives no UID a second time, though nobody knows how many have been given since: the account goes on far
behind those that it had (see high_water), with the same UIDVALIDITY, so that mail programs keep what they
have.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from twisted_mta.backup.account import REACHED
from twisted_mta.backup.checking import entries_of
from twisted_mta.backup.copying import LOGS, reading
from twisted_mta.backup.draft import COMPLETE, DRAFT, is_cut_short
from twisted_mta.backup.manifest import Entry
from twisted_mta.backup.snapshots import MAIL, BackupError, Snapshot
from twisted_mta.durable import sync, write_whole
from twisted_mta.store import high_water
from twisted_mta.store.home import INDEX

LEAP = 1_000_000  # UIDs, and more than a mailbox gets between a backup and what makes it needed
_NOT_MAIL = frozenset({DRAFT, "lock"})
_CHUNK = 1 << 20
_LAST_UID = 2**32 - 1

Progress = Callable[[int], None]  # files that were written since the last call


def is_empty(data: str) -> bool:
    """True when there is nothing in the data directory, or what a restore has left that was cut short."""
    try:
        return not set(os.listdir(data)) - _NOT_MAIL or is_cut_short(data)
    except FileNotFoundError:
        return True


def restore_all(
    snapshot: Snapshot, data: str, *, queue: bool, damaged_too: bool, progress: Progress
) -> list[str]:
    """Everything into the directory `data`, which is empty and locked; without the messages on their way
    unless `queue`. Returns what is damaged, in sentences; unless `damaged_too`, nothing is restored then.
    One that was cut short is finished, if it was the same. Raises BackupError, OSError, sqlite3.Error; the
    directory is then as it was."""
    sections = [section for section in snapshot.sections if queue or section != "queue"]
    draft = f"{data}/{DRAFT}"
    if not is_cut_short(data):
        shutil.rmtree(draft, ignore_errors=True)
        os.mkdir(draft, 0o700)
        try:
            damage = _write(snapshot, sections, f"{draft}/data", progress)
            if damage and not damaged_too:
                shutil.rmtree(draft)
                return damage
            for section in sections:
                if section.startswith(MAIL):
                    go_on_behind(f"{draft}/data/{section}")
            mark = {"snapshot": snapshot.name, "queue": queue, "damage": damage}
            write_whole(Path(draft, COMPLETE), json.dumps(mark).encode())
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    else:
        damage = _cut_short(data, snapshot, queue, damaged_too)
    for name in os.listdir(f"{draft}/data"):
        os.rename(f"{draft}/data/{name}", f"{data}/{name}")
    sync(data)
    shutil.rmtree(draft)
    return damage


def restore_account(
    snapshot: Snapshot, section: str, data: str, *, damaged_too: bool, progress: Progress
) -> list[str]:
    """An account that has no directory in the data directory, with all that belongs to it. As
    `restore_all`."""
    draft = f"{data}/{DRAFT}-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    os.mkdir(draft, 0o700)
    try:
        damage = _write(snapshot, [section], f"{draft}/data", progress)
        if damage and not damaged_too:
            return damage
        go_on_behind(f"{draft}/data/{section}")
        target = f"{data}/{section}"
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        os.rename(f"{draft}/data/{section}", target)
        sync(os.path.dirname(target))
        return damage
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _cut_short(data: str, snapshot: Snapshot, queue: bool, damaged_too: bool) -> list[str]:
    """What is damaged of the restore that was cut short in its last step. Raises BackupError when it was not
    the one that is asked for: of that some may be in its place already."""
    try:
        mark = json.loads(Path(data, DRAFT, COMPLETE).read_bytes())
        name, had_queue, damage = mark["snapshot"], mark["queue"], list(map(str, mark["damage"]))
    except (ValueError, LookupError, TypeError):
        raise BackupError(
            f"{data}: nobody knows of which snapshot the restore was that was cut short: an earlier release"
            f" began it. Begin anew, with {data} moved away"
        ) from None
    if (name, had_queue) != (snapshot.name, queue) or (damage and not damaged_too):
        options = f"--snapshot {name}{'' if had_queue else ' --without-queue'}"
        options += " --even-damaged" if damage else ""
        raise BackupError(
            f"{data}: another restore was cut short there: finish it, with {options},"
            f" or begin anew, with {data} moved away"
        )
    return damage


def _write(snapshot: Snapshot, sections: Sequence[str], target: str, progress: Progress) -> list[str]:
    """All files of these sections below `target`, on disk."""
    os.mkdir(target, 0o700)
    damage: list[str] = []
    for section in sections:
        entries = entries_of(snapshot, section)
        written: list[str] = []
        for entry in entries:
            if entry.path.endswith(LOGS):  # of an earlier release's backup; the database is whole without it
                progress(1)
                continue
            path = f"{target}/{entry.path}"
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            try:
                fault = _one(snapshot, entry, path)
            except FileNotFoundError:
                fault = "is missing"
            if fault:
                damage.append(f"{snapshot.file(entry.path)} {fault}")
            if entry.kind in ("file", "database") and fault != "is missing":
                written.append(path)
            progress(1)
        for path in written:
            sync(path)
        for directory in {os.path.dirname(path) for path in written}:
            sync(directory)
    return damage


def _one(snapshot: Snapshot, entry: Entry, path: str) -> str:
    """Write it; what is wrong with it, or "". Raises OSError."""
    if entry.kind == "directory":
        os.makedirs(path, mode=0o700, exist_ok=True)
        return ""
    if entry.kind == "link":
        os.symlink(entry.target, path)
        return ""
    sums, size = hashlib.sha256(), 0
    with open(snapshot.file(entry.path), "rb") as source:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as copy:
            while data := source.read(_CHUNK):
                copy.write(data)
                sums.update(data)
                size += len(data)
            copy.flush()
            os.fchmod(descriptor, entry.mode & 0o700)
            os.utime(descriptor, ns=(entry.modified, entry.modified))
    if size != entry.size:
        return f"has {size:,} octets, and had {entry.size:,}"
    return "" if sums.hexdigest() == entry.sha256 else "has other octets than were written"


def go_on_behind(home: str) -> None:
    """The account at `home` has been restored: what it reached meanwhile is taken to be far away. An index
    that cannot be read, or has no more UIDs, goes: it is built anew, with a new UIDVALIDITY. Raises
    OSError."""
    path = f"{home}/{INDEX}"
    with suppress(FileNotFoundError):
        os.unlink(f"{home}/{REACHED}")
    if not os.path.exists(path):
        return
    try:
        with closing(reading(path)) as index:
            reserved = dict(index.execute("SELECT id, uid_reserved FROM mailboxes"))
    except sqlite3.DatabaseError:
        os.unlink(path)
        return
    far = {number: end + LEAP for number, end in reserved.items()}
    if max(far.values(), default=0) > _LAST_UID:
        os.unlink(path)
        return
    high_water.write(home, high_water.Reached(-1, far))  # no index was opened so often: it counts as put back
    sync(f"{home}/{REACHED}")
