"""A dispatcher over an inline queue, with deliverers that answer when the test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from queue_house import InlineQueue, WallClock, now, put
from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_mta.interfaces import IDeliverer
from twisted_mta.journey.bus import Journey, TraceEvent
from twisted_mta.message.address import Address
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage, QueuedRecipient
from twisted_mta.queue.administration import QueueAdministration
from twisted_mta.queue.schedule import RetrySchedule
from twisted_mta.transfer.mta.active import ActiveLimits
from twisted_mta.transfer.mta.bounce import Bounces
from twisted_mta.transfer.mta.dispatch import Dispatcher

DELIVERED = Outcome(Action.DELIVERED, "2.0.0", "ok")
DELAYED = Outcome(Action.DELAYED, "4.2.1", "try later")
BUSY = Outcome(Action.DELAYED, "4.7.0", "421 4.7.0 too many connections", "mx.c.test")
UNREACHABLE = Outcome(Action.DELAYED, "4.4.1", "no answer")
SILENCED = Outcome(Action.DELAYED, "4.4.2", "Timed out waiting for end of data", "mx.c.test", broke_off=True)
FAILED = Outcome(Action.FAILED, "5.1.1", "550 5.1.1 no such user", "mx.b.test")


@dataclass
class Attempt:
    """One call of a deliverer. `answer` gives the outcomes, one for all or one each."""

    message: QueuedMessage
    recipients: Sequence[QueuedRecipient]
    done: Deferred[Sequence[Outcome]] = field(default_factory=Deferred)

    @property
    def to(self) -> list[str]:
        return [str(recipient.forward_path) for recipient in self.recipients]

    @property
    def text(self) -> bytes:
        return b"".join(self.message.content.chunks())

    def answer(self, *outcomes: Outcome) -> None:
        self.done.callback(outcomes if len(outcomes) > 1 else list(outcomes) * len(self.recipients))


@implementer(IDeliverer)
class Deliverer:
    """`always`: what it answers at once, or None: when the test says. Every call is kept in `attempts`."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.always: Outcome | Callable[[QueuedRecipient], Outcome] | None = None

    async def deliver(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> Sequence[Outcome]:
        attempt = Attempt(message, recipients)
        self.attempts.append(attempt)
        if self.always is None:
            return await attempt.done
        if isinstance(self.always, Outcome):
            return [self.always] * len(recipients)
        return [self.always(recipient) for recipient in recipients]

    def take(self) -> list[Attempt]:
        """The attempts since this was last asked."""
        attempts, self.attempts = self.attempts, []
        return attempts


class House:
    """a.test is local; everything else is remote."""

    def __init__(self, directory: Path, clock: WallClock | None = None, **options: Any) -> None:
        self.directory = directory
        self.clock = clock or WallClock()
        self.local, self.remote = Deliverer(), Deliverer()
        self.events: list[TraceEvent] = []
        self.options = options
        self.start()

    def start(self) -> None:
        journey = Journey()
        journey.add_reader(self.events.append)
        self.queue = InlineQueue(self.directory, self.clock)
        now(self.queue.start())
        self.dispatcher = Dispatcher(
            self.queue,
            directory=self,  # type: ignore[arg-type]
            local=self.local,
            remote=self.remote,
            bounces=Bounces(self.queue, hostname="mx.a.test", postmaster=Address.parse("postmaster@a.test")),
            journey=journey,
            clock=self.clock,
            schedule=self.options.get("schedule", RetrySchedule()),
            limits=self.options.get("limits", ActiveLimits()),
            **({"next_hop": self.options["next_hop"]} if "next_hop" in self.options else {}),
        )
        now(self.dispatcher.start())

    def stop(self) -> None:
        stopping = Deferred.fromCoroutine(self.dispatcher.stop(5.0))
        self.clock.advance(5.0)
        assert stopping.called
        now(self.queue.stop())

    def restart(self) -> None:
        self.stop()
        self.start()

    def is_local(self, domain: str) -> bool:
        return domain == "a.test"

    def put(self, *to: str, **options: Any) -> str:
        return put(self.queue, *to, **options)

    def stages(self, queue_id: str) -> list[str]:
        return [event.stage for event in self.events if event.queue_id == queue_id]

    def stages_of(self, stage: str) -> list[TraceEvent]:
        return [event for event in self.events if event.stage == stage]

    def by_hand(self) -> QueueAdministration:
        return QueueAdministration(self.directory, seconds=self.clock.seconds)

    def queued(self) -> dict[str, dict[str, str]]:
        """The state of every recipient of every message on disk."""
        administration = self.by_hand()
        try:
            return {
                m.queue_id: {r.forward_path: r.state for r in m.recipients} for m in administration.list()
            }
        finally:
            administration.close()
