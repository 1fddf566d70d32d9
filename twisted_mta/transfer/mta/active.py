"""The active queue: the bounded part of the queue that is in memory, and what of it goes next.

There is a lane for local domains and one for the others, so that trouble outside never delays mail between
accounts here. Within a lane the destinations take turns, and each has a limit of attempts at once, which it
earns by answering. In memory, too, each destination has its share; what is over it waits on disk
(`behind`). A destination that cannot be reached rests for a while: its mail is deferred without attempts of
its own.

A host that takes connections and never speaks holds each attempt for minutes. So destinations that have not
answered yet are on trial: all of them together get no more than half of the lane, and whatever they do,
those that answer have the other half.

Pure bookkeeping: no I/O, no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from twisted_mta.interfaces import IDeliverer
from twisted_mta.message.date import format_date
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage, QueuedRecipient

RECIPIENTS_AT_ONCE = 100  # in one attempt; what every server must take (RFC 5321 §4.5.3.1.8)
_FOOTHOLD = 10  # recipients of a destination that are let in even when others have filled the memory
_MEMORY = 3  # rests, after which failures are forgotten
_WHILE_RESTING = 100  # deferrals of a resting destination's mail recorded at once
_FAILURES_TO_REST = 3  # attempts in a row that did not reach the destination
_ON_TRIAL = 2  # attempts at once at a destination that has not answered


@dataclass(frozen=True, slots=True)
class ActiveLimits:
    """local, remote: attempts at once in each lane; per_domain: the most to one remote domain.
    recipients: those in memory; share: those of one domain; octets: of message bodies that wait in memory
    (others are read when their turn comes). rest: seconds during which an unreachable destination is left
    alone."""

    local: int = 100
    remote: int = 200
    per_domain: int = 20
    recipients: int = 5000
    share: int = 500
    octets: int = 32 << 20
    rest: float = 300.0


class Lane:
    """The destinations of one deliverer, taking turns.

    rests: whether they are on trial until they answer, and rest when they cannot be reached.
    on_trial: attempts under way at destinations that are; trials: the most there may be.
    put_off: destinations whose turn came when there were as many, in that order; none of them is in `turns`.
    """

    def __init__(self, deliverer: IDeliverer, *, at_once: int, per_destination: int, rests: bool) -> None:
        self.deliverer = deliverer
        self.at_once = at_once
        self.per_destination = per_destination
        self.rests = rests
        self.running = 0
        self.trials = max(1, at_once // 2)
        self.on_trial = 0
        self.turns: deque[Destination] = deque()
        self.put_off: dict[Destination, None] = {}

    def next_turn(self) -> Destination | None:
        """Takes the next destination out of its line. Who was put off has waited longest."""
        if self.put_off and self.on_trial < self.trials:
            destination = next(iter(self.put_off))
            del self.put_off[destination]
            return destination
        return self.turns.popleft() if self.turns else None


class Destination:
    """A domain that has mail in memory, or that was lately found unreachable."""

    __slots__ = (
        "answers",
        "at_once",
        "domain",
        "failures",
        "in_turn",
        "known_until",
        "lane",
        "last",
        "recipients",
        "rests_until",
        "running",
        "waiting",
    )

    def __init__(self, domain: str, lane: Lane) -> None:
        self.domain = domain
        self.lane = lane
        self.waiting: deque[Work] = deque()
        self.recipients = 0  # in memory: waiting, or in an attempt
        self.running = 0  # attempts
        self.answers = not lane.rests  # did when it was last attempted
        self.at_once = lane.per_destination if self.answers else self._few
        self.in_turn = False  # stands in one of the lane's two lines
        self.failures = 0  # in a row
        self.rests_until = 0.0
        self.known_until = 0.0  # when the failures are forgotten
        self.last: Outcome | None = None  # why it rests

    def resting(self, now: float) -> Outcome | None:
        """The failure it rests for, or None when attempts may be made."""
        return self.last if now < self.rests_until else None

    def attempts_at_once(self, now: float) -> int:
        """Few at first, one more with each success, few again after a failure to reach it. After a rest one
        attempt probes, until it succeeds."""
        if self.resting(now):
            return _WHILE_RESTING
        return 1 if self.failures >= _FAILURES_TO_REST else self.at_once

    @property
    def _few(self) -> int:
        return min(_ON_TRIAL, self.lane.per_destination)

    def learn(self, outcomes: Sequence[Outcome], now: float, rest: float) -> None:
        """Whether an attempt reached the destination at all (RFC 3463 X.4.X, "network and routing")."""
        if not self.lane.rests:
            return
        delayed = all(outcome.action is Action.DELAYED for outcome in outcomes)
        if not (delayed and all(outcome.status.startswith("4.4.") for outcome in outcomes)):
            self._count_as(answering=True)
            self.failures = 0
            if not delayed:
                self.at_once = min(self.at_once + 1, self.lane.per_destination)
            return
        self._count_as(answering=False)
        self.at_once = self._few
        self.failures += 1
        self.known_until = now + _MEMORY * rest
        if self.failures >= _FAILURES_TO_REST:
            self.rests_until = now + rest
            self.last = self._left_alone(outcomes[0])

    def _count_as(self, *, answering: bool) -> None:
        """Attempts under way change sides with their destination."""
        if self.answers is answering:
            return
        self.answers = answering
        lane = self.lane
        lane.on_trial += -self.running if answering else self.running
        if self in lane.put_off:  # no reason to wait any longer
            del lane.put_off[self]
            lane.turns.append(self)

    def _left_alone(self, failure: Outcome) -> Outcome:
        """What becomes of the mail during the rest. No host has said anything about that mail."""
        until = format_date(self.rests_until)
        cause = f"{failure.remote_mta}: {failure.text}" if failure.remote_mta else failure.text
        return replace(
            failure, text=f"{self.domain} is left alone until {until}, after: {cause}", remote_mta=""
        )


@dataclass(slots=True, eq=False)
class Work:
    """One message for some recipients at one destination. `message` None: still on disk."""

    destination: Destination
    number: int
    arrived: float
    recipients: tuple[QueuedRecipient, ...]
    message: QueuedMessage | None

    @property
    def octets(self) -> int:
        """Of the body that it keeps in memory."""
        return len(self.message.content.data) if self.message is not None else 0


class ActiveQueue:
    """See the module. `now` is in seconds since the epoch."""

    def __init__(self, *, local: IDeliverer, remote: IDeliverer, limits: ActiveLimits) -> None:
        self.limits = limits
        self.local = Lane(local, at_once=limits.local, per_destination=limits.local, rests=False)
        self.remote = Lane(remote, at_once=limits.remote, per_destination=limits.per_domain, rests=True)
        self.numbers: set[int] = set()  # of the recipients in memory
        self._destinations: dict[str, Destination] = {}
        self._octets = 0
        self._behind: set[Destination] = set()
        self._next_sweep = 0.0

    @property
    def has_room(self) -> bool:
        """False when no more should be read from disk. Beyond `limits.recipients` there is room for
        the foothold of destinations that have nothing in memory yet."""
        return len(self.numbers) < 2 * self.limits.recipients

    @property
    def running(self) -> int:
        """Attempts under way."""
        return self.local.running + self.remote.running

    def admit(
        self,
        lane: Lane,
        number: int,
        arrived: float,
        recipients: Sequence[QueuedRecipient],
        message: QueuedMessage | None = None,
    ) -> bool:
        """Take in recipients of one message at one domain; False as `may_take`."""
        domain = recipients[0].forward_path.domain
        if not self.may_take(domain):
            return False
        destination = self._destinations.get(domain)
        if destination is None:
            destination = self._destinations[domain] = Destination(domain, lane)
        for start in range(0, len(recipients), RECIPIENTS_AT_ONCE):
            some = tuple(recipients[start : start + RECIPIENTS_AT_ONCE])
            work = Work(destination, number, arrived, some, message)
            if self._octets + work.octets > self.limits.octets:
                work.message = None
            self._octets += work.octets
            destination.waiting.append(work)
            destination.recipients += len(some)
            self.numbers.update(recipient.number for recipient in some)
        self._take_turn(destination)
        return True

    def may_take(self, domain: str) -> bool:
        """False when the destination has its share in memory already; it is then marked as behind."""
        destination = self._destinations.get(domain)
        if destination is None or destination.recipients < _FOOTHOLD:
            return True
        if destination.recipients < self.limits.share and len(self.numbers) < self.limits.recipients:
            return True
        self._behind.add(destination)
        return False

    def next(self, now: float) -> Work | None:
        """What is to be attempted now; None: nothing, or enough is under way."""
        for lane in (self.local, self.remote):
            if lane.running < lane.at_once and (work := self._next_in(lane, now)) is not None:
                return work
        return None

    def _next_in(self, lane: Lane, now: float) -> Work | None:
        while (destination := lane.next_turn()) is not None:
            destination.in_turn = False
            if not destination.waiting or destination.running >= destination.attempts_at_once(now):
                continue  # gets its turn again when an attempt ends, or more comes
            if not destination.answers and lane.on_trial >= lane.trials:
                lane.put_off[destination] = None
                destination.in_turn = True
                continue
            work = destination.waiting.popleft()
            self._octets -= work.octets
            destination.running += 1
            lane.running += 1
            lane.on_trial += not destination.answers
            self._take_turn(destination)
            return work
        return None

    def _take_turn(self, destination: Destination) -> None:
        if destination.waiting and not destination.in_turn:
            destination.in_turn = True
            destination.lane.turns.append(destination)

    def finished(self, work: Work, now: float) -> None:
        """The attempt is over and its outcome recorded: its recipients are no longer in memory."""
        self._let_go([work])
        self._ended(work.destination)
        self._forget_idle(work.destination, now)

    def abandoned(self, work: Work) -> None:
        """The attempt is over but its outcome could not be recorded: its recipients stay in memory, so that
        what was perhaps delivered is not attempted again before the next start."""
        self._ended(work.destination)

    def _ended(self, destination: Destination) -> None:
        lane = destination.lane
        destination.running -= 1
        lane.running -= 1
        lane.on_trial -= not destination.answers
        self._take_turn(destination)

    def drop_waiting(self) -> None:
        """Forget all that waits, and all rests: the queue was changed by hand and will be read anew."""
        self._behind.clear()
        for destination in list(self._destinations.values()):
            self._let_go(destination.waiting)
            destination.waiting.clear()
            destination.failures, destination.rests_until = 0, 0.0
            self._forget_idle(destination, 0.0)
        self._octets = 0

    def forget_failures(self, now: float) -> None:
        """Let go of destinations that are remembered only for failures of long ago."""
        if now < self._next_sweep:
            return
        self._next_sweep = now + self.limits.rest
        for destination in list(self._destinations.values()):
            self._forget_idle(destination, now)

    @property
    def any_behind(self) -> bool:
        """True when some destination has more due on disk."""
        return bool(self._behind)

    def behind(self) -> Destination | None:
        """A destination that has more due on disk, and room for it. Whoever asks reads it, all of it, or
        finds it named again when `admit` refuses the rest."""
        room = len(self.numbers) <= self.limits.recipients * 3 // 4
        for destination in self._behind:
            if not destination.recipients or (room and destination.recipients <= self.limits.share // 2):
                self._behind.remove(destination)
                return destination
        return None

    def is_behind(self, destination: Destination) -> None:
        """There is more due on disk for this destination."""
        self._behind.add(destination)

    def _let_go(self, works: Iterable[Work]) -> None:
        for work in works:
            work.destination.recipients -= len(work.recipients)
            self.numbers.difference_update(recipient.number for recipient in work.recipients)

    def _forget_idle(self, destination: Destination, now: float) -> None:
        idle = not destination.recipients and destination not in self._behind
        if idle and (not destination.failures or now >= destination.known_until):
            self._destinations.pop(destination.domain, None)
