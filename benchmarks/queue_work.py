"""What our queue costs at the size that it has, measured within one process; `queue_growth.py` runs it.

    python benchmarks/queue_work.py DIRECTORY MESSAGES

It starts the queue and reads the first page of what is due; then 10 senders at once put messages in and 10
deliverers take the oldest out. Messages have 4 KiB and one recipient in one of 10,000 domains.
"""

from __future__ import annotations

import json
import os
import random
import resource
import statistics
import sys
import time
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, gatherResults

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import Envelope, EnvelopeRecipient
from twisted_mta.message.outcome import Action, Outcome, QueuedRecipient
from twisted_mta.queue.database import QueueDatabase
from twisted_mta.queue.mailqueue import DATABASE, SPOOL, MailQueue
from twisted_mta.queue.records import DueRecipient, NewMessage, Result, Settlement

DOMAINS, AT_ONCE, TURNS = 10_000, 10, 5
HEAD = b"Received: from client.test (client.test [192.0.2.1]) by mx.a.test with ESMTP id X; now\r\n"
BODY = b"Subject: growth\r\n\r\n" + b"A line of text that is as long as lines of text are.....\r\n" * 70
CHECKSUM = zlib.crc32(BODY)
SENDER = Address.parse("ann@a.test")
DELIVERED = Outcome(Action.RELAYED, "2.0.0", "250 2.0.0 Ok", "mx.b.test")


def somebody() -> Address:
    return Address.parse(f"bob@d{random.randrange(DOMAINS)}.test")


def fill(directory: Path, count: int) -> None:
    """Put that many messages into the queue, without waiting for the disk; all of them due."""
    (directory / SPOOL).mkdir(parents=True, exist_ok=True)
    database = QueueDatabase(directory / DATABASE)
    database._execute("PRAGMA synchronous = OFF")
    number = max(int(1e6 * time.time()) - 10**12, database.highest()[1])
    for start in range(0, count, 500):
        batch = []
        for _ in range(min(500, count - start)):
            number += 1
            to = (QueuedRecipient(number, somebody()),)
            content = Content(HEAD, BODY)
            batch.append(
                NewMessage(900 * number, SENDER, number / 1e6, content, len(HEAD + BODY), CHECKSUM, to)
            )
        database.commit(batch, [])
    database.close()


def memory() -> int:
    """Octets of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def measured(count: int, work: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Milliseconds of processor time and of the clock for each of `count`."""
    clock, processor = time.perf_counter(), time.process_time()
    await work()
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    return processor / count * 1000, clock / count * 1000


async def put(queue: MailQueue, count: int) -> None:
    async def one() -> None:
        for _ in range(count // AT_ONCE):
            draft = queue.draft()
            await draft.write(BODY)
            await draft.commit(Envelope(SENDER, (EnvelopeRecipient(somebody()),)), HEAD)

    await gatherResults([Deferred.fromCoroutine(one()) for _ in range(AT_ONCE)])


async def take(queue: MailQueue, count: int) -> None:
    left = count
    due: list[DueRecipient] = []

    async def one() -> None:
        while due:
            recipient = due.pop()
            assert await queue.message(recipient.message) is not None
            result = Result(recipient.queued(), DELIVERED)
            await queue.settle(Settlement(recipient.message, time.time(), (result,)))

    while left:
        due += (await queue.due((0.0, 0), time.time(), min(500, left))).recipients
        left -= len(due)
        await gatherResults([Deferred.fromCoroutine(one()) for _ in range(AT_ONCE)])


async def measure(directory: Path, messages: int) -> dict[str, float]:
    """At the size that the queue has; it has the same afterwards."""
    started = time.perf_counter()
    queue = MailQueue(directory, reactor=reactor)
    await queue.start()
    await queue.due((0.0, 0), time.time(), 500)
    result = {"start": time.perf_counter() - started, "memory": memory() / 2**20}
    await put(queue, 500)  # the first ones pay for what all the others use
    await take(queue, 500)
    turns = []
    for _ in range(TURNS):
        into = await measured(messages, lambda: put(queue, messages))
        turns.append((*into, *await measured(messages, lambda: take(queue, messages))))
    medians = map(statistics.median, zip(*turns, strict=True))
    result |= zip(("in CPU", "in", "out CPU", "out"), medians, strict=True)
    await queue.stop()
    result["most"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return result


if __name__ == "__main__":

    async def tell() -> None:
        """The figures, as JSON."""
        print(json.dumps(await measure(Path(sys.argv[1]), int(sys.argv[2]))))

    task.react(lambda _: Deferred.fromCoroutine(tell()))
