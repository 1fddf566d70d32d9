"""A lane: the attempts of one deliverer, and who goes next (start-time fair queueing, Goyal 1996).

Senders take turns. Each work is given a turn when it comes: the one that is being served, or the one behind
its sender's last. Whoever has sent ten thousand messages has turns far ahead, and a message of somebody else
goes before them, to the same destination or to another. Higher priority goes before all turns (RFC 6710).
Within a sender and a priority the order is that of arrival, as far as destinations have attempts free.

Two gates keep part of the lane free. Destinations that have not answered share half of it: a host that takes
connections and never speaks holds each attempt for minutes. And attempts beyond the first few at a
destination share three quarters: whatever the large and slow do, somebody else's first attempt finds a place.

Pure bookkeeping: no I/O, no clock.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count

from twisted_mta.interfaces import IDeliverer
from twisted_mta.transfer.mta.destination import FEW, Destination, Key, Line, Place, Work


class _Gate:
    """limit: attempts inside; line: destinations that were put off, a heap of which an entry counts while its
    destination stands there."""

    def __init__(self, limit: int) -> None:
        self.limit = max(1, limit)
        self.inside = 0
        self.line: Line = []

    @property
    def open(self) -> bool:
        return self.inside < self.limit


class Lane:
    """at_once: attempts; per_destination: the most at one; share: recipients of one destination in memory;
    rests: whether destinations have to earn their attempts, and rest when they are in trouble."""

    def __init__(
        self, deliverer: IDeliverer, *, at_once: int, per_destination: int, share: int, rests: bool
    ) -> None:
        self.deliverer = deliverer
        self.at_once = at_once
        self.per_destination = per_destination
        self.share = share
        self.rests = rests
        self.running = 0
        self.trial = _Gate(at_once // 2)
        self.extra = _Gate(at_once * 3 // 4)
        self._line: Line = []
        self._turn = 0  # of the work that was taken last
        self._last_turns: dict[str, int] = {}  # of senders, where ahead of `_turn`
        self._arrivals = count()

    def destination(self, key: Key) -> Destination:
        """A new one."""
        return Destination(*key, share=self.share, most=self.per_destination, rests=self.rests)

    def line_up(self, work: Work) -> None:
        """Give `work` its turn."""
        turn = max(self._turn, self._last_turns.get(work.sender, 0)) + 1
        self._last_turns[work.sender] = turn
        work.place = (-work.priority, turn, next(self._arrivals))
        self.line_up_again(work)

    def line_up_again(self, work: Work) -> None:
        """`work` takes its old place."""
        destination = work.destination
        destination.line_up(work)
        if destination.stands is None:
            self._stand(destination, self._line)
        elif work.place < destination.stands:
            self._stand(destination, destination.line)

    def next(self, now: float) -> Work | None:
        """What is to be attempted now; None: nothing, or enough is under way."""
        if self.running >= self.at_once or not (self._line or self.trial.line or self.extra.line):
            return None  # as each time when all that waited has been taken
        while (destination := self._next_destination()) is not None:
            if not destination.waiting or destination.running >= destination.attempts_at_once(now):
                continue  # stands in line again when an attempt ends, or more comes
            gate = self._gate(destination)
            if gate is not None and not gate.open:
                self._stand(destination, gate.line)
                continue
            return self._take(destination)
        return None

    def ended(self, destination: Destination, *, answers: bool) -> None:
        """An attempt is over; whether the destination has answered."""
        self._change(destination, -1, answers=answers)
        destination.stands = None  # if it was put off, there is perhaps no reason any more
        self._stand(destination, self._line)

    def clear(self) -> None:
        """Nothing waits any more."""
        for line in (self._line, self.trial.line, self.extra.line):
            for _, destination in line:
                destination.stands = None
            line.clear()
        self._last_turns.clear()

    def _next_destination(self) -> Destination | None:
        """Takes it out of its line: the first of all that do not wait at a gate that is shut."""
        first: Line = []
        for line in (self._line, *(gate.line for gate in (self.trial, self.extra) if gate.open)):
            while line and not _stands(*line[0], line):
                heappop(line)
            if line and (not first or line[0] < first[0]):
                first = line
        if not first:
            return None
        destination = heappop(first)[1]
        destination.stands = None
        return destination

    def _take(self, destination: Destination) -> Work:
        work = destination.take()
        self._turn = max(self._turn, work.place[1])
        if self._last_turns.get(work.sender, 0) <= self._turn:
            self._last_turns.pop(work.sender, None)
        self._change(destination, 1, answers=destination.answers)
        self._stand(destination, self._line)
        return work

    def _stand(self, destination: Destination, line: Line) -> None:
        """In this line, at the place of whoever is first at the destination."""
        if destination.waiting:
            place = destination.waiting[0][0]
            destination.stands, destination.line = place, line
            heappush(line, (place, destination))

    def _gate(self, destination: Destination) -> _Gate | None:
        if not destination.answers:
            return self.trial
        return self.extra if destination.running >= FEW else None

    def _change(self, destination: Destination, by: int, *, answers: bool) -> None:
        """The number of attempts at a destination, and on which side of the gates they count."""
        self._count(destination, -1)
        self.running += by
        destination.running += by
        destination.answers = answers
        self._count(destination, 1)

    def _count(self, destination: Destination, sign: int) -> None:
        if destination.answers:
            self.extra.inside += sign * max(0, destination.running - FEW)
        else:
            self.trial.inside += sign * destination.running


def _stands(place: Place, destination: Destination, line: Line) -> bool:
    """Whether an entry of a line still counts."""
    return destination.stands == place and destination.line is line
