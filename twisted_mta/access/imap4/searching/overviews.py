"""What overviews tell about a portion of messages under search: subjects, addresses, sent dates.

Each field is kept as one list, place by place, with its texts ready to be compared: so many patterns in one
search cost no more than looking for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import compress
from typing import Any

from twisted_mta.access.imap4.searching.searched import Marks, Portion
from twisted_mta.message.folding import fold
from twisted_mta.message.overview import MAX_LIST, MAX_SUBJECT
from twisted_mta.store.mailbox import Mailbox
from twisted_mta.store.overview_columns import Look


def _folded(text: str, limit: int) -> str:
    """A text as it is compared. One that may go on in the message is no shorter than `limit`: what stands in
    for the rest is in no folded text."""
    return fold(text).ljust(limit, "\0") if len(text) >= limit else fold(text)


_folded_subject: Callable[[str], str] = partial(_folded, limit=MAX_SUBJECT)
_folded_list: Callable[[str], str] = partial(_folded, limit=MAX_LIST)


def _look(field: str) -> Look:
    if field == "sent_day":
        return Look(field)
    return Look(field, _folded_subject if field == "subject" else _folded_list)


class Overviews:
    """The `fields` of the messages of a portion, fetched as they are asked for."""

    def __init__(self, mailbox: Mailbox, portion: Portion, fields: Sequence[str]) -> None:
        self._mailbox = mailbox
        self._portion = portion
        self._looks = [_look(field) for field in fields]
        self._fetched: Marks = 0
        self._values: dict[str, list[Any]] = {field: [None] * len(portion) for field in fields}

    async def sent_within(self, first: int, end: int, among: Marks) -> Marks:
        """Marks on messages sent on a day from `first` on and before `end`. Raises StoreError."""
        await self._fetch(among)
        places, days = self._portion.places(among), self._some("sent_day", among)
        return self._portion.mark_places(
            [at for at, day in zip(places, days, strict=True) if day is not None and first <= day < end]
        )

    async def containing(self, field: str, wanted: str, among: Marks) -> tuple[Marks, Marks]:
        """Marks on messages whose field has the folded text, and on those about which an overview cannot
        tell: whether an empty text is one that is not there, and what stands behind the end of a text that is
        as long as an overview lets it be. Raises StoreError."""
        await self._fetch(among)
        places, texts = self._portion.places(among), self._some(field, among)
        told = [text or "" for text in texts] if None in texts else texts
        if not wanted:
            empty = self._portion.mark_places([at for at, text in zip(places, told, strict=True) if not text])
            return among & self._fetched ^ empty, empty
        marks = self._portion.mark_places(
            [at for at, text in zip(places, told, strict=True) if wanted in text]
        )
        limit = MAX_SUBJECT if field == "subject" else MAX_LIST
        if max(map(len, told), default=0) < limit:
            return marks, 0
        long = self._portion.mark_places(
            [at for at, text in zip(places, told, strict=True) if len(text) >= limit]
        )
        return marks, long & ~marks

    def _some(self, field: str, among: Marks) -> list[Any]:
        return list(compress(self._values[field], self._portion.octets(among)))

    async def _fetch(self, among: Marks) -> None:
        """Have the overviews of these messages. Those that are gone count as fetched, with nothing."""
        wanted = among & ~self._fetched
        if not wanted:
            return
        uids = self._portion.pick(wanted)
        there, _, found = await self._mailbox.overviews(uids, self._looks)
        self._fetched |= wanted
        places: Sequence[int] = self._portion.places(wanted)
        if len(there) < len(uids):
            place_of = dict(zip(uids, places, strict=True))
            places = [place_of[uid] for uid in there]
        for look, column in zip(self._looks, found, strict=True):
            if len(places) == len(self._portion):
                self._values[look.field] = column
                continue
            values = self._values[look.field]
            for at, value in zip(places, column, strict=True):
                values[at] = value
