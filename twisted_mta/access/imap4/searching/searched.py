"""The messages that a search looks through, in portions, and the marks it puts on them.

Marks are one octet for each message of a portion, 1 or 0, all together one large integer: so `and`, `or` and
`not` over twenty thousand messages cost some microseconds, and what is marked is picked out by `compress`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress
from typing import Any

from twisted_mta.access.imap4.view import View
from twisted_mta.protocol.imap4.sequence_set import SequenceSet
from twisted_mta.store.columns import picked
from twisted_mta.store.mailbox import Mailbox

PORTION = 20_000  # messages decided between two turns of the others
_PLACES = tuple(range(PORTION))  # numbers that need not be made for each search

Marks = int


class Searched:
    """A mailbox as whoever searches sees it: the first `count` of `uids`, and what is `saved` of them."""

    def __init__(
        self, mailbox: Mailbox, view: View | None = None, among: Sequence[int] | None = None
    ) -> None:
        """view: of the session that has the mailbox selected. among: the UIDs, ascending, to be looked at if
        not all; then message numbers have no meaning."""
        self.mailbox = mailbox
        self.view = view
        self.uids: array[int] = view.uids if view else mailbox.uids
        self.count = view.count if view else len(mailbox.uids)
        if among is not None:
            self.uids, self.count = array("I", among), len(among)
        self.saved = frozenset(view.saved) if view else frozenset()

    def portions(self) -> Iterator[Portion]:
        """All messages, in their order."""
        for start in range(0, self.count, PORTION):
            yield Portion(self, start, min(start + PORTION, self.count))

    def is_recent(self, uid: int) -> bool:
        """True when the message is `\\Recent` for whoever searches."""
        return self.view.is_recent(uid) if self.view else uid >= self.mailbox.recent_from

    def ranges(self, numbers: SequenceSet, by_uid: bool) -> list[range]:
        """The positions, ascending, of a set. What does not exist is passed over (RFC 7377 §2)."""
        if not self.count:
            return []
        if by_uid:
            return numbers.positions_of_uids(self.uids, self.count)
        resolved = numbers.resolve(self.count)
        return [range(low - 1, min(high, self.count)) for low, high in resolved if low <= self.count]


class Portion:
    """The messages at the positions from `start` up to `stop`."""

    def __init__(self, searched: Searched, start: int, stop: int) -> None:
        self._mailbox = searched.mailbox
        self._searched = searched
        self._start = start
        self._size = stop - start
        self._here: array[int] | None = None  # the mailbox's UIDs, as they were when this was found out:
        self._positions: Sequence[int] = range(0)  # where those that still exist stand in the mailbox
        self._existing = b""  # marks
        self.uids = searched.uids[start:stop]

    def __len__(self) -> int:
        return self._size

    @property
    def all(self) -> Marks:
        """Every message that has not been expunged meanwhile."""
        self._align()
        return int.from_bytes(self._existing, "little")

    def octets(self, marks: Marks) -> bytes:
        """The marks one by one."""
        return marks.to_bytes(self._size, "little")

    def pick(self, marks: Marks) -> Sequence[int]:
        """The UIDs of the marked messages."""
        return self.uids if marks.bit_count() == self._size else list(compress(self.uids, self.octets(marks)))

    def positions(self, marks: Marks) -> Sequence[int]:
        """Where the marked messages stand among all that is searched; a range when all are marked."""
        places = self.places(marks)
        if isinstance(places, range):
            return range(self._start, self._start + self._size)
        return [self._start + place for place in places] if self._start else places

    def places(self, marks: Marks) -> Sequence[int]:
        """Where the marked messages stand within the portion; a range when all are marked."""
        if marks.bit_count() == self._size:
            return range(self._size)
        return list(compress(_PLACES, self.octets(marks)))

    def mark(self, uids: Iterable[int]) -> Marks:
        """Marks on these messages."""
        wanted = frozenset(uids)
        if not wanted:
            return 0
        return int.from_bytes(bytes(map(wanted.__contains__, self.uids)), "little")

    def mark_places(self, places: Iterable[int]) -> Marks:
        """Marks on the messages at these places within the portion."""
        marks = bytearray(self._size)
        for place in places:
            marks[place] = 1
        return int.from_bytes(marks, "little")

    def mark_if(self, test: Callable[[int], bool]) -> Marks:
        """Marks on the messages whose UID passes the test."""
        return int.from_bytes(bytes(map(test, self.uids)), "little")

    def mark_ranges(self, ranges: Sequence[range]) -> Marks:
        """Marks on the messages at positions within ascending ranges."""
        marks = bytearray(self._size)
        first = bisect_left(ranges, self._start, key=lambda found: found.stop - 1)
        for found in ranges[first:]:
            low, high = found.start - self._start, min(found.stop - self._start, self._size)
            if low >= self._size:
                break
            low = max(low, 0)
            marks[low:high] = b"\1" * (high - low)
        return int.from_bytes(marks, "little")

    def mark_column(self, column: Sequence[Any], test: Callable[[Any], bool]) -> Marks:
        """Marks on the messages whose value in a column of the mailbox passes the test."""
        return self._spread(bytes(map(test, self._values(column))))

    def mark_numbers(self, numbers: Sequence[int], table: bytes) -> Marks:
        """Marks by a column of small numbers and a `table` that has the mark for each."""
        values = self._values(numbers)
        if isinstance(values, bytearray):
            return self._spread(values.translate(table[:256].ljust(256, b"\0")))
        return self._spread(bytes(map(table.__getitem__, values)))

    def _values(self, column: Sequence[Any]) -> Sequence[Any]:
        """Of a column of the mailbox the values of the messages that exist."""
        self._align()
        values = picked(column, self._positions)
        return bytearray(values) if isinstance(column, bytearray) else values

    def _spread(self, marks: bytes | bytearray) -> Marks:
        """Marks on messages that exist, as marks on all."""
        if len(marks) == self._size:
            return int.from_bytes(marks, "little")
        spread = bytearray(self._size)
        for at, mark in zip(compress(range(self._size), self._existing), marks, strict=True):
            spread[at] = mark
        return int.from_bytes(spread, "little")

    def _align(self) -> None:
        """See what is still there, when something has gone since the last look."""
        here = self._mailbox.uids
        if here is self._here:
            return
        self._here = here
        if here is self._searched.uids:
            self._positions = range(self._start, self._start + self._size)
            self._existing = b"\1" * self._size
            return
        self._positions = self._mailbox.columns.positions(self.uids)
        existing = frozenset([here[position] for position in self._positions])
        self._existing = bytes(map(existing.__contains__, self.uids))
