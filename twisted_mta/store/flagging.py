r"""Setting flags and keywords, and taking note that messages have been seen as recent.

File names follow the flags: first the files are renamed, then the index is committed. A crash between
is seen later as a change of flags by another program, so what was set stays set. An index that cannot
be committed (the disk is full) gives the files their old names back: what was refused never takes effect.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from twisted_mta.store.changes import Step
from twisted_mta.store.errors import CannotDo
from twisted_mta.store.flags import MAX_KEYWORDS, tail_with_bits
from twisted_mta.store.folder import Folder, replaced
from twisted_mta.store.index_rows import Message
from twisted_mta.store.maildir import CUR

How = Literal["add", "remove", "replace"]


class Flagged(NamedTuple):
    """The UIDs, ascending, of the messages whose flags are other ones now, and of those that were left as
    they are because they have been changed before (RFC 7162 §3.1.3)."""

    changed: list[int]
    refused: list[int]


def set_flags(
    folder: Folder,
    uids: Sequence[int],
    how: How,
    bits: int,
    keywords: frozenset[str],
    unchanged_since: int | None = None,
) -> Flagged:
    """Change flags of messages, only of those without a higher mod-sequence than `unchanged_since`.

    Raises CannotDo; sqlite3.Error, and nothing is done; OSError, and what was done before stays done."""
    folder.refresh()
    refused: list[int] = []
    if unchanged_since is not None:
        messages = folder.index.messages(folder.id, uids)
        refused = [message.uid for message in messages if message.modseq > unchanged_since]
        uids = [message.uid for message in messages if message.modseq <= unchanged_since]
    keywords = frozenset(folder.spelled(keywords).split())
    return Flagged(sorted(_set_flags(folder, uids, how, bits, keywords, again=True)), refused)


def _set_flags(
    folder: Folder, uids: Sequence[int], how: How, bits: int, keywords: frozenset[str], again: bool
) -> list[int]:
    undisturbed = folder.undisturbed()
    modseq = folder.index.marks(folder.id)[2] + 1
    pairs: list[tuple[Message, Message]] = []  # before, after
    astray: list[int] = []
    failure: OSError | None = None
    for message, (flags, words) in _plan(folder, uids, how, bits, keywords):
        directory, tail = message.directory, message.tail
        if flags != message.flags:
            directory, tail = CUR, tail_with_bits(tail, flags)
            try:
                if not folder.rename(message, tail):
                    astray.append(message.uid)
                    continue
            except OSError as error:
                failure = error
                break
        pairs.append((message, replaced(message, directory, tail, flags, words, modseq)))
    changed = [after for _, after in pairs]
    if changed:
        try:
            with folder.committing(undisturbed):
                folder.index.next_modseq(folder.id)
                folder.index.update(folder.id, changed)
        except BaseException:
            _undo(folder, pairs)
            raise
        folder.tell(Step(folder.id, modseq, changed=changed))
    if failure:
        raise failure
    done = [message.uid for message in changed]
    if astray and again:  # renamed by another program this very moment
        folder.scan()
        done += _set_flags(folder, astray, how, bits, keywords, again=False)
    return done


def _undo(folder: Folder, pairs: Sequence[tuple[Message, Message]]) -> None:
    """Give the files their names back; a rename needs no space."""
    for before, after in pairs:
        with suppress(OSError):  # removed, or renamed by another program: its change is taken over
            os.rename(folder.file(after), folder.file(before))


def _plan(
    folder: Folder, uids: Sequence[int], how: How, bits: int, keywords: frozenset[str]
) -> list[tuple[Message, tuple[int, str]]]:
    """The messages whose flags will be other ones, with those flags."""
    plan = []
    combinations: dict[tuple[int, str], tuple[int, str]] = {}
    for message in folder.index.messages(folder.id, uids):
        before = message.flags, message.keywords
        if before not in combinations:
            combinations[before] = _combined(*before, how, bits, keywords)
        if combinations[before] != before:
            plan.append((message, combinations[before]))
    return plan


def _combined(
    bits: int, keywords: str, how: How, change: int, change_keywords: frozenset[str]
) -> tuple[int, str]:
    words = set(keywords.split())
    if how == "add":
        bits, words = bits | change, words | change_keywords
    elif how == "remove":
        bits, words = bits & ~change, words - change_keywords
    else:
        bits, words = change, set(change_keywords)
    if len(words) > MAX_KEYWORDS:
        raise CannotDo("Too many keywords")
    return bits, " ".join(sorted(words))


def claim_recent(folder: Folder, below: int) -> None:
    """Messages below that UID are recent no more: their files move from `new` to `cur`, as every Maildir
    reader expects. Raises OSError, sqlite3.Error."""
    undisturbed = folder.undisturbed()
    _, recent_from, _ = folder.index.marks(folder.id)
    moved = []
    for message in folder.index.in_new(folder.id, recent_from):
        tail = tail_with_bits(message.tail, message.flags)
        if message.uid < below and folder.rename(message, tail):
            moved.append(replaced(message, CUR, tail, message.flags, message.keywords, message.modseq))
    with folder.committing(undisturbed):
        folder.index.set_recent_from(folder.id, below)
        folder.index.update(folder.id, moved)
