"""What sorting, threading and searching ask of overviews, kept in memory: a column for each thing asked.

What a message says never changes, so a column is only filled where nobody has asked before, follows the
mailbox as messages come and go, and is not read again. Answers made of a whole mailbox (an order, threads)
are kept until a message comes or goes. All columns of a store together are bounded; those of the mailbox that
was asked longest ago are given up first. Belongs to the reactor's thread.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import compress
from operator import itemgetter
from sys import getsizeof
from typing import Any, NamedTuple

KEPT_OCTETS = 128 * 1024 * 1024  # of all columns together
_REFERENCE = 8  # octets of an element of a list
_ANSWERS = 8  # that are kept of a mailbox
_RANKED = 100  # octets that a value in its order takes beyond the value itself

_UNKNOWN = object()


class Look(NamedTuple):
    """What is wanted of every message: a field of its `Overview`, and what `see`, a function of a module,
    makes of the value; it is called in any thread, and its result is kept."""

    field: str
    see: Callable[[Any], Any] = lambda value: value


class Overviews(NamedTuple):
    """What was found of messages: their UIDs, where they stand in the mailbox's columns now, and of each look
    one value for each of them."""

    uids: Sequence[int]
    places: Sequence[int]
    values: list[list[Any]]


class Answers(dict[Hashable, Any]):
    """Large answers by what was asked, the latest ones."""

    def __setitem__(self, asked: Hashable, answer: Any) -> None:
        self.pop(asked, None)
        super().__setitem__(asked, answer)
        if len(self) > _ANSWERS:
            del self[next(iter(self))]


class OverviewColumns:
    """The columns of one mailbox."""

    def __init__(self) -> None:
        self._octets = 0  # of the values
        self.users = 0  # who are asking this moment
        self._uids = array(
            "I"
        )  # the mailbox's own; it grows in place, and is another one once some have gone
        self._count = 0  # how many of them the columns are about
        self._columns: dict[Look, list[Any]] = {}
        self._lacking: dict[Look, int] = {}  # how many values are unknown
        self._ranks: dict[Look, dict[Any, int]] = {}
        self._answers = Answers()

    def clear(self) -> None:
        """Keep nothing."""
        self._columns.clear()
        self._lacking.clear()
        self._ranks.clear()
        self._answers = Answers()
        self._octets = 0

    @property
    def octets(self) -> int:
        """How much memory all of it takes, or nearly."""
        ranks = _RANKED * sum(map(len, self._ranks.values()))
        return self._octets + ranks + sum(map(getsizeof, self._answers.values()))

    def ranks(self, look: Look) -> Mapping[Any, int]:
        """The values of a look that have been put in order, in that order, with their places in it."""
        return self._ranks.get(look, {})

    def keep_ranks(self, look: Look, ranks: dict[Any, int]) -> None:
        """More of them have been put in order. Forgotten once most are of messages that are gone."""
        self._ranks[look] = ranks

    def align(self, uids: array[int], looks: Sequence[Look]) -> None:
        """Follow the mailbox, which has these messages now; have room for what is wanted."""
        if uids is not self._uids or len(uids) != self._count:
            self._answers = Answers()
        if uids is not self._uids:
            self._leave_out(frozenset(uids))
            self._uids = uids
        self._count = len(uids)
        for look in looks:
            self._columns.setdefault(look, [])
            self._lacking.setdefault(look, 0)
        for look, values in self._columns.items():
            new = self._count - len(values)
            if new:
                values.extend([_UNKNOWN] * new)
                self._lacking[look] += new
                self._octets += new * _REFERENCE

    def _leave_out(self, there: frozenset[int]) -> None:
        self._ranks = {look: ranks for look, ranks in self._ranks.items() if len(ranks) <= 2 * len(there)}
        kept = bytes(map(there.__contains__, self._uids[: self._count]))
        for look, values in self._columns.items():
            self._columns[look] = left = list(compress(values, kept))
            if self._lacking[look]:
                self._lacking[look] = sum(value is _UNKNOWN for value in left)
        if self._count:
            self._octets = self._octets * sum(kept) // self._count

    def places(self, uids: Sequence[int]) -> Sequence[int]:
        """Where those of the messages stand that are there; a range for messages in a row."""
        here, count = self._uids, self._count
        if not uids or not count:
            return ()
        start = bisect_left(here, uids[0])
        if here[start : start + len(uids)] == (uids if isinstance(uids, array) else array("I", uids)):
            return range(start, start + len(uids))
        places = []
        for uid in uids:
            place = bisect_left(here, uid)
            if place < count and here[place] == uid:
                places.append(place)
        return places

    def lacking(self, places: Sequence[int], looks: Sequence[Look]) -> list[int]:
        """The UIDs of those at the places of which something is not known."""
        columns = [self._columns[look] for look in looks if self._lacking[look]]
        if not columns:
            return []
        uids = self._uids
        return [uids[at] for at in places if any(values[at] is _UNKNOWN for values in columns)]

    def answers_about(self, overviews: Overviews) -> Answers:
        """What was made of these messages, which are as just `seen`, if they are all of the mailbox: it holds
        until one comes or goes. Else nothing, and what is put there will not be found again."""
        return self._answers if overviews.places == range(self._count) else Answers()

    def take(self, rows: Mapping[int, tuple[Any, ...]], looks: Sequence[Look]) -> None:
        """Keep what was found out: by UID a value for each look."""
        here, count = self._uids, self._count
        columns = [self._columns[look] for look in looks]
        new = [0] * len(looks)
        for uid, row in rows.items():
            at = bisect_left(here, uid)
            if at == count or here[at] != uid:
                continue
            for number, values in enumerate(columns):
                if values[at] is _UNKNOWN:
                    values[at] = row[number]
                    new[number] += 1
            self._octets += sum(map(getsizeof, row))
        for look, found in zip(looks, new, strict=True):
            self._lacking[look] -= found

    def seen(self, places: Sequence[int], looks: Sequence[Look]) -> Overviews:
        """The values of all messages at these places of which everything is known."""
        unknown = self.lacking(places, looks)
        if unknown:
            uids = self._uids
            left_out = frozenset(unknown)
            places = [at for at in places if uids[at] not in left_out]
        if isinstance(places, range):
            some = slice(places.start, places.stop)
            return Overviews(self._uids[some], places, [self._columns[look][some] for look in looks])
        pick: Callable[[Sequence[Any]], Sequence[Any]]
        pick = itemgetter(*places) if len(places) > 1 else lambda column: [column[at] for at in places]
        return Overviews(pick(self._uids), places, [list(pick(self._columns[look])) for look in looks])


class OverviewMemory:
    """The columns of all mailboxes of a store."""

    def __init__(self, kept_octets: int = KEPT_OCTETS) -> None:
        self._most = kept_octets
        self._kept: OrderedDict[OverviewColumns, int] = OrderedDict()  # octets; last used last
        self._held = 0

    @contextmanager
    def using(self, columns: OverviewColumns) -> Iterator[None]:
        """While somebody asks, nothing is given up of what they have found out."""
        columns.users += 1
        try:
            yield
        finally:
            columns.users -= 1
            self._held += columns.octets - self._kept.pop(columns, 0)
            self._kept[columns] = columns.octets
            self._settle()

    def forget(self, columns: OverviewColumns) -> None:
        """The mailbox is in memory no more."""
        self._held -= self._kept.pop(columns, 0)
        columns.clear()

    def _settle(self) -> None:
        for eldest in list(self._kept) if self._held > self._most else ():
            if not eldest.users:
                self.forget(eldest)
            if self._held <= self._most:
                break
