"""Putting new messages into mailboxes, several in one visit: local delivery and APPEND.

A few messages at a time are written to `tmp` and then synced, so that the disk has them all to do at once.
Then for all: rename into place, sync each directory once, add the rows to the index in one transaction. A
message that fails, fails alone, unless they are put down together. Nothing partial is ever visible, and a
delivery that is repeated finds its own file by name, so it happens once.
"""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from twisted_mta.durable import sync
from twisted_mta.message.content import Content
from twisted_mta.store.changes import Step
from twisted_mta.store.errors import NoSuchMessage, OverQuota, StoreError, disk_error
from twisted_mta.store.flags import tail_with_bits
from twisted_mta.store.folder import Folder
from twisted_mta.store.home import Home
from twisted_mta.store.index.rows import Message, is_corruption
from twisted_mta.store.maildir import (
    CUR,
    NEW,
    TMP,
    Place,
    TmpFile,
    Written,
    begin_message,
    sizes,
    without_host,
)
from twisted_mta.store.quota import Room
from twisted_mta.store.space import require_space

SYNCED_TOGETHER = 8  # files; each has a descriptor until then


@dataclass(slots=True)
class Deposit:
    """One message for one mailbox.

    name: base name, the same again when the same deposit is tried again.
    source: the content, or a file that is complete in the `tmp` of the account's INBOX.
    internal_date: seconds since the epoch; None: now. recovered: an earlier process may have done it. fresh:
    the name has just been made, so nobody has done it. beyond_quota: it is taken whatever the account may
    keep."""

    mailbox: str
    source: Content | Written
    name: str
    bits: int = 0
    keywords: frozenset[str] = field(default_factory=frozenset)
    internal_date: float | None = None
    recovered: bool = False
    fresh: bool = False
    beyond_quota: bool = False


class Deposited(NamedTuple):
    """Where the message is now."""

    uid_validity: int
    uid: int


Result = Deposited | StoreError


@dataclass(slots=True)
class _Replaced:
    """A message that makes way for the new one. undisturbed: its mailbox, before the work (see Folder). gone:
    its file is."""

    folder: Folder
    message: Message
    undisturbed: bool
    gone: bool = False


class _Pending(NamedTuple):
    """A message between its renaming and its row."""

    number: int  # of the deposit
    tmp: str
    path: str
    row: Message


def deposit(home: Home, deposits: Sequence[Deposit]) -> list[Result]:
    """Do all of them; one result each, in the same order. Raises sqlite3.Error only for a corrupt index,
    and may then be called again."""
    results: list[Result | None] = [None] * len(deposits)
    by_mailbox: dict[str, list[int]] = defaultdict(list)
    for number, each in enumerate(deposits):
        by_mailbox[each.mailbox].append(number)
    for mailbox, numbers in by_mailbox.items():
        try:
            _deposit_into(home, home.folder(mailbox), deposits, numbers, results, home.room())
        except StoreError as error:
            _fail(results, numbers, error)
        except (OSError, sqlite3.Error) as error:
            if isinstance(error, sqlite3.Error) and is_corruption(error):
                raise
            home.report(f"delivery into {home.path}: {error}")
            _fail(results, numbers, disk_error(error))
    return [result for result in results if result is not None]


def deposit_together(
    home: Home, deposits: Sequence[Deposit], replaced: tuple[int, int] | None = None
) -> list[Deposited]:
    """Put all of them, which are for one mailbox, into it, or none. `replaced`: the number of a mailbox and
    the UID of a message in it that goes in the same step; the room it takes is free for them.

    Raises NoSuchMailbox, NoSuchMessage (the one to be replaced), OverQuota, StorageFull, StorageFault, and
    sqlite3.Error, OSError of the index and of removing."""
    folder = home.folder(deposits[0].mailbox)
    results: list[Result | None] = [None] * len(deposits)
    room, old = home.room(), None
    if replaced is not None:
        number, uid = replaced
        source = home.folder_numbered(number)
        source.refresh()
        found = source.index.messages(number, [uid])
        if not found:
            raise NoSuchMessage()
        room.give_back(found[0].size)
        with suppress(OSError, sqlite3.Error):  # as `Deleted` does, but it will go within a transaction
            source.give_letters(found[0].keywords.split())
        old = _Replaced(source, found[0], source.undisturbed())
    _deposit_into(home, folder, deposits, range(len(deposits)), results, room, together=True, replaced=old)
    return [result for result in results if isinstance(result, Deposited)]


def _fail(results: list[Result | None], numbers: Sequence[int], error: StoreError) -> None:
    for number in numbers:
        if results[number] is None:
            results[number] = error


def _deposit_into(
    home: Home,
    folder: Folder,
    deposits: Sequence[Deposit],
    numbers: Sequence[int],
    results: list[Result | None],
    room: Room,
    *,
    together: bool = False,
    replaced: _Replaced | None = None,
) -> None:
    if any(deposits[number].recovered for number in numbers):
        folder.refresh()
    undisturbed = folder.undisturbed()
    folder.index.reserve(folder.id, len(numbers))
    pending: list[_Pending] = []
    try:
        there = _find(folder, [deposits[number] for number in numbers if not deposits[number].fresh])
        wanted = []
        for number in numbers:
            if (uid := there.get(deposits[number].name)) is not None:
                results[number] = Deposited(folder.uid_validity, uid)
            else:
                wanted.append(number)
        for start in range(0, len(wanted), SYNCED_TOGETHER):
            for number, written in _write(
                home, folder, deposits, wanted[start : start + SYNCED_TOGETHER], room
            ):
                if isinstance(written, StoreError):
                    results[number] = written
                else:
                    pending.append(_pending(folder, number, deposits[number], written))
        failed = [result for result in results if isinstance(result, StoreError)]
        if together and failed:
            raise failed[0]
        for each in pending:
            os.rename(each.tmp, each.path)
        with home.waiting():
            for directory in {each.row.directory for each in pending}:
                sync(f"{folder.maildir.path}/{directory}")
        if pending:
            added = _commit(folder, pending, undisturbed, replaced)
    except BaseException:
        if replaced is None or not replaced.gone:  # otherwise the new one must stay: a scan finds it
            _undo(pending, deposits)
        folder.forget_stamp()
        raise
    if pending:
        for each, message in zip(pending, added, strict=True):
            results[each.number] = Deposited(folder.uid_validity, message.uid)


