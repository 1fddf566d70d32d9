"""A process that queues and delivers, and kills itself with SIGKILL at a named point; run by the crash tests.

    crash_actor.py DIRECTORY queue POINT BODY [PATH …]   queue one message for these paths, deliver
    crash_actor.py DIRECTORY load                        commit messages from 20 drafts at a time, for ever
    crash_actor.py DIRECTORY commit BODY                 queue one message, deliver nothing
    crash_actor.py DIRECTORY persist                     queue twelve messages one after the other, if it can
    crash_actor.py DIRECTORY fill BODY                   queue messages until files cannot grow, and one more

What happens is told in lines on the standard output, each written at once. What becomes of a recipient
is in its local part: ok, later, late (and the sender is told), bad, team (an alias for ok2).
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, gatherResults

from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.envelope import Envelope, EnvelopeRecipient
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage, QueuedRecipient
from twisted_mta.message.status import MailError
from twisted_mta.queue import spool
from twisted_mta.queue.database import QueueDatabase
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.queue.schedule import RetrySchedule
from twisted_mta.queue.spool import Spool, SpoolFile
from twisted_mta.queue.writer import Writer
from twisted_mta.transfer.mta.bounce import Bounces
from twisted_mta.transfer.mta.dispatch import Dispatcher

BODIES = {"small": b"Subject: s\r\n\r\nbody\r\n", "large": b"Subject: l\r\n\r\n" + b"0123456789\r\n" * 30_000}
DELIVERED = Outcome(Action.DELIVERED, "2.0.0", "ok")
OUTCOMES = {
    "bad": Outcome(Action.FAILED, "5.1.1", "no such user"),
    "later": Outcome(Action.DELAYED, "4.2.0", "not now"),
    "late": Outcome(Action.DELAYED, "4.2.0", "not now"),
    "team": Outcome(Action.EXPANDED, "2.1.5", "", expansion=(Address.parse("ok2@b.test"),)),
}


def tell(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def outcome(path: str) -> Outcome:
    """What becomes of a recipient."""
    kind = path.partition("@")[0]
    return OUTCOMES.get(kind, DELIVERED)


class Deliverer:
    """Tells of each delivery."""

    async def deliver(self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]) -> list[Outcome]:
        return [self.attempt(str(recipient.forward_path)) for recipient in recipients]

    def attempt(self, path: str) -> Outcome:
        if outcome(path) is DELIVERED:
            tell("delivered", path)
        return outcome(path)

    def is_local(self, domain: str) -> bool:
        return True


def arm(point: str) -> None:
    """`before|after NAME [NUMBER]`: die around the NUMBERth call of that function."""
    when, name, number = (point + " 1").split()[:3]
    points: dict[str, tuple[Any, str]] = {
        "write": (SpoolFile, "write"),
        "finish": (SpoolFile, "finish"),
        "commit": (QueueDatabase, "commit"),
        "add": (QueueDatabase, "_add"),
        "replace": (QueueDatabase, "_replace"),
        "settle": (QueueDatabase, "_settle"),
        "deliver": (Deliverer, "attempt"),
        "unlink": (Spool, "remove"),
        "sync": (spool, "sync"),  # the file has been synced
        "acknowledge": (Writer, "_answer"),
    }
    owner, attribute = points[name]
    original: Callable[..., Any] = getattr(owner, attribute)
    calls = 0

    def armed(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if when == "before" and calls == int(number):
            die()
        result = original(*arguments)
        if when == "after" and calls == int(number):
            die()
        return result

    setattr(owner, attribute, armed)


async def put(queue: MailQueue, body: bytes, *paths: str) -> None:
    draft = queue.draft()
    for start in range(0, len(body), 65536):
        await draft.write(body[start : start + 65536])
    sender, *recipients = (Address.parse(path) for path in ("ann@a.test", *paths))
    await draft.commit(Envelope(sender, tuple(map(EnvelopeRecipient, recipients))))
    tell("250", draft.queue_id)


async def attempt_to_put(queue: MailQueue, body: bytes) -> bool:
    try:
        await put(queue, body, "ok@b.test")
    except MailError as error:
        tell(error.code, error.status)
        return False
    return True


async def rest(queue: MailQueue, dispatcher: Dispatcher) -> None:
    """Until nothing can be done."""
    while (await queue.due((0.0, 0), reactor.seconds(), 1)).recipients or dispatcher._active.numbers:
        await task.deferLater(reactor, 0.005)
    await dispatcher.stop()
    await queue.stop()


async def act(directory: Path, deed: str, *arguments: str) -> None:
    queue = MailQueue(directory, reactor=reactor)
    deliverer = Deliverer()
    bounces = Bounces(queue, hostname="mx.a.test", postmaster=Address.parse("postmaster@a.test"))
    dispatcher = Dispatcher(
        queue,
        directory=deliverer,  # type: ignore[arg-type]
        local=deliverer,
        remote=deliverer,
        bounces=bounces,
        journey=Journey(),
        clock=reactor,  # type: ignore[arg-type]
        schedule=RetrySchedule(warn_after=1e-6 if "late@b.test" in arguments else 0.0),
    )
    await queue.start()
    if deed == "load":
        await gatherResults([Deferred.fromCoroutine(load(queue)) for _ in range(20)])
    if deed == "commit":
        await put(queue, BODIES[arguments[0]], "ok@b.test")
        await queue.stop()
    if deed == "persist":
        for _ in range(12):
            await attempt_to_put(queue, BODIES["small"])
        await queue.stop()
    if deed == "fill":
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        while await attempt_to_put(queue, BODIES[arguments[0]]):
            pass
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await attempt_to_put(queue, BODIES[arguments[0]])
        await queue.stop()
    if deed == "queue":
        point, body, *paths = arguments
        arm(point)
        await dispatcher.start()
        await put(queue, BODIES[body], *paths)
        await rest(queue, dispatcher)
        tell("survived")


async def load(queue: MailQueue) -> None:
    while True:
        await put(queue, BODIES["small"], "ok@b.test")


if __name__ == "__main__":
    task.react(lambda _: Deferred.fromCoroutine(act(Path(sys.argv[1]), *sys.argv[2:])))
