"""The order of messages by the criteria of SORT (RFC 5256 §2.2, §3, RFC 5957).

What is sorted by is known of every message without its octets, so a sort is one look into a table, and then
list sorts: one for each criterion, the last one first, as each keeps the order of what it finds equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted_mta.message.collation import casemap
from twisted_mta.protocol.imap4.commands.searching import Criterion
from twisted_mta.store.mailbox import Mailbox

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_PORTION = 20_000  # messages that are asked about at a time
_SLICE = 10_000  # elements sorted between two turns of the others
_FIELDS = {
    "CC": "cc_mailbox",
    "DATE": "sent",
    "DISPLAYFROM": "from_display",
    "DISPLAYTO": "to_display",
    "FROM": "from_mailbox",
    "SUBJECT": "base_subject",
    "TO": "to_mailbox",
}


async def ordered(
    session: ImapSession,
    mailbox: Mailbox,
    uids: Sequence[int],
    criteria: Sequence[Criterion],
    scores: dict[int, int] | None = None,
) -> list[int]:
    """The UIDs, ascending as they come, in the order that the criteria ask for; without those that are gone.
    `scores`: by UID, for RELEVANCY. Raises StoreError."""
    values = await _values(session, mailbox, uids, criteria)
    if scores:
        values["RELEVANCY"] = {uid: -score for uid, score in scores.items()}  # the highest comes first
    result = list(uids)
    for criterion in reversed(criteria):
        value = values[criterion.key]
        result = [uid for uid in result if uid in value]
        await _sort_by(session, result, value.__getitem__, criterion.reverse)
    return result


async def _sort_by(session: ImapSession, uids: list[int], key: Callable[[int], Any], reverse: bool) -> None:
    """Sort a list in place. Sorting holds up everybody else, also from another thread: so parts are sorted
    first, then pairs of parts; merging two that are in order takes little."""
    width = _SLICE
    for start in range(0, len(uids), width):
        uids[start : start + width] = sorted(uids[start : start + width], key=key, reverse=reverse)
        await session.access.breathe()
    while width < len(uids):
        for start in range(0, len(uids), 2 * width):
            uids[start : start + 2 * width] = sorted(
                uids[start : start + 2 * width], key=key, reverse=reverse
            )
            await session.access.breathe()
        width *= 2


async def _values(
    session: ImapSession, mailbox: Mailbox, uids: Sequence[int], criteria: Sequence[Criterion]
) -> dict[str, dict[int, Any]]:
    """For each criterion UID -> what is compared."""
    words = {criterion.key for criterion in criteria}
    fields = tuple(sorted({_FIELDS[word] for word in words if word in _FIELDS}))
    values: dict[str, dict[int, Any]] = {word: {} for word in words}
    for start in range(0, len(uids), _PORTION):
        if start:
            await session.access.breathe()
        some = uids[start : start + _PORTION]
        overviews = await mailbox.overviews(some, fields) if fields else {}
        columns = mailbox.columns
        positions = columns.positions(some)
        there = [columns.uids[position] for position in positions]
        dates = dict(zip(there, [columns.dates[position] for position in positions], strict=True))
        for word, found in values.items():
            if word == "ARRIVAL":
                found.update(dates)
            elif word == "SIZE":
                found.update(zip(there, [columns.sizes[position] for position in positions], strict=True))
            elif word in _FIELDS:
                at = fields.index(_FIELDS[word])
                found.update(_compared(word, at, overviews, dates))
    return values


def _compared(
    word: str, at: int, overviews: dict[int, tuple[Any, ...]], dates: dict[int, float]
) -> dict[int, Any]:
    """UID -> what is compared, from overviews. Without a date in the message its internal date counts
    (RFC 5256 §2.2)."""
    if word != "DATE":
        return {uid: casemap(row[at]) for uid, row in overviews.items()}
    return {uid: dates.get(uid, 0.0) if row[at] is None else row[at] for uid, row in overviews.items()}