def _commit(
    folder: Folder, pending: Sequence[_Pending], undisturbed: bool, replaced: _Replaced | None
) -> list[Message]:
    """The rows of files that are in their places, and of the one that makes way: all in one transaction,
    which is told then. The old file goes last, when nothing but the COMMIT can fail any more. Raises
    sqlite3.Error, OSError."""
    try:
        with folder.committing(undisturbed):
            added = folder.number(each.row for each in pending)
            if replaced is not None:
                modseq = folder.index.next_modseq(replaced.folder.id)
                folder.index.remove(replaced.folder.id, [replaced.message.uid], modseq)
                replaced.folder.discard(replaced.message)
                replaced.gone = True
                if replaced.folder is not folder:
                    replaced.folder.take_stamp(replaced.undisturbed)
    except BaseException:
        if replaced is not None:
            replaced.folder.forget_stamp()
        raise
    folder.tell(Step(folder.id, added[0].modseq, added=added))
    if replaced is not None:
        folder.tell(Step(replaced.folder.id, modseq, expunged=[replaced.message.uid]))
    return added


def _find(folder: Folder, deposits: Sequence[Deposit]) -> dict[str, int]:
    """Those that were done before, by name: the UIDs."""
    prefixes = {each.name: without_host(each.name) for each in deposits}
    uids = folder.index.find(folder.id, list(prefixes.values()))
    return {name: uids[prefix] for name, prefix in prefixes.items() if prefix in uids}


def _write(
    home: Home, folder: Folder, deposits: Sequence[Deposit], numbers: Sequence[int], room: Room
) -> list[tuple[int, Written | StoreError]]:
    """Write these messages to `tmp`, and sync them once all of them are written."""
    begun: list[tuple[int, Written | TmpFile | StoreError]] = []
    files: list[TmpFile] = []
    tight = _is_tight(folder, [deposits[number].source for number in numbers])
    try:
        for number in numbers:
            file = _begin(home, folder, deposits[number], room, tight=tight)
            begun.append((number, file))
            if isinstance(file, TmpFile):
                files.append(file)
        with home.waiting() if files else nullcontext():
            if len(files) > 1:
                for file in files:
                    file.write_out()
            return [(number, _finish(home, folder, deposits[number], file)) for number, file in begun]
    except BaseException:
        for file in files:
            file.discard()
        raise


def _is_tight(folder: Folder, sources: Sequence[Content | Written]) -> bool:
    """Whether not all of them may fit on the disk: one question for all, as long as there is enough."""
    try:
        require_space(folder.maildir.path, sum(len(each) for each in sources if isinstance(each, Content)))
    except OSError:
        return True
    return False


def _begin(
    home: Home, folder: Folder, each: Deposit, room: Room, *, tight: bool
) -> Written | TmpFile | StoreError:
    source = each.source
    try:
        if not each.beyond_quota:
            room.take(source.canonical if isinstance(source, Written) else len(source))
        if isinstance(source, Written):
            return source
        if tight:
            require_space(folder.maildir.path, len(source))
        return begin_message(f"{folder.maildir.path}/{TMP}/{each.name}", source.chunks())
    except OverQuota as error:
        return error
    except OSError as error:
        return _disk_error(home, folder, error)


def _finish(
    home: Home, folder: Folder, each: Deposit, file: Written | TmpFile | StoreError
) -> Written | StoreError:
    if isinstance(file, StoreError):
        return file
    try:
        written = file.finish() if isinstance(file, TmpFile) else file
        if each.internal_date is None:
            return written
        with suppress(OverflowError):  # a date that no file can have; the index has it
            os.utime(written.path, (each.internal_date, each.internal_date))
        return written._replace(modified=each.internal_date)
    except OSError as error:
        if isinstance(file, TmpFile):
            file.discard()
        return _disk_error(home, folder, error)


def _disk_error(home: Home, folder: Folder, error: OSError) -> StoreError:
    home.report(f"delivery into {folder.maildir.path}: {error}")
    return disk_error(error)


def _pending(folder: Folder, number: int, each: Deposit, written: Written) -> _Pending:
    keywords = folder.spelled(each.keywords)
    fields = sizes(written)
    place = Place(NEW, fields)
    if each.bits or keywords:
        place = Place(CUR, tail_with_bits(fields, each.bits, folder.letters.of(each.keywords)))
    row = Message(0, each.name, *place, each.bits, keywords, written.canonical, written.modified, 0)
    return _Pending(number, written.path, folder.maildir.file(each.name, place), row)


def _undo(pending: Sequence[_Pending], deposits: Sequence[Deposit]) -> None:
    for each in pending:
        with suppress(OSError):
            os.rename(each.path, each.tmp)  # the owner of one that was there already may try again
        if isinstance(deposits[each.number].source, Content):
            with suppress(OSError):
                os.unlink(each.tmp)
