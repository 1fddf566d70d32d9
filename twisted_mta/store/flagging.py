r"""Setting flags and keywords, and taking note that messages have been seen as recent.

Only the index is changed; then whoever asked is answered. The names of the files follow (see `file_names`).
What an index refuses (the disk is full) is refused as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from twisted_mta.store.changes import Step
from twisted_mta.store.errors import CannotDo
from twisted_mta.store.flags import MAX_KEYWORDS
from twisted_mta.store.folder import Folder
from twisted_mta.store.index.rows import Marked

How = Literal["add", "remove", "replace"]

_ROW_BY_ROW = 50  # fewer messages are changed one by one in any case
_FEW = 8  # a combination that fewer than one in so many messages have is changed message by message
_GAP = 50  # UIDs between two messages that are remembered as behind together
_ANY_MODSEQ = 2**63 - 1

Combination = tuple[int, str]  # bits, and keywords as the index holds them


class Flagged(NamedTuple):
    """The UIDs, ascending, of the messages whose flags are other ones now, and of those that were left as
    they are because they have been changed before (RFC 7162 §3.1.3)."""

    changed: list[int]
    refused: list[int]


class _Wanted(NamedTuple):
    """Messages by their combination of flags, and those that are refused; UIDs ascending. `whole`: they are
    many, and no other message has a UID between the first and the last of all."""

    combinations: dict[Combination, list[int]]
    refused: list[int]
    whole: bool


def set_flags(
    folder: Folder,
    uids: Sequence[int],
    how: How,
    bits: int,
    keywords: frozenset[str],
    unchanged_since: int | None = None,
) -> Flagged:
    """Change flags of messages, only of those without a higher mod-sequence than `unchanged_since`.

    Raises CannotDo, OSError, sqlite3.Error, and nothing is done."""
    folder.refresh()
    limit = _ANY_MODSEQ if unchanged_since is None else unchanged_since
    spelled = frozenset(folder.spelled(keywords).split())
    wanted = _look_up(folder, uids, limit)
    changes = [
        (before, Marked(*after, found))
        for before, found in wanted.combinations.items()
        if (after := combined(*before, how, bits, spelled)) != before
    ]
    if not changes:
        return Flagged([], wanted.refused)
    changed = sorted(uid for _, marked in changes for uid in marked.uids)
    with folder.index.transaction():
        modseq = folder.index.next_modseq(folder.id)
        for before, marked in changes:
            many = wanted.whole and len(marked.uids) * _FEW >= len(changed)
            folder.index.mark(folder.id, marked, modseq, (*before, limit) if many else None)
        for first, last in _spans(changed):
            folder.index.behind.add(folder.id, first, last)
    folder.tell(Step(folder.id, modseq, changed=[marked for _, marked in changes]))
    return Flagged(changed, wanted.refused)


def _look_up(folder: Folder, uids: Sequence[int], limit: int) -> _Wanted:
    rows = folder.index.flags(folder.id, uids)
    refused = [uid for uid, _, _, modseq in rows if modseq > limit]
    combinations: dict[Combination, list[int]] = {}
    for uid, flags, words, modseq in rows:
        if modseq <= limit:
            combinations.setdefault((flags, words), []).append(uid)
    many = len(rows) >= _ROW_BY_ROW
    whole = many and folder.index.count_between(folder.id, rows[0][0], rows[-1][0]) == len(rows)
    return _Wanted(combinations, refused, whole)


def combined(bits: int, keywords: str, how: How, change: int, change_keywords: frozenset[str]) -> Combination:
    """What a change makes of a combination of flags. Raises CannotDo."""
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


def _spans(ascending: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges, (first, last), that hold all of the UIDs, and others where these are close together."""
    first = last = ascending[0]
    for uid in ascending:
        if uid - last > _GAP:
            yield first, last
            first = uid
        last = uid
    yield first, last


def claim_recent(folder: Folder, below: int) -> None:
    """Messages below that UID are recent no more: their files move from `new` to `cur`, as every Maildir
    reader expects. Raises sqlite3.Error."""
    _, recent_from, _ = folder.index.marks(folder.id)
    with folder.index.transaction():
        folder.index.set_recent_from(folder.id, below)
        if recent_from < below:
            folder.index.behind.add(folder.id, recent_from, below - 1)
