"""The dispatcher: takes what is due out of the queue, hands it to a deliverer, records what came of it.

One straight path for each attempt: pick (`active`), load if it is not in memory, deliver, decide (try again,
give up, expand), settle in one transaction together with the report to the sender, tell. A recipient is in
memory, and so not picked twice, from when it was picked or committed until its outcome is on disk.

What fails on the way means something else at each step. A message that cannot be read, or a deliverer that
raises, is an accident of ours: the recipients are tried again later (RFC 5321 §4.5.4.1). A message that is
damaged is held. Outcomes that cannot be recorded wait for the disk; should they be lost all the same, the
recipients stay in memory, so that what was perhaps delivered is not attempted again before the next start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mta.interfaces import IDeliverer, IDirectory
from twisted_mta.journey.bus import Journey
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage, QueuedRecipient
from twisted_mta.message.status import MailError
from twisted_mta.queue.ids import encode
from twisted_mta.queue.mailqueue import DamagedMessage, MailQueue
from twisted_mta.queue.records import Intervention, NewMessage
from twisted_mta.queue.schedule import RetrySchedule
from twisted_mta.transfer.mta.active import ActiveLimits, ActiveQueue, Admission, who_sends
from twisted_mta.transfer.mta.backlog import Backlog, NextHopOf
from twisted_mta.transfer.mta.bounce import Bounces
from twisted_mta.transfer.mta.conclusion import UNREADABLE, Conclusions
from twisted_mta.transfer.mta.destination import Lesson, Work
from twisted_mta.wire.drive import drive

_NOTICED_WITHIN = 10.0  # seconds from a change by hand until its notice
STOPPING = 10.0  # seconds that attempts under way are given when the server stops
_RETURNED = Outcome(Action.FAILED, "5.0.0", "Returned by the administrator")
_ACCIDENT = Outcome(Action.DELAYED, "4.3.0", "Local error in processing")


class Dispatcher:
    """local: the deliverer for the domains of `directory`; remote: for all others. clock: the wall clock.
    next_hop: where the administrator sends mail for a domain, of a reverse-path, submitted by an account,
    with a next hop given by hand; "" when the DNS says it. What goes to one next hop is one destination."""

    log = Logger(namespace="twisted_mta.dispatch")

    def __init__(
        self,
        queue: MailQueue,
        *,
        directory: IDirectory,
        local: IDeliverer,
        remote: IDeliverer,
        bounces: Bounces,
        journey: Journey,
        clock: IReactorTime,
        schedule: RetrySchedule = RetrySchedule(),
        limits: ActiveLimits = ActiveLimits(),
        next_hop: NextHopOf = lambda domain, reverse_path, account, route: route,
    ) -> None:
        self._queue = queue
        self._directory = directory
        self._journey = journey
        self._clock = clock
        self._conclusions = Conclusions(queue, bounces=bounces, journey=journey, schedule=schedule)
        self._active = ActiveQueue(local=local, remote=remote, limits=limits)
        self._next_hop = next_hop
        self._backlog = Backlog(
            queue,
            self._active,
            directory=directory,
            clock=clock,
            loaded=self._proceed,
            next_hop=next_hop,
        )
        self._noticed = 0.0  # when the queue was last changed by hand
        self._proceeding = False
        self._stopping = False
        self._idle: Deferred[None] | None = None

    async def start(self) -> None:
        """Begin with what is in the queue. The queue has been started."""
        self._queue.watch(self._take_added, self._take_notice)
        self._backlog.replenish()

    async def stop(self, patience: float = STOPPING) -> None:
        """Start nothing more, and wait `patience` seconds for what is under way. An attempt that takes
        longer is made again after the next start."""
        self._stopping = True
        self._backlog.stop()
        if self._active.running:
            self._idle = Deferred()
            timer = self._clock.callLater(patience, self._tell_idle)
            await self._idle
            if timer.active():
                timer.cancel()

    @property
    def running(self) -> tuple[int, int]:
        """Attempts under way: to mailboxes here, and to other servers."""
        return self._active.local.running, self._active.remote.running

    async def retry(self, diagnostic: str) -> int:
        """Try now what was delayed for that reason; how many recipients they are. Raises sqlite3.Error,
        MailError."""
        began = self._clock.seconds()
        if found := await self._queue.retry(diagnostic):
            self._backlog.expect(began)
        return found

    def _tell_idle(self) -> None:
        idle, self._idle = self._idle, None
        if idle is not None:
            idle.callback(None)

    # What comes into memory

    def _take_added(self, messages: Sequence[NewMessage]) -> None:
        for new in messages:
            self._take(new.queued(), new.number, new.begins, new.begins, new.recipients)
        self._proceed()

    def _take(
        self,
        message: QueuedMessage,
        number: int,
        begins: float,
        due: float,
        recipients: Sequence[QueuedRecipient],
    ) -> None:
        """What has just been put into the queue needs no reading, if there is room."""
        if not self._active.has_room or due > self._clock.seconds():
            self._backlog.expect(due)
            return
        active = self._active
        sender, priority = who_sends(message.account, message.reverse_path), message.parameters.priority
        domains: dict[str, list[QueuedRecipient]] = {}
        for recipient in recipients:
            domains.setdefault(recipient.forward_path.domain, []).append(recipient)
        for domain, group in domains.items():
            lane, key = active.remote, (domain, "")
            if self._directory.is_local(domain):
                lane = active.local
            elif hop := self._next_hop(domain, message.reverse_path, message.account, ""):
                key = "", hop
            admission = active.may_take(key, sender, priority)
            if admission is Admission.GRANTED:
                active.admit(
                    lane,
                    key,
                    number,
                    begins,
                    group,
                    sender=sender,
                    priority=priority,
                    deadline=message.parameters.deliver_by is not None,
                    message=message,
                )
            elif admission is Admission.DESTINATION_FULL:
                self._backlog.leave_on_disk([recipient.number for recipient in group])
            elif admission is Admission.PASSED_OVER:
                self._backlog.pass_over(sender, key, due)

    def _take_notice(self, interventions: Sequence[Intervention]) -> None:
        """The queue was changed by hand: what waits in memory may be held or gone."""
        for intervention in interventions:
            to = intervention.recipient
            self._journey.tell(intervention.action, encode(intervention.message), by="hand", to=to)
        self._noticed = self._clock.seconds()
        self._active.drop_waiting()
        self._backlog.start_over()

    # One attempt

    def _proceed(self) -> None:
        """Start what may be started. Attempts may end at once, and call this again."""
        if self._proceeding:
            return
        self._proceeding = True
        try:
            while not self._stopping and (work := self._active.next(self._clock.seconds())) is not None:
                drive(self._attempt(work), partial(self._abandon, work))
        finally:
            self._proceeding = False

    async def _attempt(self, work: Work) -> None:
        """Load, deliver, record; what fails in there, see the module."""
        began = self._clock.seconds()
        learned: Lesson | None = None
        outcomes = self._without_attempt(work)
        if outcomes is None:
            outcomes = await self._load(work)
        if outcomes is None:
            outcomes = await self._deliver(work)
            now = self._clock.seconds()
            learned = work.destination.learn(work, outcomes, now, self._active.limits.rest)
            # What may have been held or removed by hand meanwhile is not tried again without a look at it.
            if self._noticed < began and work.destination.may_put_back(work, learned, now):
                self._active.put_back(work)
                self._go_on()
                return
        if outcomes:
            await self._record(work, outcomes)
        self._active.finished(work, self._clock.seconds(), learned)
        if self._noticed >= began:
            self._backlog.expect(self._noticed - _NOTICED_WITHIN)  # it may be returned, or have another route
        self._go_on()

    def _abandon(self, work: Work, failure: Failure) -> None:
        if not self._stopping:
            self.log.failure(
                "{queue_id}: the outcome of an attempt was lost",
                failure=failure,
                queue_id=encode(work.number),
            )
        self._active.abandoned(work)
        self._go_on()

    def _go_on(self) -> None:
        if self._stopping:
            if not self._active.running:
                self._tell_idle()
            return
        self._backlog.replenish()
        self._proceed()

    def _without_attempt(self, work: Work) -> Sequence[Outcome] | None:
        """What becomes of mail that is not to be tried now; None: try it."""
        outcome = work.destination.resting(self._clock.seconds())
        if work.recipients[0].returned:
            outcome = _RETURNED
        return None if outcome is None else [outcome] * len(work.recipients)

    async def _load(self, work: Work) -> Sequence[Outcome] | None:
        """Have the message in memory, from disk if need be. None: it is there, to be delivered. Otherwise
        what is to be recorded: nothing, when it was removed by hand or is held now."""
        if work.message is None:
            try:
                work.message = await self._queue.message(work.number)
            except DamagedMessage as error:
                self.log.critical("{error}; the message is held", error=error)
                await self._queue.hold(work.number, str(error))
                self._journey.tell("held", encode(work.number), reason=str(error))
            except MailError:
                raise  # the queue has been stopped
            except Exception as error:
                queue_id = encode(work.number)
                self.log.error("{queue_id}: it cannot be read: {error!r}", queue_id=queue_id, error=error)
                return [UNREADABLE] * len(work.recipients)
        return None if work.message is not None else []

    async def _deliver(self, work: Work) -> Sequence[Outcome]:
        """One outcome for each recipient."""
        message = work.message
        assert message is not None
        if any(recipient.attempts for recipient in work.recipients):
            message = replace(message, recovered=True)  # an attempt that failed may have come half the way
        try:
            outcomes = await self._active.lane_of(work).deliverer.deliver(message, work.recipients)
            if len(outcomes) != len(work.recipients):
                raise RuntimeError(f"{len(outcomes)} outcomes for {len(work.recipients)} recipients")
        except Exception:
            self.log.failure("{queue_id}: unexpected error in a delivery", queue_id=encode(work.number))
            outcomes = [_ACCIDENT] * len(work.recipients)
        return outcomes

    # What came of it

    async def _record(self, work: Work, outcomes: Sequence[Outcome]) -> None:
        """Have it on disk, and take in what the settlement put into the queue."""
        now = self._clock.seconds()
        conclusion = await self._conclusions.conclude(work, outcomes, now)
        for result in conclusion.results:
            if result.outcome.action is Action.DELAYED:
                self._backlog.expect(result.next_attempt)
        if conclusion.settled.added and work.message is not None:
            self._take(work.message, work.number, work.arrived, now, conclusion.settled.added)
        if conclusion.report is not None:
            self._take_added([conclusion.report])
        if conclusion.settled.finished:
            await self._forget_spool(work)

    async def _forget_spool(self, work: Work) -> None:
        if work.message is not None and work.message.content.path is not None:
            try:
                await self._queue.forget_spool([work.number])
            except (OSError, MailError) as error:
                self.log.error("a spool file was left behind: {error}", error=error)
