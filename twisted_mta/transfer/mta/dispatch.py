"""The dispatcher: takes what is due out of the queue, hands it to a deliverer, records what came of it.

One straight path for each attempt: pick (`active`), load if it is not in memory, deliver, decide (try again,
give up, expand), settle in one transaction together with the report to the sender, tell. A recipient is in
memory, and so not picked twice, from when it was picked or committed until its outcome is on disk.

A deliverer that raises is an accident of ours: the recipients are tried again later (RFC 5321 §4.5.4.1).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mta.interfaces import IDeliverer, IDirectory
from twisted_mta.journey.bus import Journey
from twisted_mta.message.date import format_date
from twisted_mta.message.dsn import FailedRecipient
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage, QueuedRecipient
from twisted_mta.message.status import MailError
from twisted_mta.queue.ids import encode
from twisted_mta.queue.mailqueue import DamagedMessage, MailQueue
from twisted_mta.queue.records import Intervention, NewMessage, Result, Settled, Settlement
from twisted_mta.queue.schedule import RetrySchedule
from twisted_mta.transfer.mta.active import ActiveLimits, ActiveQueue, Work
from twisted_mta.transfer.mta.backlog import Backlog
from twisted_mta.transfer.mta.bounce import Bounces

STOPPING = 10.0  # seconds that attempts under way are given when the server stops


class Dispatcher:
    """local: the deliverer for the domains of `directory`; remote: for all others. clock: the wall clock."""

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
    ) -> None:
        self._queue = queue
        self._directory = directory
        self._bounces = bounces
        self._journey = journey
        self._clock = clock
        self._schedule = schedule
        self._active = ActiveQueue(local=local, remote=remote, limits=limits)
        self._backlog = Backlog(queue, self._active, directory=directory, clock=clock, loaded=self._proceed)
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

    def _tell_idle(self) -> None:
        idle, self._idle = self._idle, None
        if idle is not None:
            idle.callback(None)

    # What comes into memory

    def _take_added(self, messages: Sequence[NewMessage]) -> None:
        for new in messages:
            self._take(new.number, new.arrived, new.arrived, new.recipients, new.queued())
        self._proceed()

    def _take(
        self,
        number: int,
        arrived: float,
        due: float,
        recipients: Sequence[QueuedRecipient],
        message: QueuedMessage | None,
    ) -> None:
        """What has just been put into the queue needs no reading, if there is room."""
        if not self._active.has_room:
            self._backlog.expect(due)
            return
        domains: dict[str, list[QueuedRecipient]] = {}
        for recipient in recipients:
            domains.setdefault(recipient.forward_path.domain, []).append(recipient)
        for domain, group in domains.items():
            lane = self._active.local if self._directory.is_local(domain) else self._active.remote
            self._active.admit(lane, number, arrived, group, message)

    def _take_notice(self, interventions: Sequence[Intervention]) -> None:
        """The queue was changed by hand: what waits in memory may be held or gone."""
        for intervention in interventions:
            self._journey.tell(intervention.action, encode(intervention.message), by="hand")
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
                Deferred.fromCoroutine(self._attempt(work)).addErrback(self._abandon, work)
        finally:
            self._proceeding = False

    async def _attempt(self, work: Work) -> None:
        try:
            outcomes = await self._outcomes(work)
            if outcomes is not None:
                await self._conclude(work, outcomes)
        except DamagedMessage as error:
            self.log.critical("{error}; the message is held", error=error)
            await self._queue.hold(work.number, str(error))
        self._active.finished(work, self._clock.seconds())
        self._go_on()

    def _abandon(self, failure: Failure, work: Work) -> None:
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

    async def _outcomes(self, work: Work) -> Sequence[Outcome] | None:
        """One for each recipient; None when there is nothing to record."""
        destination = work.destination
        if (reason := destination.resting(self._clock.seconds())) is not None:
            return [reason] * len(work.recipients)
        try:
            if work.message is None:
                work.message = await self._queue.message(work.number)
                if work.message is None:
                    return None  # removed by hand
            outcomes = await destination.lane.deliverer.deliver(work.message, work.recipients)
            if len(outcomes) != len(work.recipients):
                raise RuntimeError(f"{len(outcomes)} outcomes for {len(work.recipients)} recipients")
        except DamagedMessage:
            raise
        except Exception:
            self.log.failure("{queue_id}: unexpected error in a delivery", queue_id=encode(work.number))
            accident = Outcome(Action.DELAYED, "4.3.0", "Local error in processing")
            outcomes = [accident] * len(work.recipients)
        destination.learn(outcomes, self._clock.seconds(), self._active.limits.rest)
        return outcomes

    # What came of it

    async def _conclude(self, work: Work, outcomes: Sequence[Outcome]) -> None:
        now = self._clock.seconds()
        pairs = zip(work.recipients, outcomes, strict=True)
        results = tuple(self._decide(work, recipient, outcome, now) for recipient, outcome in pairs)
        failed = [result for result in results if result.outcome.action is Action.FAILED]
        report = await self._report(work, failed, now) if failed else None
        settled = await self._queue.settle(Settlement(work.number, now, results, report))
        self._follow_up(work, results, settled, report, now)
        if settled.finished:
            await self._finish(work)

    def _decide(self, work: Work, recipient: QueuedRecipient, outcome: Outcome, now: float) -> Result:
        if outcome.action is Action.EXPANDED:
            original = recipient.original_path or recipient.forward_path
            expansion = tuple(
                QueuedRecipient(self._queue.numbers.recipient(), path, original_path=original)
                for path in outcome.expansion
            )
            return Result(recipient, outcome, expansion=expansion)
        if outcome.action is Action.DELAYED:
            again = self._schedule.next_attempt(work.arrived, recipient.attempts + 1, now)
            if again is None:
                return Result(recipient, dataclasses.replace(outcome, action=Action.FAILED), expired=True)
            return Result(recipient, outcome, again)
        return Result(recipient, outcome)

    async def _report(self, work: Work, failed: Sequence[Result], now: float) -> NewMessage | None:
        if work.message is None:
            work.message = await self._queue.message(work.number)
            if work.message is None:
                return None
        recipients = [
            FailedRecipient(
                final=result.recipient.forward_path,
                original=result.recipient.original_path,
                status=result.outcome.status,
                text=result.outcome.text,
                remote_mta=result.outcome.remote_mta,
                last_attempt=now,
                expired=result.expired,
            )
            for result in failed
        ]
        return await self._bounces.report(work.message, recipients, now)

    def _follow_up(
        self,
        work: Work,
        results: Sequence[Result],
        settled: Settled,
        report: NewMessage | None,
        now: float,
    ) -> None:
        """Tell what did not simply go well, and take in what the settlement put into the queue."""
        for result in results:
            if result.outcome.action is Action.DELAYED:
                self._backlog.expect(result.next_attempt)
                self._tell(work, "deferred", result, next=format_date(result.next_attempt))
            elif result.outcome.action is Action.FAILED:
                self._tell_failure(work, result, report if settled.reported else None)
        if settled.added:
            self._take(work.number, work.arrived, now, settled.added, work.message)
        if report is not None and settled.reported:
            self._take_added([report])

    def _tell_failure(self, work: Work, result: Result, report: NewMessage | None) -> None:
        if report is not None:
            self._tell(work, "expired" if result.expired else "bounced", result, report=encode(report.number))
        elif work.message is not None and work.message.reverse_path is None:
            self._tell(work, "double-bounce", result)

    def _tell(self, work: Work, stage: str, result: Result, **facts: object) -> None:
        self._journey.tell(
            stage,
            encode(work.number),
            to=result.recipient.forward_path,
            attempts=result.recipient.attempts + 1,
            status=result.outcome.status,
            reason=result.outcome.text,
            host=result.outcome.remote_mta,
            **facts,
        )

    async def _finish(self, work: Work) -> None:
        self._journey.tell("done", encode(work.number))
        if work.message is not None and work.message.content.path is not None:
            try:
                await self._queue.forget_spool([work.number])
            except (OSError, MailError) as error:
                self.log.error("a spool file was left behind: {error}", error=error)
