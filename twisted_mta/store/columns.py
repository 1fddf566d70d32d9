"""The messages of a mailbox in memory: one compact column for each thing that is asked often.

About 45 octets a message. Combinations of flags are kept once and numbered; how many messages have each is
counted as they change, so that totals cost nothing. Belongs to the reactor's thread once it has been handed
over.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from typing import NamedTuple, TypeVar

from twisted_mta.store.errors import NoSuchMessage
from twisted_mta.store.flags import DELETED, SEEN, FlagSet
from twisted_mta.store.index.rows import Marked, Message

_LARGEST = 0xFFFF_FFFF  # sizes are 32 bits, as RFC 3501 §9 has them
_NARROW = 256  # combinations that have room in one octet


class Counts(NamedTuple):
    """All messages, those without `\\Seen`, those with `\\Deleted`, octets together."""

    messages: int
    unseen: int
    deleted: int
    size: int


class Columns:
    """Parallel arrays in ascending order of UIDs. Made from rows as `Index.columns` gives them.

    flag_numbers: for each message the place of its combination in `flag_sets`; an octet each while there
    are few combinations, which makes searching them the work of a few machine instructions."""

    __slots__ = (
        "_holders",
        "_numbers",
        "_size",
        "dates",
        "emails",
        "flag_numbers",
        "flag_sets",
        "keywords",
        "modseqs",
        "save_dates",
        "sizes",
        "uids",
    )

    def __init__(self, rows: Iterable[tuple[int, int, str, int, float, int, int, float]] = ()) -> None:
        self.uids = array("I")
        self.sizes = array("I")
        self.dates = array("d")
        self.modseqs = array("Q")
        self.emails = array("Q")
        self.save_dates = array("d")  # 0: not known
        self.keywords: frozenset[str] = frozenset()
        self.flag_numbers: bytearray | array[int] = bytearray()
        self.flag_sets: list[FlagSet] = []
        self._holders: list[int] = []  # how many messages have the combination of that number
        self._numbers: dict[tuple[int, str], int] = {}
        self._size = 0  # octets together
        table = list(rows)
        if table:
            self._fill(*zip(*table, strict=True))

    def _fill(
        self,
        uids: Sequence[int],
        flags: Sequence[int],
        keywords: Sequence[str],
        sizes: Sequence[int],
        dates: Sequence[float],
        modseqs: Sequence[int],
        emails: Sequence[int],
        save_dates: Sequence[float],
    ) -> None:
        """All at once is several times faster than one after the other."""
        combinations = list(zip(flags, keywords, strict=True))
        for combination, holders in Counter(combinations).items():
            self._holders[self._number(*combination)] = holders
        self.flag_numbers.extend(map(self._numbers.__getitem__, combinations))
        self.uids.extend(uids)
        self.sizes.extend([min(size, _LARGEST) for size in sizes])
        self.dates.extend(dates)
        self.modseqs.extend(modseqs)
        self.emails.extend(emails)
        self.save_dates.extend(save_dates)
        self._size = sum(self.sizes)

    @property
    def octets(self) -> int:
        """Of all messages together."""
        return self._size

    def combinations(self) -> list[tuple[int, str, int]]:
        """The combinations of flags in the order of `flag_sets`: bits, keywords, by how many messages."""
        sets = zip(self.flag_sets, self._holders, strict=True)
        return [(flags.bits, flags.keywords, holders) for flags, holders in sets]

    def restore(self, combinations: Iterable[tuple[int, str, int]], numbers: array[int], octets: int) -> None:
        """The other arrays have been filled: for each message the place of its flags in `combinations`, and
        what all of it comes to. Raises TypeError, ValueError for what cannot be."""
        if len(numbers) != len(self.uids):
            raise ValueError("columns of different lengths")
        for bits, keywords, holders in combinations:
            self._holders[self._number(bits, keywords)] = holders
        self.flag_numbers.extend(numbers)
        self._size = octets

    def position(self, uid: int) -> int:
        """Where the message stands. Raises NoSuchMessage."""
        position = bisect_left(self.uids, uid)
        if position == len(self.uids) or self.uids[position] != uid:
            raise NoSuchMessage()
        return position

    def positions(self, uids: Sequence[int]) -> Sequence[int]:
        """Where those of the messages stand that are there; in the order of `uids`. A range for messages in a
        row."""
        here = self.uids
        count = len(here)
        start = bisect_left(here, uids[0]) if uids else 0
        if here[start : start + len(uids)] == (uids if isinstance(uids, array) else array("I", uids)):
            return range(start, start + len(uids))
        found = []
        for uid in uids:
            position = bisect_left(here, uid)
            if position < count and here[position] == uid:
                found.append(position)
        return found

    def flags(self, uid: int) -> FlagSet:
        """The message's flags. Raises NoSuchMessage."""
        return self.flag_sets[self.flag_numbers[self.position(uid)]]

    def having(self, wanted: Callable[[frozenset[str]], bool]) -> list[int]:
        """The UIDs, ascending, of the messages whose flags are `wanted`; it is called once a combination."""
        numbers = self._wanted(wanted)
        if not numbers:
            return []
        if isinstance(self.flag_numbers, bytearray):
            marks = bytearray(_NARROW)
            for number in numbers:
                marks[number] = 1
            return list(compress(self.uids, self.flag_numbers.translate(marks)))
        return [uid for uid, number in zip(self.uids, self.flag_numbers, strict=True) if number in numbers]

    def first_having(self, wanted: Callable[[frozenset[str]], bool]) -> int | None:
        """The first of these UIDs, or None."""
        positions = [self.flag_numbers.index(number) for number in self._wanted(wanted)]
        return self.uids[min(positions)] if positions else None

    def _wanted(self, wanted: Callable[[frozenset[str]], bool]) -> set[int]:
        return {
            number
            for number, flags in enumerate(self.flag_sets)
            if self._holders[number] and wanted(flags.names)
        }

    def counts(self) -> Counts:
        """The totals."""
        unseen = deleted = 0
        for flags, holders in zip(self.flag_sets, self._holders, strict=True):
            unseen += 0 if flags.bits & SEEN else holders
            deleted += holders if flags.bits & DELETED else 0
        return Counts(len(self.uids), unseen, deleted, self._size)

    def recent(self, recent_from: int) -> int:
        """How many messages have that UID or a higher one."""
        return len(self.uids) - bisect_left(self.uids, recent_from)

    def changed_since(self, modseq: int) -> list[int]:
        """The UIDs, ascending, of the messages with a higher mod-sequence."""
        return [uid for uid, changed in zip(self.uids, self.modseqs, strict=True) if changed > modseq]

    @property
    def cluttered(self) -> bool:
        """True when most of the combinations are of no use any more."""
        used = len(self._holders) - self._holders.count(0)
        return len(self.flag_sets) > 2 * used + _NARROW // 2

    # Changes

    def append(self, message: Message) -> None:
        """Add a message with a UID greater than all before."""
        uid, _, _, _, flags, keywords, size, date, modseq, email, saved = message
        size = min(size, _LARGEST)
        self._size += size
        self.sizes.append(size)
        self.dates.append(date)
        self.modseqs.append(modseq)
        self.emails.append(email)
        self.save_dates.append(saved)
        number = self._number(flags, keywords)
        self._holders[number] += 1
        self.flag_numbers.append(number)
        self.uids.append(uid)

    def mark(self, marked: Marked, modseq: int) -> None:
        """Take over the flags of messages. Raises NoSuchMessage. Fastest for messages in a row."""
        uids = marked.uids
        number = self._number(marked.bits, marked.keywords)
        start = self.position(uids[0])
        end = start + len(uids)
        if self.uids[start:end] == array("I", uids):
            for before, holders in Counter(self.flag_numbers[start:end]).items():
                self._holders[before] -= holders
            if isinstance(self.flag_numbers, bytearray):
                self.flag_numbers[start:end] = bytes([number]) * len(uids)
            else:
                self.flag_numbers[start:end] = array("I", [number]) * len(uids)
            self.modseqs[start:end] = array("Q", [modseq]) * len(uids)
        else:
            for position in map(self.position, uids):
                self._holders[self.flag_numbers[position]] -= 1
                self.flag_numbers[position] = number
                self.modseqs[position] = modseq
        self._holders[number] += len(uids)

    def expunge(self, uids: Iterable[int]) -> None:
        """Take messages out. Every column becomes a new array, so that who keeps an old one keeps a whole
        view."""
        positions = sorted(map(self.position, uids))
        for position in positions:
            self._holders[self.flag_numbers[position]] -= 1
            self._size -= self.sizes[position]
        self.uids = _without(self.uids, positions)
        self.sizes = _without(self.sizes, positions)
        self.dates = _without(self.dates, positions)
        self.modseqs = _without(self.modseqs, positions)
        self.emails = _without(self.emails, positions)
        self.save_dates = _without(self.save_dates, positions)
        if isinstance(self.flag_numbers, bytearray):
            self.flag_numbers = _without(self.flag_numbers, positions)
        else:
            self.flag_numbers = _without(self.flag_numbers, positions)

    def _number(self, bits: int, keywords: str) -> int:
        key = bits, keywords
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.flag_sets)
            self.flag_sets.append(FlagSet(bits, keywords))
            self._holders.append(0)
            self.keywords |= frozenset(keywords.split())
            if number == _NARROW:
                self.flag_numbers = array("I", iter(self.flag_numbers))
        return number


T = TypeVar("T")
Column = TypeVar("Column", "array[int]", "array[float]", bytearray)


def picked(column: Sequence[T], positions: Sequence[int]) -> Sequence[T]:
    """The values of a column at these positions."""
    if isinstance(positions, range):
        return column[positions.start : positions.stop]
    return [column[position] for position in positions]


def _without(column: Column, positions: list[int]) -> Column:
    """A copy without the elements at these ascending positions."""
    kept = column[:0]
    start = 0
    for position in positions:
        kept.extend(column[start:position])
        start = position + 1
    kept.extend(column[start:])
    return kept
