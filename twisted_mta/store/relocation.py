"""Copying and moving messages between two mailboxes of one account (RFC 3501 §6.4.7, RFC 6851).

A copy is a hard link, so it costs no space and keeps the file's time, which is the internal date; a move
is a rename. Both get fresh base names: no name can meet another one in the target, whatever other
programs have put there. A move between two directories is one step for each message: after a crash it
is in one of the two mailboxes, never in none or both.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from twisted_mta.durable import sync
from twisted_mta.store.changes import Step
from twisted_mta.store.flags import tail_elsewhere
from twisted_mta.store.folder import Folder
from twisted_mta.store.index.rows import Message, is_full
from twisted_mta.store.maildir import CUR, TMP, Place
from twisted_mta.store.quota import Room
from twisted_mta.store.space import require_space

_LOOKS = 3  # times a file that is not where it was seen is looked for
_NO_LINKS = frozenset({errno.EPERM, errno.EMLINK, errno.EXDEV, errno.ENOTSUP, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class CopyResult:
    """`source_uids[i]` became `target_uids[i]`, under the target's `uid_validity` (RFC 4315)."""

    uid_validity: int
    source_uids: tuple[int, ...]
    target_uids: tuple[int, ...]


def copy(source: Folder, target: Folder, uids: Sequence[int], room: Room) -> CopyResult:
    """Copy all of the messages, or none. Messages that are gone are left out.

    Raises OverQuota, OSError, sqlite3.Error."""
    if room.bounded:
        there = source.index.messages(source.id, uids)
        room.take(sum(message.size for message in there), len(there))
    require_space(target.maildir.path, 0)  # only rows; a move, with which mail goes to the trash, is let be
    return _relocate(source, target, uids, link, move=False)


def move(source: Folder, target: Folder, uids: Sequence[int]) -> CopyResult:
    """Move all of the messages, or none. Messages that are gone are left out.

    Raises OSError, sqlite3.Error."""
    _give_letters(source, target, uids)
    return _relocate(source, target, uids, os.rename, move=True)


def _give_letters(source: Folder, target: Folder, uids: Sequence[int]) -> None:
    """Keywords get their letters in the target before the files go there: a crash between a file's renaming
    and its row leaves nothing of the message but its file. What goes wrong is tried again behind the move."""
    keywords = {word for _, _, words, _ in source.index.flags(source.id, uids) for word in words.split()}
    if not keywords:
        return
    try:
        target.give_letters(sorted(keywords))
    except BlockingIOError:
        pass
    except OSError as error:
        target.report(f"{target.maildir.path}: {error!r}")
    except sqlite3.OperationalError as error:
        if not is_full(error):
            raise


def _relocate(
    source: Folder, target: Folder, uids: Sequence[int], transfer: Callable[[str, str], None], move: bool
) -> CopyResult:
    target.index.reserve(target.id, len(uids))
    source.refresh()
    pairs: list[tuple[Message, Message]] = []  # before, after (still without its UID)
    for look in range(_LOOKS):
        undisturbed, target_undisturbed = source.undisturbed(), target.undisturbed()
        try:
            astray = _transfer(source, target, uids, transfer, pairs)
            if not astray or look == _LOOKS - 1:
                if not pairs:
                    break
                sync(f"{target.maildir.path}/{CUR}")
                return _commit(source, target, pairs, undisturbed, target_undisturbed, move)
        except BaseException:
            _undo(source, target, pairs, move)
            raise
        # Another program renamed a file this very moment: all back, for the scan to see things as they are.
        _undo(source, target, pairs, move)
        pairs.clear()
        source.scan()
    return CopyResult(target.uid_validity, (), ())


def _transfer(
    source: Folder,
    target: Folder,
    uids: Sequence[int],
    transfer: Callable[[str, str], None],
    pairs: list[tuple[Message, Message]],
) -> list[int]:
    """Give the files their second, or new, names. Returns the UIDs whose file is not where it was seen."""
    astray = []
    for message in source.index.messages(source.id, uids):
        small = target.letters.of(message.keywords.split())
        place = Place(CUR, tail_elsewhere(message.tail, message.flags, small))
        name = source.names.fresh()
        try:
            transfer(source.file(message), target.maildir.file(name, place))
        except FileNotFoundError:
            astray.append(message.uid)
            continue
        pairs.append(
            (
                message,
                message._replace(
                    uid=0,
                    name=name,
                    directory=CUR,
                    tail=place.tail,
                    keywords=target.spelled(message.keywords.split()),
                    save_date=0.0,
                ),
            )
        )
    return astray


def _commit(
    source: Folder,
    target: Folder,
    pairs: list[tuple[Message, Message]],
    undisturbed: bool,
    target_undisturbed: bool,
    move: bool,
) -> CopyResult:
    gone = [before.uid for before, _ in pairs]
    modseq = 0
    with target.committing(target_undisturbed):
        if move:
            modseq = source.index.next_modseq(source.id)
            source.index.remove(source.id, gone, modseq)
            if source is not target:
                source.take_stamp(undisturbed)
        added = target.number(after for _, after in pairs)
    if move:
        source.tell(Step(source.id, modseq, expunged=gone))
    target.tell(Step(target.id, added[0].modseq, added=added))
    return CopyResult(target.uid_validity, tuple(gone), tuple(message.uid for message in added))


def _undo(source: Folder, target: Folder, pairs: list[tuple[Message, Message]], move: bool) -> None:
    source.forget_stamp()
    target.forget_stamp()
    for before, after in pairs:
        with suppress(OSError):  # what cannot be undone is found by the next scan
            if move:
                os.rename(target.file(after), source.file(before))
            else:
                os.unlink(target.file(after))


def link(source: str, target: str) -> None:
    """A second name for a file; where the file system has no (more) links, a copy with the same time."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        directory, name = os.path.split(target)
        unfinished = f"{os.path.dirname(directory)}/{TMP}/{name}"
        try:
            shutil.copy2(source, unfinished)
            sync(unfinished)
            os.rename(unfinished, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(unfinished)
            raise
