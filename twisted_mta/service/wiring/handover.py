"""The two processes of a server, wired: what each of them is to the other."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from twisted_mta.handover.counterpart import SOCKET, MailboxProcess, PathTooLong, QueueProcess
from twisted_mta.handover.mailboxes import AWAY, Mailboxes, serve_mailboxes
from twisted_mta.handover.queue import RemoteQueue, serve_queue
from twisted_mta.message.status import MailError
from twisted_mta.service.commands import quota as quota_commands
from twisted_mta.service.in_queue import is_queued
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.wiring.access import AccessSide
from twisted_mta.service.wiring.house import House, Part
from twisted_mta.service.wiring.transfer import QueueDoor
from twisted_mta.service.wiring.ways import WAYS, QueueWays, remote
from twisted_mta.store.quota import UNLIMITED
from twisted_mta.transfer.mta.dispatch import Dispatcher

LOOK_AGAIN = (
    1.0  # seconds behind the return of the mailboxes: what was under way then has been put off by now
)


def queue_process(house: House) -> tuple[QueueProcess, QueueWays]:
    """For the process with the mailboxes. Raises ConfigError."""
    try:
        process = QueueProcess(house.data / SOCKET, reactor=house.reactor)
    except PathTooLong as error:
        raise ConfigError(f"data_dir: {error}") from error
    return process, remote(RemoteQueue(process))


def serve_access(process: QueueProcess, access: AccessSide) -> None:
    """What the process with the queue may ask for."""
    serve_mailboxes(process, local=access.deliverer, is_full=access.store.is_full, keep=access.own_junk.keep)


def mailbox_process(house: House, door: QueueDoor) -> tuple[MailboxProcess, Mailboxes]:
    """For the process with the queue. Raises ConfigError."""
    try:
        process = MailboxProcess(house.data / SOCKET, reactor=house.reactor)
    except PathTooLong as error:
        raise ConfigError(f"data_dir: {error}") from error

    async def has_limits(account: str) -> bool:
        await house.directory.refresh()
        return quota_commands.limits(house.config, house.directory.quota(account)) != UNLIMITED

    mailboxes = Mailboxes(process, reactor=house.reactor, has_limits=has_limits)
    serve_queue(
        process,
        ways={way: getattr(door.signing, way) for way in WAYS},
        new_id=door.queue.new_id,
        is_queued=partial(is_queued, door.queue),
        has_envelope=door.queue.has_envelope,
        has_recipient=door.queue.has_recipient,
    )
    return process, mailboxes


class GoOn:
    """Has the dispatcher go on with what was put off, as soon as the mailboxes are back."""

    log = Logger(namespace="twisted_mta.handover")

    def __init__(
        self, process: MailboxProcess, mailboxes: Mailboxes, dispatcher: Dispatcher, *, reactor: Any
    ) -> None:
        self._process = process
        self._mailboxes = mailboxes
        self._dispatcher = dispatcher
        self._reactor = reactor
        self._seen = -1  # of those that were put off; an earlier process may have left some
        process.watch(came=self._go_on)

    def _go_on(self) -> None:
        Deferred.fromCoroutine(self._look()).addErrback(
            lambda failure: self.log.failure("what waits for mailboxes cannot be seen to", failure=failure)
        )

    async def _look(self) -> None:
        while self._process.is_there and self._seen != self._mailboxes.put_off:
            seen = self._mailboxes.put_off
            if not await self._retry():
                return
            again: Deferred[None] = Deferred()
            self._reactor.callLater(LOOK_AGAIN, again.callback, None)
            await again
            if self._process.is_there and await self._retry():
                self._seen = seen

    async def _retry(self) -> bool:
        try:
            await self._dispatcher.retry(AWAY.text)
        except (sqlite3.Error, OSError, MailError) as error:
            self.log.error("what waits for mailboxes is tried again later: {error}", error=error)
            return False
        return True


class OnceThere:
    """A part that is started when the other process is there for the first time, and needs it for that."""

    log = Logger(namespace="twisted_mta.handover")

    def __init__(self, process: QueueProcess, part: Part) -> None:
        self._part = part
        self._begun: Deferred[bool] | None = None
        self._stopped = False
        process.watch(came=self._begin)

    async def start(self) -> None:
        """Nobody waits for it."""

    async def stop(self) -> None:
        """If it has started, or as soon as it has."""
        self._stopped = True
        if self._begun is not None and await self._begun:
            await self._part.stop()

    def _begin(self) -> None:
        if self._begun is None and not self._stopped:
            self._begun = Deferred.fromCoroutine(self._start())

    async def _start(self) -> bool:
        try:
            await self._part.start()
        except Exception:
            self.log.failure("{part} cannot start, what needs it is refused", part=type(self._part).__name__)
            return False
        return True
