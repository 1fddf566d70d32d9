"""A queue on a real database whose writer works at once, in the calling thread, under a clock that the test
advances: everything that follows from an event has happened when the call returns."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import NO_PARAMETERS, Envelope, EnvelopeRecipient, MailParameters
from twisted_mta.queue import mailqueue
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.queue.recovery import open_database
from twisted_mta.queue.writer import Writer

NOON = 1_800_000_000.0  # seconds since the epoch, when the tests begin


class WallClock(Clock):
    """A clock and the one reactor method that the writer needs."""

    def __init__(self) -> None:
        super().__init__()
        self.advance(NOON)

    def callFromThread(self, function: Callable[..., Any], *arguments: Any) -> None:
        function(*arguments)


class InlineWriter(Writer):
    """Works without a thread. `broken` is raised by every commit while it is set."""

    broken: Exception | None = None

    def start(self) -> Deferred[Any]:
        self._database, quarantine = open_database(self._path, self._reactor.seconds())
        self._running = True
        if quarantine:
            self._report_quarantine(quarantine)
        return succeed(quarantine)

    def stop(self) -> Deferred[None]:
        self._running = False
        self._close()
        return succeed(None)

    def _submit(self, job: Any) -> Any:
        if self._running:
            self._record([job])
            self._answer([job])
            return job.done
        return super()._submit(job)

    def _commit(self, jobs: Any) -> bool:
        if self.broken is not None:
            for job in jobs:
                job.error = self.broken
            return False
        return super()._commit(jobs)

    def notice(self) -> None:
        """What the thread does once a second."""
        self._next_poll = 0.0
        self._look_around()


class InlineQueue(MailQueue):
    """The queue over an InlineWriter."""

    _writer: InlineWriter

    def __init__(self, directory: Path, clock: WallClock, **options: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mailqueue, "Writer", InlineWriter)
            super().__init__(directory, reactor=clock, random=random.Random(7), **options)

    @property
    def writer(self) -> InlineWriter:
        return self._writer

    def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return maybeDeferred(function, *arguments)


def now(coroutine: Any) -> Any:
    """The result of a coroutine that has nothing left to wait for. Raises what it raised."""
    results: list[Any] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    assert results, "still waiting"
    return results[0]


def envelope(
    *to: str, sender: str | None = "ann@a.test", parameters: MailParameters = NO_PARAMETERS
) -> Envelope:
    reverse_path = None if sender is None else Address.parse(sender)
    recipients = tuple(EnvelopeRecipient(Address.parse(path)) for path in to)
    return Envelope(reverse_path, recipients, parameters)


def put(
    queue: MailQueue,
    *to: str,
    sender: str | None = "ann@a.test",
    body: bytes = b"Subject: x\r\n\r\ny\r\n",
    parameters: MailParameters = NO_PARAMETERS,
) -> str:
    """Commit a message; its queue id."""
    draft = queue.draft()
    now(draft.write(body))
    now(draft.commit(envelope(*to, sender=sender, parameters=parameters), b"Received: here\r\n"))
    return draft.queue_id
