"""The active queue: the bounded part of the queue that is in memory.

There is a lane for local domains and one for the others, so that trouble outside never delays mail between
accounts here; `lane.py` says who goes next, `destination.py` how many attempts a destination gets.

Memory is shared by one rule: nobody may have more than four times of what is still free. It holds for a
sender in all, for a destination in all, and for a sender at a destination, within that destination's share.
One alone gets four fifths, two four ninths each; whoever comes later finds room, in memory, at once. What is
refused stays on disk: a destination is then marked as behind, and of a sender the backlog takes note. It is
read when there is room by far: the same rule with everything that is taken counted twice, so that what is
read is let in.

Pure bookkeeping: no I/O, no clock.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twisted_mta.interfaces import IDeliverer
from twisted_mta.message.address import Address
from twisted_mta.message.outcome import QueuedMessage, QueuedRecipient
from twisted_mta.transfer.mta.destination import Destination, Key, Lesson, Work
from twisted_mta.transfer.mta.lane import Lane

__all__ = ["RECIPIENTS_AT_ONCE", "ActiveLimits", "ActiveQueue", "Admission", "Work", "who_sends"]

RECIPIENTS_AT_ONCE = 100  # in one attempt; what every server must take (RFC 5321 §4.5.3.1.8)
_TIMES_FREE = 4
_BY_FAR = 2  # times what is taken


@dataclass(frozen=True, slots=True)
class ActiveLimits:
    """local, remote: attempts at once in each lane; per_domain: the most to one remote domain.
    recipients: those in memory; share: those of one remote domain; octets: of message bodies that wait in
    memory (others are read when their turn comes). rest: seconds during which a destination in trouble is
    left alone."""

    local: int = 100
    remote: int = 200
    per_domain: int = 20
    recipients: int = 10_000
    share: int = 1000
    octets: int = 64 << 20
    rest: float = 300.0


class Admission(enum.Enum):
    """Whether there is room. DESTINATION_FULL: a domain has its share already, and is marked as behind.
    PASSED_OVER: the sender has, or a next hop of many domains; the backlog must look again."""

    GRANTED = enum.auto()
    DESTINATION_FULL = enum.auto()
    PASSED_OVER = enum.auto()


def who_sends(account: str, reverse_path: str | Address | None) -> str:
    """Who takes turns: the account that submitted the mail, or else its reverse-path ("" for the null path)
    without what a mailing list changes in it for every message (`list+id@`, `list-id-bob=b.test@`)."""
    if account or not reverse_path:
        return account
    local, _, domain = str(reverse_path).lower().rpartition("@")
    if "=" in local:
        local = local.partition("-")[0]
    return f"{local.partition('+')[0]}@{domain}"


class ActiveQueue:
    """See the module. `now` is in seconds since the epoch."""

    def __init__(self, *, local: IDeliverer, remote: IDeliverer, limits: ActiveLimits) -> None:
        self.limits = limits
        self.local = Lane(
            local,
            at_once=limits.local,
            per_destination=limits.local,
            share=limits.recipients,
            rests=False,
        )
        self.remote = Lane(
            remote, at_once=limits.remote, per_destination=limits.per_domain, share=limits.share, rests=True
        )
        self.numbers: set[int] = set()  # of the recipients in memory
        self._senders: Counter[str] = Counter()  # recipients in memory
        self._destinations: dict[Key, Destination] = {}
        self._octets = 0
        self._behind: dict[Destination, None] = {}
        self._next_sweep = 0.0

    @property
    def has_room(self) -> bool:
        """False when no more should be read from disk."""
        return self._free > 0

    @property
    def running(self) -> int:
        """Attempts under way."""
        return self.local.running + self.remote.running

    def may_take(self, key: Key, sender: str, priority: int) -> Admission:
        """Whether more of a sender's mail for a destination is let in."""
        if not self._fair(self._senders[sender]):
            return Admission.PASSED_OVER
        destination = self._destinations.get(key)
        if destination is None:
            return Admission.GRANTED
        room = destination.share - destination.recipients
        if self._takes(destination) and destination.of_senders[sender, priority] < _TIMES_FREE * room:
            return Admission.GRANTED
        if not destination.domain:
            return Admission.PASSED_OVER
        self.is_behind(destination)
        return Admission.DESTINATION_FULL

    def admit(
        self,
        lane: Lane,
        key: Key,
        number: int,
        arrived: float,
        recipients: Sequence[QueuedRecipient],
        *,
        sender: str,
        priority: int = 0,
        deadline: bool = False,
        message: QueuedMessage | None = None,
    ) -> None:
        """Take in recipients of one message at one destination: to whom `may_take` has granted it."""
        destination = self._destinations.get(key)
        if destination is None:
            destination = self._destinations[key] = lane.destination(key)
        for start in range(0, len(recipients), RECIPIENTS_AT_ONCE):
            some = tuple(recipients[start : start + RECIPIENTS_AT_ONCE])
            work = Work(destination, number, arrived, some, message, sender, priority, deadline=deadline)
            if self._octets + work.octets > self.limits.octets:
                work.message = None
            self._octets += work.octets
            destination.recipients += len(some)
            destination.of_senders[sender, priority] += len(some)
            self._senders[sender] += len(some)
            self.numbers.update(recipient.number for recipient in some)
            lane.line_up(work)

    def next(self, now: float) -> Work | None:
        """What is to be attempted now; None: nothing, or enough is under way."""
        work = self.local.next(now) or self.remote.next(now)
        if work is not None:
            self._octets -= work.octets
        return work

    def put_back(self, work: Work) -> None:
        """The attempt is over, and another one will be made when its turn comes."""
        work.put_back += 1
        self._octets += work.octets
        self._ended(work, answers=True)
        self.lane_of(work).line_up_again(work)

    def finished(self, work: Work, now: float, learned: Lesson | None = None) -> None:
        """The attempt is over and its outcome recorded: its recipients are no longer in memory. `learned`:
        of the destination, None when there was no attempt."""
        self._let_go([work])
        destination = work.destination
        answers = destination.answers if learned is None else learned is not Lesson.AWAY
        self._ended(work, answers=answers or not destination.rests)
        self._forget_idle(destination, now)

    def abandoned(self, work: Work) -> None:
        """The attempt is over but its outcome could not be recorded: its recipients stay in memory, so that
        what was perhaps delivered is not attempted again before the next start."""
        self._ended(work, answers=work.destination.answers)

    def lane_of(self, work: Work) -> Lane:
        """Where an attempt counts."""
        return self.remote if work.destination.rests else self.local

    def _ended(self, work: Work, *, answers: bool) -> None:
        self.lane_of(work).ended(work.destination, answers=answers)

    def drop_waiting(self) -> None:
        """Forget all that waits, and all rests: the queue was changed by hand and will be read anew."""
        self._behind.clear()
        self.local.clear()
        self.remote.clear()
        for destination in list(self._destinations.values()):
            self._let_go(work for _, work in destination.waiting)
            destination.waiting.clear()
            destination.position, destination.passed_over = (0.0, 0), False
            destination.troubles, destination.rests_until = 0, 0.0
            destination.known_until = 0.0
            self._forget_idle(destination, 0.0)
        self._octets = 0

    def forget_troubles(self, now: float) -> None:
        """Let go of destinations that are remembered only for trouble of long ago."""
        if now < self._next_sweep:
            return
        self._next_sweep = now + self.limits.rest
        for destination in list(self._destinations.values()):
            self._forget_idle(destination, now)

    # What is on disk beside

    @property
    def any_behind(self) -> bool:
        """True when some destination has more due on disk."""
        return bool(self._behind)

    def behind(self) -> Destination | None:
        """A destination that has more due on disk, and room for it. Whoever asks reads it, or says again that
        it `is_behind`."""
        for destination in self._behind:
            if self._takes(destination, _BY_FAR):
                del self._behind[destination]
                return destination
        return None

    def is_behind(self, destination: Destination) -> None:
        """There is more due on disk for this destination."""
        destination.passed_over = True
        self._behind[destination] = None

    def has_room_for(self, sender: str, key: Key) -> bool:
        """Whether there is room by far, where a sender's mail for a destination was passed over."""
        if not self._fair(_BY_FAR * self._senders[sender]):
            return False
        destination = self._destinations.get(key)
        return destination is None or self._takes(destination, _BY_FAR)

    @property
    def _free(self) -> int:
        return self.limits.recipients - len(self.numbers)

    def _fair(self, recipients: int) -> bool:
        """Whether somebody who has so many may have more of all memory; nobody when it is full."""
        return recipients < _TIMES_FREE * self._free

    def _takes(self, destination: Destination, times: int = 1) -> bool:
        """Whether a destination may have more, of its share and of all memory, even if it had so many times
        what it has. The local ones share memory as they like: what matters there is the sender's share."""
        recipients = times * destination.recipients
        return recipients <= destination.share and (not destination.rests or self._fair(recipients))

    def _let_go(self, works: Iterable[Work]) -> None:
        for work in works:
            recipients, destination = len(work.recipients), work.destination
            destination.recipients -= recipients
            self.numbers.difference_update(recipient.number for recipient in work.recipients)
            key = work.sender, work.priority
            destination.of_senders[key] -= recipients
            self._senders[work.sender] -= recipients
            if not destination.of_senders[key]:
                del destination.of_senders[key]
            if not self._senders[work.sender]:
                del self._senders[work.sender]

    def _forget_idle(self, destination: Destination, now: float) -> None:
        idle = not destination.recipients and destination not in self._behind
        if idle and now >= destination.known_until:
            self._destinations.pop((destination.domain, destination.next_hop), None)
