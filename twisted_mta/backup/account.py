"""An account in a snapshot: exactly what a crash of the server would leave at one moment.

Its files are read while mail comes, goes and is moved from one mailbox to another. So they are read again
until only little is new, and a last time while the index is held: the server, which commits behind every
step, then waits at the end of the step it is in, and the directories come to rest. What is new is copied
then, and the index is kept as it was at that moment; from there on the server goes on. For a large account
that takes some tenths of a second. Every message is then in the one mailbox where its file is, as after a
crash: the store puts the rest in order when the account is opened.

A server waits 10 seconds for its index; whoever holds it lets go after five.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import NamedTuple

from twisted_mta.backup.copying import DATABASE, LOGS, Section, reading, writing
from twisted_mta.durable import UNFINISHED
from twisted_mta.store import snapshot as columns
from twisted_mta.store.fulltext import FULLTEXT
from twisted_mta.store.home import INDEX
from twisted_mta.store.index.rows import is_corruption
from twisted_mta.store.maildir import CUR, NEW, TMP, base_name

LITTLE = 200  # new files that may be copied while the server waits
ROUNDS = 6  # before that, however much is new each time
HOLDING = 5.0  # seconds
PATIENCE = 60.0  # seconds to wait for a server that has very much to write
LOOKS = 50  # at directories that do not come to rest

REACHED = "reached"  # see high_water: a restored index goes on behind more than that
_PASSED_OVER = frozenset({FULLTEXT, columns.DIRECTORY, REACHED, INDEX})

Progress = Callable[[int], None]  # files that were looked at since the last call


class _File(NamedTuple):
    """path: relative to the data directory. change: what another content would have another of; () for a
    message, whose file stays the same under every name."""

    path: str
    change: tuple[int, ...] = ()


class Listing(NamedTuple):
    """files: by directory and base name, or ("", path) for what is no message. directories: their paths."""

    files: dict[tuple[str, str], _File]
    directories: set[str]


def copy_account(section: Section, account: str, progress: Progress = lambda count: None) -> None:
    """Bring the account whose directory, relative to the data directory, is `account` into the snapshot.
    Raises OSError, sqlite3.Error."""
    there = Listing({}, set())
    for _ in range(ROUNDS):
        there, new = _follow(section, there, _list(section, account), progress)
        if new <= LITTLE:
            break
    if not os.path.exists(f"{section.data}/{account}/{INDEX}"):
        return
    try:
        _hold(section, account, there)
    except sqlite3.DatabaseError as error:
        if not os.path.exists(f"{section.data}/{account}/{INDEX}"):
            return  # the account has been removed
        if not is_corruption(error):
            raise
        section.tally.notes.append(
            f"{section.data}/{account}/{INDEX} is damaged ({error}) and is not in the backup: the server"
            " builds it anew from the mail, with a new UIDVALIDITY; see: mta mailbox verify"
        )


def _hold(section: Section, account: str, there: Listing) -> None:
    path = f"{account}/{INDEX}"
    source = f"{section.data}/{path}"
    with closing(writing(source, PATIENCE)) as holder, closing(reading(source)) as reader:
        holder.execute("BEGIN IMMEDIATE")
        until = time.monotonic() + HOLDING
        try:
            for _ in range(LOOKS):
                there, new = _follow(section, there, _list(section, account), lambda count: None)
                if not new or time.monotonic() > until:
                    break
            # From here on the reader sees the index as it is now, whatever is written to it later.
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            holder.execute("ROLLBACK")
        section.database(path, reader)
        reader.execute("ROLLBACK")


def _follow(section: Section, there: Listing, found: Listing, progress: Progress) -> tuple[Listing, int]:
    """The snapshot has what was found, and nothing else: (what is there now, how much was not as before)."""
    now = Listing({}, found.directories)
    gone = there.files.keys() - found.files.keys()
    changes = len(gone)
    for key in gone:
        section.drop(there.files[key].path)
    for path in sorted(found.directories - there.directories):
        section.directory(path)
    for key, file in found.files.items():
        before = there.files.get(key)
        if before != file:
            changes += 1
            progress(1)
            if not _bring(section, before, file):
                continue  # gone again
        now.files[key] = file
    for path in sorted(there.directories - found.directories, reverse=True):
        section.drop(path)
    return now, changes


def _bring(section: Section, before: _File | None, file: _File) -> bool:
    if before is not None:
        if not file.change:
            section.rename(before.path, file.path)
            return True
        section.drop(before.path)
    if file.change and file.path.endswith(DATABASE):  # a message's name ends in that of a host
        return section.database(file.path)
    return section.file(file.path)


def _list(section: Section, account: str) -> Listing:
    """All of the account that belongs into a snapshot."""
    found = Listing({}, set())
    _look(section.data, account, found, top=True)
    return found


def _look(data: str, directory: str, found: Listing, *, top: bool = False) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        if os.path.basename(directory) in (CUR, NEW):
            names = os.listdir(f"{data}/{directory}")
            found.directories.add(directory)
            _messages(directory, names, found)
            return
        entries = list(os.scandir(f"{data}/{directory}"))
        found.directories.add(directory)
        for entry in entries:
            path = f"{directory}/{entry.name}"
            if top and _is_left_out(entry.name):  # below, names are those of mailboxes: one may end in .new
                continue
            if not entry.is_dir(follow_symlinks=False):
                if entry.name.endswith(LOGS):
                    continue
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    found.files[("", path)] = _File(path, (status.st_size, status.st_mtime_ns))
            elif entry.name == TMP:
                found.directories.add(path)
            else:
                _look(data, path, found)


def _messages(directory: str, names: list[str], found: Listing) -> None:
    above = os.path.dirname(directory)
    for name in names:
        if name[0] == ".":
            continue
        key = above, base_name(name)
        if key in found.files:  # two files of one name: both are kept
            key = "", f"{directory}/{name}"
        found.files[key] = _File(f"{directory}/{name}")


def _is_left_out(name: str) -> bool:
    """What is made anew, is on its way out, or is only of use to whoever looks into damage."""
    return (
        name in _PASSED_OVER
        or name.startswith("removed.")
        or f"{DATABASE}." in name
        or name.endswith(UNFINISHED)
    )
