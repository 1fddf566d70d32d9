"""The order of messages by the criteria of SORT (RFC 5256 §2.2, §3, RFC 5957).

What is sorted by is known of every message without its octets, so a sort is list sorts: one for each
criterion, the last one first, as each keeps the order of what it finds equal. Texts are put in order once and
have numbers from then on; what is sorted are numbers.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted_mta.message.collation import casemap
from twisted_mta.protocol.imap4.commands.searching import Criterion
from twisted_mta.store.mailbox import Mailbox
from twisted_mta.store.overview_columns import Look, Overviews

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_SLICE = 20_000  # elements sorted between two turns of the others
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
) -> Sequence[int]:
    """The places of the UIDs, which come ascending, in the order that the criteria ask for; without those of
    messages that are gone. `scores`: by UID, for RELEVANCY. Raises StoreError."""
    looks = {each.key: _LOOKS[each.key] for each in criteria if each.key in _LOOKS}
    overviews = await mailbox.overviews(uids, list(looks.values()))
    there = overviews.uids
    answers = mailbox.overview_columns.answers_about(overviews)
    asked = tuple(criteria)
    order: Sequence[int] | None = None if scores else answers.get(asked)
    if order is None:
        values = _values(mailbox, overviews, looks, asked, scores or {})
        for word in looks.keys() - {"DATE"}:
            values[word] = await _ranks(session, mailbox, looks[word], values[word])
        order = list(range(len(there)))
        for criterion in reversed(asked):
            if criterion.key in values:
                await _sort(session, order, values[criterion.key].__getitem__, criterion.reverse)
        if not scores:
            answers[asked] = array("I", order)
    if len(there) == len(uids):
        return order
    place_of = {uid: place for place, uid in enumerate(uids)}
    return [place_of[there[at]] for at in order]


def _values(
    mailbox: Mailbox,
    overviews: Overviews,
    looks: Mapping[str, Look],
    criteria: Sequence[Criterion],
    scores: Mapping[int, int],
) -> dict[str, list[Any]]:
    """What is to be sorted by, by the word of the criterion."""
    words = {criterion.key for criterion in criteria}
    values: dict[str, list[Any]] = dict(zip(looks, overviews.values, strict=True))
    columns, places = mailbox.columns, overviews.places
    if "ARRIVAL" in words or None in values.get("DATE", ()):
        # Whole seconds, as clients see them: what they cannot tell apart stays in the order it came.
        values["ARRIVAL"] = dates = [columns.dates[place] // 1 for place in places]
        if "DATE" in words:  # without a date in the message its internal date counts (RFC 5256 §2.2)
            values["DATE"] = [
                date if sent is None else sent for sent, date in zip(values["DATE"], dates, strict=True)
            ]
    if "SIZE" in words:
        values["SIZE"] = list(map(columns.sizes.__getitem__, places))
    if scores:
        values["RELEVANCY"] = [-scores[uid] for uid in overviews.uids]  # the highest comes first
    return values


async def _ranks(session: ImapSession, mailbox: Mailbox, look: Look, texts: Sequence[str]) -> list[int]:
    """Numbers in the order of the texts. Those that were compared once are not compared again."""
    ranks = mailbox.overview_columns.ranks(look)
    with suppress(KeyError):
        return list(map(ranks.__getitem__, texts))
    ordered = [*ranks, *set(texts).difference(ranks)]
    await _sort(session, ordered)
    ranks = dict(zip(ordered, range(len(ordered)), strict=True))
    mailbox.overview_columns.keep_ranks(look, ranks)
    return list(map(ranks.__getitem__, texts))


async def _sort(
    session: ImapSession, values: list[Any], key: Callable[[Any], Any] | None = None, reverse: bool = False
) -> None:
    """Sort a list in place. Sorting holds up everybody else, also from another thread: so parts are sorted
    first, then pairs of parts; merging two that are in order takes little."""
    width = _SLICE
    while True:
        for start in range(0, len(values), width):
            values[start : start + width] = sorted(values[start : start + width], key=key, reverse=reverse)
            if width < len(values):
                await session.access.breathe()
        if width >= len(values):
            break
        width *= 2
