"""The backlog: what is due on disk, brought into the active queue page by page as there is room.

One position moves through the recipients in the order of their next attempt. What there is no room for is
passed over. When a domain's share was used up, its mail is read later for that domain alone; when a sender's
was, or that of a next hop for many domains, a second position goes the same way again as soon as there is
room. So a million messages of one sender, or for one domain, are neither read into memory nor in the way of
the others: the first position has soon passed them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mta.interfaces import IDirectory
from twisted_mta.message.address import Address
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.queue.records import DueRecipient
from twisted_mta.transfer.mta.active import ActiveQueue, Admission, who_sends
from twisted_mta.transfer.mta.destination import Destination, Key, Position

# Of a domain, a reverse-path, an account and a next hop given by hand.
NextHopOf = Callable[[str, "Address | str | None", str, str], str]
_PAGE = 500  # recipients read at a time
_LAST = 2**63 - 1  # above every recipient's number
_LONGEST_SLEEP = 3600.0  # seconds; the clock may be set while we wait
_AFTER_TROUBLE = 5.0  # seconds until a database that could not be read is asked again
_MOST_KNOWN = 100  # pairs of sender and destination that were passed over and are remembered


class _SecondLook:
    """The second position: it goes in rounds over what was passed over. `waiting`: sender and destination of
    what was in the last round; `passed`: in this one, and `first` the first of them."""

    def __init__(self) -> None:
        self.position: Position | None = None
        self.waiting: set[tuple[str, Key]] = set()
        self.passed: set[tuple[str, Key]] = set()
        self.first: Position | None = None

    def pass_over(self, sender: str, key: Key, at: Position) -> None:
        """Of this sender something for this destination was passed over."""
        if len(self.passed) < _MOST_KNOWN:
            self.passed.add((sender, key))
        self.first = at if self.first is None else min(self.first, at)
        if self.position is None:
            self.next_round()

    def next_round(self) -> None:
        """Begin anew at the first that was passed over, if any was."""
        self.position, self.first = self.first, None
        self.waiting, self.passed = self.passed, set()


class Backlog:
    """loaded: called when something was brought into the active queue. next_hop: see `Dispatcher`."""

    log = Logger(namespace="twisted_mta.dispatch")

    def __init__(
        self,
        queue: MailQueue,
        active: ActiveQueue,
        *,
        directory: IDirectory,
        clock: IReactorTime,
        loaded: Callable[[], None],
        next_hop: NextHopOf,
    ) -> None:
        self._queue = queue
        self._active = active
        self._directory = directory
        self._clock = clock
        self._loaded = loaded
        self._next_hop = next_hop
        self._position: Position = (0.0, 0)  # of the recipient that was looked at last
        self._generation = 0  # how often everything was started over
        self._more = True  # there may be something due behind the position
        self._second = _SecondLook()
        self._reading = False
        self._timer: IDelayedCall | None = None
        self._stopped = False

    def stop(self) -> None:
        """Read nothing any more."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def start_over(self) -> None:
        """Everything may have changed: read from the beginning."""
        self._position, self._more = (0.0, 0), True
        self._second = _SecondLook()
        self._generation += 1
        self.replenish()

    def expect(self, when: float) -> None:
        """Somebody now waits on disk for an attempt at this time."""
        if when <= self._position[0]:
            self._position, self._more = (when, 0), True
        self._wake_at(when)

    def pass_over(self, sender: str, key: Key, when: float) -> None:
        """Somebody now waits on disk since this time because there was no room (Admission.PASSED_OVER)."""
        self._second.pass_over(sender, key, (when, 0))

    def leave_on_disk(self, recipients: Sequence[int]) -> None:
        """These are due, and read when there is room at their destination."""
        Deferred.fromCoroutine(self._queue.pass_over(recipients)).addErrback(self._trouble)

    def replenish(self) -> None:
        """Read on, where there is room for what may be due."""
        due = self._more or self._active.any_behind or self._second.position is not None
        if due and not self._reading and not self._stopped:
            self._reading = True
            Deferred.fromCoroutine(self._read()).addErrback(self._trouble)

    async def _read(self) -> None:
        try:
            while self._active.has_room and not self._stopped:
                if self._more:
                    await self._read_page()
                elif (destination := self._active.behind()) is not None:
                    await self._read_for(destination)
                elif (position := self._second.position) is not None and self._has_room_for_some():
                    await self._read_again(position)
                else:
                    return
                self._loaded()
        finally:
            self._reading = False

    def _trouble(self, failure: Failure) -> None:
        if not self._stopped:
            self.log.failure("the queue cannot be read", failure=failure)
            self._position = (0.0, 0)
            self._wake_at(self._clock.seconds() + _AFTER_TROUBLE)

    async def _read_page(self) -> None:
        position, now = self._position, self._clock.seconds()
        page = await self._queue.due(position, now, _PAGE)
        if self._position is not position:
            return  # the queue has changed meanwhile, and what was read may no longer be true
        self._admit(page.recipients)
        if not page.complete:
            self._position = _position(page.recipients[-1])
            return
        self._position, self._more = (now, _LAST), False
        self._active.forget_troubles(now)
        self._wake_at(now + _LONGEST_SLEEP if page.later is None else page.later)

    async def _read_for(self, destination: Destination) -> None:
        """Rounds, too: who is first on disk for a destination is not let in before all others."""
        generation = self._generation
        if not destination.position[0]:
            destination.passed_over = False
        page = await self._queue.due_for(
            destination.domain, destination.position, self._clock.seconds(), _PAGE
        )
        if self._generation != generation:
            return
        self._admit(page.recipients)
        destination.position = (0.0, 0) if page.complete else _position(page.recipients[-1])
        if destination.passed_over or not page.complete:
            self._active.is_behind(destination)

    def _has_room_for_some(self) -> bool:
        return any(self._active.has_room_for(*known) for known in self._second.waiting)

    async def _read_again(self, position: Position) -> None:
        second = self._second
        # Up to now, and not to where the first position has come: what was passed over may have come since.
        page = await self._queue.due(position, max(self._position[0], self._clock.seconds()), _PAGE)
        if self._second is not second:
            return
        self._admit(page.recipients)
        if page.complete:
            second.next_round()
        else:
            second.position = _position(page.recipients[-1])

    def _admit(self, due: Iterable[DueRecipient]) -> None:
        """In groups of one message and one destination, as far as they are not in memory already."""
        active, refused = self._active, list[int]()
        groups: dict[tuple[int, str, str, int], list[DueRecipient]] = {}
        for recipient in due:
            if recipient.number not in active.numbers:
                key = (recipient.message, recipient.domain, recipient.route, recipient.returned)
                groups.setdefault(key, []).append(recipient)
        for (message, domain, route, _), group in groups.items():
            first = group[0]
            sender = who_sends(first.account, first.reverse_path)
            lane, to = active.remote, (domain, "")
            if self._directory.is_local(domain):
                lane = active.local
            elif hop := self._next_hop(domain, first.reverse_path, first.account, route):
                to = "", hop
            admission = active.may_take(to, sender, first.priority)
            if admission is Admission.GRANTED:
                active.admit(
                    lane,
                    to,
                    message,
                    first.arrived,
                    [recipient.queued() for recipient in group],
                    sender=sender,
                    priority=first.priority,
                    deadline=first.deliver_by is not None,
                )
            elif admission is Admission.DESTINATION_FULL:
                refused += [recipient.number for recipient in group if not recipient.passed_over]
            elif admission is Admission.PASSED_OVER:
                # Positions are read behind, so the one before.
                self._second.pass_over(sender, to, (first.next_attempt, first.number - 1))
        if refused:
            self.leave_on_disk(refused)

    def _wake_at(self, when: float) -> None:
        if self._stopped:
            return
        delay = min(max(when - self._clock.seconds(), 0.0), _LONGEST_SLEEP)
        if self._timer is None or not self._timer.active():
            self._timer = self._clock.callLater(delay, self._wake)
        elif self._timer.getTime() > self._clock.seconds() + delay:
            self._timer.reset(delay)

    def _wake(self) -> None:
        self._more = True
        self.replenish()


def _position(recipient: DueRecipient) -> Position:
    return recipient.next_attempt, recipient.number
