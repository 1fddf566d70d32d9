"""The messages of an open mailbox in memory: one compact column for each thing that is asked often.

About 28 octets a message. Combinations of flags are kept once and numbered. Belongs to the reactor's
thread once it has been handed over.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from twisted_mta.store.errors import NoSuchMessage
from twisted_mta.store.flags import FlagSet
from twisted_mta.store.index import Message

_LARGEST = 0xFFFF_FFFF  # sizes are 32 bits, as RFC 3501 §9 has them


class Columns:
    """Parallel arrays in ascending order of UIDs. Made from rows as `Index.columns` gives them."""

    __slots__ = ("_flags", "_numbers", "_sets", "dates", "keywords", "modseqs", "sizes", "uids")

    def __init__(self, rows: Iterable[tuple[int, int, str, int, float, int]]) -> None:
        self.uids = array("I")
        self.sizes = array("I")
        self.dates = array("d")
        self.modseqs = array("Q")
        self.keywords: frozenset[str] = frozenset()
        self._flags = array("I")  # numbers of flag sets
        self._sets: list[FlagSet] = []
        self._numbers: dict[tuple[int, str], int] = {}
        for row in rows:
            self._append(*row)

    def position(self, uid: int) -> int:
        """Where the message stands. Raises NoSuchMessage."""
        position = bisect_left(self.uids, uid)
        if position == len(self.uids) or self.uids[position] != uid:
            raise NoSuchMessage()
        return position

    def flags(self, uid: int) -> FlagSet:
        """The message's flags. Raises NoSuchMessage."""
        return self._sets[self._flags[self.position(uid)]]

    def having(self, wanted: Callable[[frozenset[str]], bool]) -> list[int]:
        """The UIDs, ascending, of the messages whose flags are `wanted`; it is called once a combination."""
        numbers = self._wanted(wanted)
        return [uid for uid, number in zip(self.uids, self._flags, strict=True) if number in numbers]

    def first_having(self, wanted: Callable[[frozenset[str]], bool]) -> int | None:
        """The first of these UIDs, or None."""
        positions = []
        for number in self._wanted(wanted):
            with suppress(ValueError):
                positions.append(self._flags.index(number))
        return self.uids[min(positions)] if positions else None

    def _wanted(self, wanted: Callable[[frozenset[str]], bool]) -> set[int]:
        return {number for number, flags in enumerate(self._sets) if wanted(flags.names)}

    def append(self, message: Message) -> None:
        """Add a message with a UID greater than all before."""
        uid, _, _, _, flags, keywords, size, date, modseq = message
        self._append(uid, flags, keywords, size, date, modseq)

    def _append(self, uid: int, flags: int, keywords: str, size: int, date: float, modseq: int) -> None:
        self.sizes.append(min(size, _LARGEST))
        self.dates.append(date)
        self.modseqs.append(modseq)
        self._flags.append(self._number(flags, keywords))
        self.uids.append(uid)

    def change(self, message: Message) -> None:
        """Take over the flags of a message."""
        position = self.position(message.uid)
        self._flags[position] = self._number(message.flags, message.keywords)
        self.modseqs[position] = message.modseq

    def expunge(self, uids: Iterable[int]) -> None:
        """Take messages out. `uids` becomes a new array, so that who keeps the old one keeps a whole view."""
        positions = sorted(map(self.position, uids))
        self.uids = _without(self.uids, positions)
        self.sizes = _without(self.sizes, positions)
        self.dates = _without(self.dates, positions)
        self.modseqs = _without(self.modseqs, positions)
        self._flags = _without(self._flags, positions)

    def _number(self, bits: int, keywords: str) -> int:
        key = bits, keywords
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._sets)
            self._sets.append(FlagSet(bits, keywords))
            self.keywords |= frozenset(keywords.split())
        return number


Column = TypeVar("Column", "array[int]", "array[float]")


def _without(column: Column, positions: list[int]) -> Column:
    """A copy without the elements at these ascending positions."""
    kept = column[:0]
    start = 0
    for position in positions:
        kept.extend(column[start:position])
        start = position + 1
    kept.extend(column[start:])
    return kept
