"""What is counted, put together from all parts of the server; and whether it is well: the pages of
listen.metrics.

Most of it is read as it is. The queue is counted at most every QUEUE_EVERY seconds, and for no more than
a hundredth of the time, together with what is asked of the disk.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults, succeed
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from twisted_mta.directory.directory import Directory
from twisted_mta.message.networks import LOOPBACK, within
from twisted_mta.metrics import process
from twisted_mta.metrics.exposition import (
    CONTENT_TYPE,
    Family,
    Labels,
    counter,
    exposition,
    gauge,
    histogram,
)
from twisted_mta.metrics.mail import MailCounts
from twisted_mta.queue.figures import QueueFigures
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.queue.reserve import reserve
from twisted_mta.service.certificate import Certificates
from twisted_mta.service.options.config import Config
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mta.dispatch import Dispatcher
from twisted_mta.web.listener import WebListener
from twisted_mta.web.metrics_page import Answer, private_door
from twisted_mta.wire.admission import Verdict
from twisted_mta.wire.listener import Listener
from twisted_mta.wire.load import Load

QUEUE_EVERY = 10.0  # seconds
_SHARE = 100  # times as long as it took it is not counted again
PATIENCE = 4.0  # seconds for the disk and the databases to answer
MOST_CONNECTIONS = 50
NOTHING_WRONG = b"ok\n"


@dataclass(frozen=True, slots=True)
class _Disk:
    """Octets of the file system that the data directory is on."""

    size: int
    free: int


@dataclass(frozen=True, slots=True)
class _Sample:
    """What was found at `when`, by the clock that only goes forward."""

    when: float
    queue: QueueFigures | None
    disk: _Disk


def check_names(config: Config) -> set[str]:
    """Of everything that has a say in what becomes of a message, as the journey calls it."""
    ours = ("traps", "senders", "dnsbl", "greylist", "bimi", "rspamd", "clamav", "spamd", "hook")
    return {*ours, *config.filters.milters}


class Watch:
    """What the pages say. `listeners` by the name of their service. What is in another process of the server
    is None, and that one's to tell of."""

    log = Logger(namespace="twisted_mta.metrics")

    def __init__(
        self,
        config: Config,
        *,
        mail: MailCounts,
        queue: MailQueue | None,
        store: MessageStore | None,
        directory: Directory,
        dispatcher: Dispatcher | None,
        certificates: Certificates,
        load: Load,
        listeners: Mapping[str, Listener | WebListener],
        reactor: Any,
    ) -> None:
        self._data = Path(config.data_dir)
        self._networks = tuple(each.network for each in config.metrics.networks)
        self._mail = mail
        self._queue = queue
        self._store = store
        self._directory = directory
        self._dispatcher = dispatcher
        self._certificates = certificates
        self._load = load
        self._listeners = listeners
        self._reactor = reactor
        self._sample: _Sample | None = None  # the last that could be taken
        self._sampling = False
        self._next_sample = float("-inf")

    def listener(self) -> WebListener:
        """Where the pages are."""
        return WebListener(
            private_door(metrics=self.metrics, health=self.health, ready=self.ready),
            reactor=self._reactor,
            secure=False,
            tls_context=None,
            max_connections=MOST_CONNECTIONS,
            max_connections_per_host=MOST_CONNECTIONS,
            admission=self._admit,
        )

    def _admit(self, host: str) -> Verdict:
        return Verdict.WELCOME if within(host, (*LOOPBACK, *self._networks)) else Verdict.BANNED

    # The pages

    async def metrics(self) -> Answer:
        """Everything that is counted."""
        families = [*self._sessions(), *self._mail.families()]
        if self._queue is not None:
            writable = not await self._queue_trouble(self._queue)
            families.append(
                gauge("mta_queue_writable", "1: mail can be taken in; 0: /health says why not.", writable)
            )
        await self._look()
        families += [*self._waiting(), *self._house(), *process.families()]
        return Answer(exposition(families), media_type=CONTENT_TYPE)

    async def health(self) -> Answer:
        """Whether it can take mail in and knows its accounts."""
        return _verdict(await self._troubles())

    async def ready(self) -> Answer:
        """Whether it can, and has time for it."""
        troubles = await self._troubles()
        if self._load.overloaded:
            troubles.append(f"{self._load.lag:.1f} s behind: new clients are sent away")
        return _verdict(troubles)

    async def _troubles(self) -> list[str]:
        """Sentences; none: all is well. That there is an answer says that the reactor turns."""
        found = [await self._bounded("the directory of accounts", self._directory_trouble())]
        if self._queue is not None:
            found.insert(0, await self._queue_trouble(self._queue))
        return [trouble for trouble in found if trouble]

    async def _queue_trouble(self, queue: MailQueue) -> str:
        return await self._bounded("the queue", queue.trouble())

    async def _directory_trouble(self) -> str:
        await self._directory.refresh()
        return ""

    async def _bounded(self, name: str, asked: Awaitable[str]) -> str:
        try:
            return await _coroutine(asked).addTimeout(PATIENCE, self._reactor)
        except TookTooLong:
            return f"{name} does not answer within {PATIENCE:g} s"
        except Exception as error:
            return f"{name} does not answer: {error}"

    # What is counted

    def _sessions(self) -> list[Family]:
        now: dict[Labels, int | float] = {}
        opened: dict[Labels, int | float] = {}
        sent_away: dict[Labels, int | float] = {}
        commands: dict[Labels, int | float] = {}
        replies: dict[Labels, int | float] = {}
        for service, listener in self._listeners.items():
            own = ("service", service)
            if not isinstance(listener, Listener):
                now[(own,)] = len(listener.protocols)
                continue
            tally = listener.tally
            now[(own,)], opened[(own,)] = len(listener.connections), tally.opened
            for by, name, values in (
                (sent_away, "why", tally.sent_away),
                (commands, "verb", tally.commands),
                (replies, "reply", tally.replies),
            ):
                by |= {(own, (name, key)): value for key, value in values.items()}
        return [
            gauge("mta_sessions", "Connections of clients.", now),
            counter("mta_sessions_total", "Sessions that have begun.", opened),
            counter("mta_sessions_refused_total", "Clients that got no session.", sent_away),
            counter("mta_commands_total", "Commands of clients.", commands),
            counter("mta_replies_total", "Replies to them, by code or condition.", replies),
        ]

    def _waiting(self) -> list[Family]:
        if self._queue is None or self._dispatcher is None:
            return []
        found = [
            histogram("mta_queue_commit_seconds", "Transactions of the queue.", self._queue.commits),
            counter(
                "mta_queue_committed_total", "Messages and outcomes in them.", {(): self._queue.committed}
            ),
        ]
        local, remote = self._dispatcher.running
        running: dict[Labels, int | float] = {(("to", "mailbox"),): local, (("to", "host"),): remote}
        found.append(gauge("mta_deliveries_running", "Attempts under way.", running))
        if self._sample is not None and self._sample.queue is not None:
            figures = self._sample.queue
            recipients: dict[Labels, int | float] = {
                (("state", state), ("age", age)): count for (state, age), count in figures.recipients.items()
            }
            found += [
                gauge("mta_queue_recipients", "Recipients in the queue, by the message's age.", recipients),
                gauge("mta_queue_oldest_seconds", "Age of the oldest message in the queue.", figures.oldest),
            ]
        return found

    def _house(self) -> list[Family]:
        found = [
            gauge("mta_info", "The version that runs.", {(("version", _version()),): 1}),
            gauge("mta_reactor_lag_seconds", "How far behind the reactor is now.", self._load.lag),
            histogram("mta_reactor_lags_seconds", "The same, four times a second.", self._load.lags),
        ]
        if self._store is not None:
            waiting = self._store.waiting
            found.append(gauge("mta_store_waiting", "Work on mailboxes that waits for a thread.", waiting))
            if (took := self._store.took) is not None:
                found.append(histogram("mta_store_work_seconds", "Work on mailboxes, in threads.", took))
        if self._sample is not None:
            disk = self._sample.disk
            found += [
                gauge("mta_disk_free_bytes", "Free on the disk with the data directory.", disk.free),
                gauge("mta_disk_size_bytes", "The size of that disk.", disk.size),
                gauge(
                    "mta_disk_reserve_bytes", "When no more is free, no mail is accepted.", reserve(disk.size)
                ),
            ]
            age = time.monotonic() - self._sample.when
            found.append(gauge("mta_sampled_seconds", "Age of what is said of queue and disk.", age))
        if (shown := self._certificates.shown) is not None:
            now = datetime.datetime.now(datetime.UTC)
            left: dict[Labels, int | float] = {
                (("certificate", (*pair.names, pair.path.name)[0]),): (pair.expires - now).total_seconds()
                for pair in shown.pairs
            }
            found.append(gauge("mta_certificate_left_seconds", "Until a certificate expires.", left))
        return found

    # What takes longer

    async def _look(self) -> None:
        """Have a new sample, when it is time. Who asks meanwhile gets the old one."""
        began = time.monotonic()
        if self._sampling or began < self._next_sample:
            return
        self._sampling = True
        try:
            asked = gatherResults(
                [
                    _coroutine(self._queue.figures()) if self._queue is not None else succeed(None),
                    deferToThreadPool(self._reactor, self._reactor.getThreadPool(), _disk, self._data),
                ],
                consumeErrors=True,
            )
            queue, disk = await asked.addTimeout(PATIENCE, self._reactor)
            self._sample = _Sample(began, queue, disk)
        except (TookTooLong, FirstError, CancelledError) as error:
            self.log.warn("queue and disk could not be looked at: {error}", error=error)
        finally:
            self._sampling = False
            ended = time.monotonic()
            self._next_sample = ended + max(QUEUE_EVERY, _SHARE * (ended - began))


def _coroutine(asked: Awaitable[Any]) -> Deferred[Any]:
    async def answer() -> Any:
        return await asked

    return Deferred.fromCoroutine(answer())


def _disk(path: Path) -> _Disk:
    found = os.statvfs(path)
    return _Disk(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


def _verdict(troubles: list[str]) -> Answer:
    if not troubles:
        return Answer(NOTHING_WRONG)
    return Answer("".join(f"{trouble}\n" for trouble in troubles).encode("utf-8", "replace"), 503)


def _version() -> str:
    try:
        return version("twisted-mta")
    except PackageNotFoundError:
        return "unknown"
