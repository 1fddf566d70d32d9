"""The active queue: the bounded part of the queue that is in memory, and what of it goes next.

There is a lane for local domains and one for the others, so that trouble outside never delays mail between
accounts here. Within a lane the destinations take turns, and each has a limit of attempts at once. In
memory, too, each destination has its share; what is over it waits on disk (`behind`). A destination that
cannot be reached rests for a while: its mail is deferred without attempts of its own.

Pure bookkeeping: no I/O, no clock. The concurrency that adapts to success belongs to a later version.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twisted_mta.interfaces import IDeliverer
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage, QueuedRecipient

RECIPIENTS_AT_ONCE = 100  # in one attempt; what every server must take (RFC 5321 §4.5.3.1.8)
_FOOTHOLD = 10  # recipients of a destination that are let in even when others have filled the memory
_MEMORY = 3  # rests, after which failures are forgotten
_WHILE_RESTING = 100  # deferrals of a resting destination's mail recorded at once
_FAILURES_TO_REST = 3  # attempts in a row that did not reach the destination


@dataclass(frozen=True, slots=True)
class ActiveLimits:
    """local, remote: attempts at once in each lane; per_domain: to one remote domain. recipients: those in
    memory; share: those of one domain; octets: of message bodies that wait in memory (others are read
    when their turn comes). rest: seconds during which an unreachable destination is left alone."""

    local: int = 100
    remote: int = 200
    per_domain: int = 20
    recipients: int = 5000
    share: int = 500
    octets: int = 32 << 20
    rest: float = 300.0


class Lane:
    """The destinations of one deliverer, taking turns."""

    def __init__(self, deliverer: IDeliverer, *, at_once: int, per_destination: int, rests: bool) -> None:
        self.deliverer = deliverer
        self.at_once = at_once
        self.per_destination = per_destination
        self.rests = rests  # whether its destinations do when they cannot be reached
        self.running = 0
        self.turns: deque[Destination] = deque()


class Destination:
    """A domain that has mail in memory, or that was lately found unreachable."""

    __slots__ = (
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
        self.in_turn = False
        self.failures = 0  # in a row
        self.rests_until = 0.0
        self.known_until = 0.0  # when the failures are forgotten
        self.last: Outcome | None = None  # why it rests

    def resting(self, now: float) -> Outcome | None:
        """The failure it rests for, or None when attempts may be made."""
        return self.last if now < self.rests_until else None

    def attempts_at_once(self, now: float) -> int:
        """After a rest one attempt probes, until it succeeds."""
        if self.resting(now):
            return _WHILE_RESTING
        return 1 if self.failures >= _FAILURES_TO_REST else self.lane.per_destination

    def learn(self, outcomes: Sequence[Outcome], now: float, rest: float) -> None:
        """Whether an attempt reached the destination at all (RFC 3463 X.4.X, "network and routing")."""
        if not self.lane.rests:
            return
        if not all(o.action is Action.DELAYED and o.status.startswith("4.4.") for o in outcomes):
            self.failures = 0
            return
        self.failures += 1
        self.known_until = now + _MEMORY * rest
        if self.failures >= _FAILURES_TO_REST:
            self.last, self.rests_until = outcomes[0], now + rest


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
        while lane.turns:
            destination = lane.turns.popleft()
            destination.in_turn = False
            if not destination.waiting or destination.running >= destination.attempts_at_once(now):
                continue  # gets its turn again when an attempt ends, or more comes
            work = destination.waiting.popleft()
            self._octets -= work.octets
            destination.running += 1
            lane.running += 1
            self._take_turn(destination)
            return work
        return None

    def _take_turn(self, destination: Destination) -> None:
        if destination.waiting and not destination.in_turn:
            destination.in_turn = True
            destination.lane.turns.append(destination)

    def finished(self, work: Work, now: float) -> None:
        """The attempt is over and its outcome recorded: its recipients are no longer in memory."""
        destination = work.destination
        destination.running -= 1
        destination.lane.running -= 1
        self._let_go([work])
        self._take_turn(destination)
        self._forget_idle(destination, now)

    def abandoned(self, work: Work) -> None:
        """The attempt is over but its outcome could not be recorded: its recipients stay in memory, so that
        what was perhaps delivered is not attempted again before the next start."""
        work.destination.running -= 1
        work.destination.lane.running -= 1
        self._take_turn(work.destination)

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
