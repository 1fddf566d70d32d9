"""The backlog: what is due on disk, brought into the active queue page by page as there is room.

One position moves through the recipients in the order of their next attempt. What a destination has no
room for is passed over, and read for that destination alone once it has; so a million messages for one
domain are neither read into memory nor in the way of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mta.interfaces import IDirectory
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.queue.records import DueRecipient
from twisted_mta.transfer.mta.active import ActiveQueue, Destination

_PAGE = 500  # recipients read at a time
_LAST = 2**63 - 1  # above every recipient's number
_LONGEST_SLEEP = 3600.0  # seconds; the clock may be set while we wait
_AFTER_TROUBLE = 5.0  # seconds until a database that could not be read is asked again


class Backlog:
    """loaded: called when something was brought into the active queue."""

    log = Logger(namespace="twisted_mta.dispatch")

    def __init__(
        self,
        queue: MailQueue,
        active: ActiveQueue,
        *,
        directory: IDirectory,
        clock: IReactorTime,
        loaded: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._active = active
        self._directory = directory
        self._clock = clock
        self._loaded = loaded
        self._position = (0.0, 0)  # next_attempt and number of the recipient that was looked at last
        self._generation = 0  # of the position: how often everything was started over
        self._more = True  # there may be something due behind the position
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
        self._generation += 1
        self.replenish()

    def expect(self, when: float) -> None:
        """Somebody now waits on disk for an attempt at this time."""
        if when <= self._position[0]:
            self._position, self._more = (when, 0), True
        self._wake_at(when)

    def replenish(self) -> None:
        """Read on, where there is room for what may be due."""
        if (self._more or self._active.any_behind) and not self._reading and not self._stopped:
            self._reading = True
            Deferred.fromCoroutine(self._read()).addErrback(self._trouble)

    async def _read(self) -> None:
        try:
            while self._active.has_room and not self._stopped:
                if self._more:
                    await self._read_page()
                elif (destination := self._active.behind()) is not None:
                    await self._read_for(destination)
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
            last = page.recipients[-1]
            self._position = (last.next_attempt, last.number)
            return
        self._position, self._more = (now, _LAST), False
        self._active.forget_failures(now)
        self._wake_at(now + _LONGEST_SLEEP if page.later is None else page.later)

    async def _read_for(self, destination: Destination) -> None:
        generation = self._generation
        limit = destination.recipients + self._active.limits.share
        page = await self._queue.due_for(destination.domain, self._clock.seconds(), limit)
        if self._generation != generation:
            return
        if not page.complete:
            self._active.is_behind(destination)
        self._admit(page.recipients)

    def _admit(self, due: Iterable[DueRecipient]) -> None:
        """In groups of one message and one domain, as far as they are not in memory already."""
        groups: dict[tuple[int, str], list[DueRecipient]] = {}
        for recipient in due:
            if recipient.number not in self._active.numbers:
                groups.setdefault((recipient.message, recipient.domain), []).append(recipient)
        for (message, domain), group in groups.items():
            lane = self._active.local if self._directory.is_local(domain) else self._active.remote
            if self._active.may_take(domain):
                self._active.admit(
                    lane, message, group[0].arrived, [recipient.queued() for recipient in group]
                )

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
