"""What an attempt came to: decided, reported to the sender where due, settled in one transaction, told.

A delay becomes a failure when the message's time is up. The report of failures is recorded in the same
transaction as the failures (`bounce.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from twisted_mta.journey.bus import Journey
from twisted_mta.message.date import format_date
from twisted_mta.message.dsn import FailedRecipient
from twisted_mta.message.outcome import Action, Outcome, QueuedRecipient
from twisted_mta.queue.ids import encode
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.queue.records import NewMessage, Result, Settled, Settlement
from twisted_mta.queue.schedule import RetrySchedule
from twisted_mta.transfer.mta.active import Work
from twisted_mta.transfer.mta.bounce import Bounces


@dataclasses.dataclass(frozen=True, slots=True)
class Conclusion:
    """What the dispatcher goes on with. `report`: that which is in the queue now."""

    results: tuple[Result, ...]
    settled: Settled
    report: NewMessage | None


class Conclusions:
    """Draws them. `schedule` says when to try again, and when to give up."""

    def __init__(
        self, queue: MailQueue, *, bounces: Bounces, journey: Journey, schedule: RetrySchedule
    ) -> None:
        self._queue = queue
        self._bounces = bounces
        self._journey = journey
        self._schedule = schedule

    async def conclude(self, work: Work, outcomes: Sequence[Outcome], now: float) -> Conclusion:
        """Record the outcomes of an attempt, one for each recipient of `work`; returns once it is on disk."""
        pairs = zip(work.recipients, outcomes, strict=True)
        results = tuple(self._decide(work, recipient, outcome, now) for recipient, outcome in pairs)
        failed = [result for result in results if result.outcome.action is Action.FAILED]
        report = await self._report(work, failed, now) if failed else None
        settled = await self._queue.settle(Settlement(work.number, now, results, report))
        if not settled.reported:
            report = None
        for result in results:
            if result.outcome.action is Action.DELAYED:
                self._tell(work, "deferred", result, next=format_date(result.next_attempt))
            elif result.outcome.action is Action.FAILED:
                self._tell_failure(work, result, report)
        if settled.finished:
            self._journey.tell("done", encode(work.number))
        return Conclusion(results, settled, report)

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
