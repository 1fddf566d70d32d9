"""What an attempt came to: decided, reported to the sender where due, settled in one transaction, told.

A delay becomes a failure when the message's time is up, whether we have set it (`queue/schedule.py`) or the
sender (DELIVERBY, RFC 2852). Whom the sender is told of is decided in `message/dsn/rules.py`; there is at
most one report of an attempt, with all recipients it concerns, and it is recorded in the same transaction
as the results (`bounce.py`).

What the sender is to be told of is not final before he can be: as long as the message cannot be read, which
says who he is and by when he wants it delivered, it is delayed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from twisted.logger import Logger

from twisted_mta.journey.bus import Journey
from twisted_mta.message.content import Content
from twisted_mta.message.date import format_date
from twisted_mta.message.dsn.rules import members_notify, reported_as
from twisted_mta.message.dsn.values import ReportedRecipient
from twisted_mta.message.envelope import NO_PARAMETERS, DeliverBy
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage, QueuedRecipient
from twisted_mta.message.status import MailError
from twisted_mta.queue.ids import encode
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.queue.records import NewMessage, Result, Settled, Settlement
from twisted_mta.queue.schedule import RetrySchedule
from twisted_mta.transfer.mta.bounce import Bounces
from twisted_mta.transfer.mta.destination import Work

UNREADABLE = Outcome(Action.DELAYED, "4.3.0", "The message cannot be read at the moment")


class _Unreadable(Exception):
    """The message cannot be read now."""


@dataclasses.dataclass(frozen=True, slots=True)
class Conclusion:
    """What the dispatcher goes on with. `report`: that which is in the queue now."""

    results: tuple[Result, ...]
    settled: Settled
    report: NewMessage | None


class Conclusions:
    """Draws them. `schedule` says when to try again, when to warn, and when to give up."""

    log = Logger(namespace="twisted_mta.dispatch")

    def __init__(
        self,
        queue: MailQueue,
        *,
        bounces: Bounces,
        journey: Journey,
        schedule: RetrySchedule,
    ) -> None:
        self._queue = queue
        self._bounces = bounces
        self._journey = journey
        self._schedule = schedule

    async def conclude(self, work: Work, outcomes: Sequence[Outcome], now: float) -> Conclusion:
        """Record the outcomes of an attempt, one for each recipient of `work`; returns once it is on disk."""
        try:
            results, told, report = await self._draw(work, outcomes, now)
        except _Unreadable:
            results = tuple(self._put_off(recipient, now) for recipient in work.recipients)
            told, report = [None] * len(results), None
        settled = await self._queue.settle(Settlement(work.number, now, results, report))
        if settled.nowhere:
            return await self.conclude(work, _without_circle(work, outcomes, settled.nowhere), now)
        if not settled.reported:
            report = None
        for result, action in zip(results, told, strict=True):
            self._tell_result(work, result, action, report)
        if report is not None:
            self._tell_report(work, report)
        if settled.finished:
            self._journey.tell("done", encode(work.number))
        return Conclusion(results, settled, report)

    async def _draw(
        self, work: Work, outcomes: Sequence[Outcome], now: float
    ) -> tuple[tuple[Result, ...], list[Action | None], NewMessage | None]:
        """The results, what the sender is told of each, and the report of that. Raises _Unreadable
        when the message is needed and cannot be read; then nobody has attempted to deliver it."""
        if work.deadline:  # what follows from a delay depends on it
            await self._load(work)
        pairs = zip(work.recipients, outcomes, strict=True)
        results = tuple(self._decide(work, recipient, outcome, now) for recipient, outcome in pairs)
        told = [self._reported_as(work, result, now) for result in results]
        report = await self._report(work, results, told, now) if any(told) else None
        return tuple(map(_marked, results, told)), told, report

    # What follows from an outcome

    def _decide(self, work: Work, recipient: QueuedRecipient, outcome: Outcome, now: float) -> Result:
        if outcome.action is Action.EXPANDED:
            original = recipient.original_path or recipient.forward_path
            notify = members_notify(
                recipient.notify,
                outcome.expansion,
                confidential=self._bounces.is_confidential(recipient.forward_path),
            )
            expansion = tuple(
                QueuedRecipient(
                    self._queue.numbers.recipient(),
                    path,
                    original_path=original,
                    notify=notify,
                    orcpt=recipient.orcpt,
                )
                for path in outcome.expansion
            )
            return Result(recipient, outcome, expansion=expansion)
        if outcome.action is Action.DELAYED:
            return self._delayed(work, recipient, outcome, now)
        return Result(recipient, outcome)

    def _delayed(self, work: Work, recipient: QueuedRecipient, outcome: Outcome, now: float) -> Result:
        by = _deliver_by(work.message)
        end = by.when if by is not None and not by.notify else None
        again = self._schedule.next_attempt(work.arrived, recipient.attempts + 1, now, end)
        if again is None:
            status, text = outcome.status, outcome.text
            if end is not None and now >= end:
                status, text = "5.4.7", f"Not delivered by the time that its sender set; at last: {text}"
            failed = dataclasses.replace(outcome, action=Action.FAILED, status=status, text=text)
            return Result(recipient, failed, expired=True)
        if by is not None and now < by.when < again:
            again = by.when  # whatever becomes of it then, the sender is told in time
        return Result(recipient, outcome, again)

    def _put_off(self, recipient: QueuedRecipient, now: float) -> Result:
        return Result(recipient, UNREADABLE, self._schedule.soonest(recipient.attempts + 1, now))

    # What the sender is told

    async def _report(
        self, work: Work, results: Sequence[Result], told: Sequence[Action | None], now: float
    ) -> NewMessage | None:
        """The one report of all that is to be told."""
        await self._load(work)
        if work.message is None:
            return None
        recipients = [
            self._reported(work, result, action, now)
            for result, action in zip(results, told, strict=True)
            if action is not None
        ]
        try:
            return await self._bounces.report(work.message, recipients, now)
        except Exception:
            # Outcomes that are never recorded are worse than a report without the message.
            self.log.failure("{queue_id}: it cannot be quoted in a report", queue_id=encode(work.number))
            empty = dataclasses.replace(work.message, content=Content(b""))
            return await self._bounces.report(empty, recipients, now)

    async def _load(self, work: Work) -> None:
        """If it was not attempted it may not be in memory. What is damaged can be reported, too. Raises
        _Unreadable."""
        if work.message is None:
            try:
                work.message = await self._queue.message_as_it_is(work.number)
            except MailError:
                raise  # the queue has been stopped
            except Exception as error:
                queue_id = encode(work.number)
                self.log.error("{queue_id}: it cannot be read: {error!r}", queue_id=queue_id, error=error)
                raise _Unreadable from error

    def _reported_as(self, work: Work, result: Result, now: float) -> Action | None:
        recipient, by = result.recipient, _deliver_by(work.message)
        untold = not recipient.delay_told
        return reported_as(
            recipient.notify,
            result.outcome,
            late=untold and self._schedule.is_late(work.arrived, recipient.attempts + 1, now),
            overdue=untold and by is not None and by.notify and now >= by.when,
            trace=by is not None and by.trace,
            confidential=self._bounces.is_confidential(recipient.forward_path),
        )

    def _reported(self, work: Work, result: Result, action: Action, now: float) -> ReportedRecipient:
        recipient, outcome, by = result.recipient, result.outcome, _deliver_by(work.message)
        overdue = by is not None and action is Action.DELAYED and now >= by.when
        return ReportedRecipient(
            action=action,
            final=recipient.original_path or recipient.forward_path,
            status="4.4.7" if overdue else outcome.status,  # RFC 2852 §4
            text=outcome.text,
            attempted=now,
            remote_mta=outcome.remote_mta,
            orcpt=recipient.orcpt,
            member=None if recipient.original_path is None else recipient.forward_path,
            expired=result.expired,
            retry_until=work.arrived + self._schedule.lifetime if action is Action.DELAYED else 0.0,
        )

    # What the journey is told

    def _tell_result(
        self, work: Work, result: Result, told: Action | None, report: NewMessage | None
    ) -> None:
        reported = encode(report.number) if report is not None and told is not None else ""
        action = result.outcome.action
        if action is Action.DELAYED:
            self._tell(work, "deferred", result, next=format_date(result.next_attempt), report=reported)
        elif action is Action.FAILED:
            if reported:
                self._tell(work, "expired" if result.expired else "bounced", result, report=reported)
            elif work.message is not None and work.message.reverse_path is None:
                self._tell(work, "double-bounce", result)
            elif told is None or (work.message is not None and work.message.parameters.junk):
                self._tell(work, "failed", result)
        elif reported:
            self._tell(work, "reported", result, report=reported)

    def _tell_report(self, work: Work, report: NewMessage) -> None:
        self._journey.tell(
            "report",
            encode(report.number),
            about=encode(work.number),
            to=tuple(recipient.forward_path for recipient in report.recipients),
            size=report.size,
        )

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


def _without_circle(work: Work, outcomes: Sequence[Outcome], nowhere: frozenset[int]) -> list[Outcome]:
    """What was to be replaced by addresses that lead back to it fails: somebody has to hear of it."""
    failed = Outcome(Action.FAILED, "5.4.6", "Mail loop: the address leads back to itself, by way of others")
    return [
        failed if recipient.number in nowhere else outcome
        for recipient, outcome in zip(work.recipients, outcomes, strict=True)
    ]


def _marked(result: Result, told: Action | None) -> Result:
    return dataclasses.replace(result, delay_told=True) if told is Action.DELAYED else result


def _deliver_by(message: QueuedMessage | None) -> DeliverBy | None:
    return (NO_PARAMETERS if message is None else message.parameters).deliver_by
