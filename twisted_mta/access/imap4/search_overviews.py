"""What overviews tell about a portion of messages under search: subjects, addresses, sent dates.

Each field is kept as one list, place by place, with its texts ready to be compared: so many patterns in one
search cost no more than looking for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any

from twisted_mta.access.imap4.searched import Marks, Portion
from twisted_mta.message.folding import fold
from twisted_mta.message.overview import MAX_LIST, MAX_SUBJECT
from twisted_mta.store.mailbox import Mailbox


class Overviews:
    """The `fields` of the messages of a portion, fetched as they are asked for."""

    def __init__(self, mailbox: Mailbox, portion: Portion, fields: Sequence[str]) -> None:
        self._mailbox = mailbox
        self._portion = portion
        self._fields = tuple(fields)
        self._fetched: Marks = 0
        self._values: dict[str, list[Any]] = {field: [None] * len(portion) for field in fields}
        self._unsure: dict[str, Marks] = dict.fromkeys(fields, 0)  # longer than an overview lets them be
        self._empty: dict[str, Marks] = dict.fromkeys(fields, 0)

    async def sent_within(self, first: int, end: int, among: Marks) -> Marks:
        """Marks on messages sent on a day from `first` on and before `end`. Raises StoreError."""
        await self._fetch(among)
        places, days = self._places(among), self._some("sent_day", among)
        return self._portion.mark_places(
            [at for at, day in zip(places, days, strict=True) if day is not None and first <= day < end]
        )

    async def containing(self, field: str, wanted: str, among: Marks) -> tuple[Marks, Marks]:
        """Marks on messages whose field has the folded text, and on those about which an overview cannot
        tell: whether an empty text is one that is not there, and what stands behind the end of a text that is
        as long as an overview lets it be. Raises StoreError."""
        await self._fetch(among)
        if not wanted:
            empty = self._empty[field] & among
            return among & self._fetched ^ empty, empty
        probe = max(wanted.split(), key=len, default="")  # one word is found soon, and in few texts
        places, texts = self._places(among), self._some(field, among)
        found = [at for at, text in zip(places, texts, strict=True) if text is not None and probe in text]
        if probe != wanted:
            values = self._values[field]
            found = [at for at in found if wanted in fold(values[at])]
        marks = self._portion.mark_places(found)
        return marks, self._unsure[field] & among & ~marks

    def _places(self, among: Marks) -> list[int]:
        return list(compress(range(len(self._portion)), self._portion.octets(among)))

    def _some(self, field: str, among: Marks) -> list[Any]:
        return list(compress(self._values[field], self._portion.octets(among)))

    async def _fetch(self, among: Marks) -> None:
        """Have the overviews of these messages. Those that are gone count as fetched, with nothing."""
        wanted = among & ~self._fetched
        if not wanted:
            return
        portion = self._portion
        rows = await self._mailbox.overviews(portion.pick(wanted), self._fields)
        self._fetched |= wanted
        there = [
            (at, rows[uid])
            for at, uid in zip(self._places(wanted), portion.pick(wanted), strict=True)
            if uid in rows
        ]
        for number, field in enumerate(self._fields):
            values = self._values[field]
            if field == "sent_day":
                for at, row in there:
                    values[at] = row[number]
                continue
            limit = MAX_SUBJECT if field == "subject" else MAX_LIST
            unsure, empty = [], []
            for at, row in there:
                text = row[number]
                values[at] = text.lower() if text.isascii() else fold(text)
                if not text:
                    empty.append(at)
                elif len(text) >= limit:
                    unsure.append(at)
            self._unsure[field] |= portion.mark_places(unsure)
            self._empty[field] |= portion.mark_places(empty)
