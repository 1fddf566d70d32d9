"""FETCH responses, many at a time: each data item is a column, and one format makes the lines of all
messages.

Works on positions of a view and never waits, so what it makes of the mailbox is of one moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from twisted_mta.protocol.imap4 import responses as spelling
from twisted_mta.protocol.imap4.fetch_items import Attribute
from twisted_mta.store.columns import picked
from twisted_mta.store.flags import FlagSet

if TYPE_CHECKING:
    from twisted_mta.access.imap4.view import View

# What had to be looked up first, by UID.
LookedUp = Mapping[Attribute, Mapping[int, bytes]]

_FORMATS = {
    **{attribute: attribute.value.encode("ascii") + b" %b" for attribute in Attribute},
    Attribute.UID: b"UID %d",
    Attribute.SIZE: b"RFC822.SIZE %d",
    Attribute.MODSEQ: b"MODSEQ (%d)",
    Attribute.EMAILID: b"EMAILID (%b)",
    Attribute.LAZY_PREVIEW: b"PREVIEW %b",
}


def responses(
    view: View,
    positions: Sequence[int],
    attributes: Iterable[Attribute],
    looked_up: LookedUp = {},  # noqa: B006
    *,
    end: bytes = b")\r\n",
) -> Iterator[bytes]:
    """A response for each of the messages that are there, in ascending order, with `end` behind the last
    item. The client then knows their flags, if these are among the items."""
    positions, places = view.places(positions)
    uids = picked(view.uids, positions)
    items = tuple(attributes)
    if Attribute.FLAGS in items:
        view.know_flags(uids)
    columns = [_column(view, item, uids, places, looked_up) for item in items]
    begin = b"* %d UIDFETCH (" if view.uid_only else b"* %d FETCH ("
    names = uids if view.uid_only else [position + 1 for position in positions]
    line = begin + b" ".join([_FORMATS[item] for item in items]) + end
    return map(line.__mod__, zip(names, *columns, strict=True))


def _column(
    view: View, item: Attribute, uids: Sequence[int], places: Sequence[int], looked_up: LookedUp
) -> Iterable[object]:
    mailbox = view.mailbox
    match item:
        case Attribute.UID:
            return uids
        case Attribute.FLAGS:
            return _flags(view, uids, picked(mailbox.flag_numbers, places))
        case Attribute.MODSEQ:
            return picked(mailbox.modseqs, places)
        case Attribute.SIZE:
            return picked(mailbox.columns.sizes, places)
        case Attribute.INTERNALDATE:
            return map(spelling.date_time, picked(mailbox.columns.dates, places))
        case Attribute.SAVEDATE:
            dates = picked(mailbox.columns.save_dates, places)
            return [spelling.date_time(date) if date else spelling.NIL for date in dates]
        case Attribute.EMAILID:
            return [mailbox.email_id(uid).encode("ascii") for uid in uids]
        case _:
            return map(looked_up[item].__getitem__, uids)


def _flags(view: View, uids: Sequence[int], numbers: Sequence[int]) -> list[bytes]:
    plain = _Rendered(view.mailbox.flag_sets, recent=False)
    words = list(map(plain.__getitem__, numbers))
    recent = _Rendered(view.mailbox.flag_sets, recent=True)
    for found in view.recent_within(uids):
        words[found.start : found.stop] = map(recent.__getitem__, numbers[found.start : found.stop])
    return words


class _Rendered(dict[int, bytes]):
    """Flag lists by the number of the combination, each made when it is first asked for."""

    def __init__(self, flag_sets: Sequence[FlagSet], recent: bool) -> None:
        super().__init__()
        self._flag_sets = flag_sets
        self._recent = recent

    def __missing__(self, number: int) -> bytes:
        words = self[number] = spelling.flags(self._flag_sets[number].names, self._recent)
        return words
