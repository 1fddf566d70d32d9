"""The order of messages by the criteria of SORT (RFC 5256 §2.2, §3, RFC 5957).

What is sorted by is known of every message without its octets, so a sort is list sorts: one for each
criterion, the last one first, as each keeps the order of what it finds equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted_mta.message.collation import casemap
from twisted_mta.protocol.imap4.commands.searching import Criterion
from twisted_mta.store.mailbox import Mailbox
from twisted_mta.store.overview_columns import Look

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_SLICE = 4_000  # elements sorted between two turns of the others
_LOOKS = {
    "CC": Look("cc_mailbox", casemap),
    "DATE": Look("sent"),
    "DISPLAYFROM": Look("from_display", casemap),
    "DISPLAYTO": Look("to_display", casemap),
    "FROM": Look("from_mailbox", casemap),
    "SUBJECT": Look("base_subject", casemap),
    "TO": Look("to_mailbox", casemap),
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
    words = {criterion.key for criterion in criteria}
    asked = [word for word in sorted(words) if word in _LOOKS]
    there, places, found = await mailbox.overviews(uids, [_LOOKS[word] for word in asked])
    values = dict(zip(asked, found, strict=True))
    columns = mailbox.columns
    if words & {"ARRIVAL", "DATE"}:
        values["ARRIVAL"] = dates = list(map(columns.dates.__getitem__, places))
        if "DATE" in words:  # without a date in the message its internal date counts (RFC 5256 §2.2)
            values["DATE"] = [
                date if sent is None else sent for sent, date in zip(values["DATE"], dates, strict=True)
            ]
    if "SIZE" in words:
        values["SIZE"] = list(map(columns.sizes.__getitem__, places))
    if scores:
        values["RELEVANCY"] = [-scores[uid] for uid in there]  # the highest comes first
    order = list(range(len(there)))
    for criterion in reversed(criteria):
        if criterion.key in values:
            await _sort_by(session, order, values[criterion.key].__getitem__, criterion.reverse)
    return [there[number] for number in order]


async def _sort_by(
    session: ImapSession, numbers: list[int], key: Callable[[int], Any], reverse: bool
) -> None:
    """Sort a list in place. Sorting holds up everybody else, also from another thread: so parts are sorted
    first, then pairs of parts; merging two that are in order takes little."""
    width = _SLICE
    for start in range(0, len(numbers), width):
        numbers[start : start + width] = sorted(numbers[start : start + width], key=key, reverse=reverse)
        await session.access.breathe()
    while width < len(numbers):
        for start in range(0, len(numbers), 2 * width):
            numbers[start : start + 2 * width] = sorted(
                numbers[start : start + 2 * width], key=key, reverse=reverse
            )
            await session.access.breathe()
        width *= 2
