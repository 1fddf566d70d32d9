"""The other process of this server: there or away, found again by itself.

The one with the mailboxes listens at a socket in the data directory, which nobody else may enter; the one
with the queue connects to it, and tries again every RETRY seconds. Either may start first, and either may end
at any time. One connection carries everything in both directions: whoever is asked to deliver can bring mail
into the queue, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort
from twisted.internet.protocol import ClientFactory, Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mta.handover.link import Away, Link, Served

SOCKET = "handover"  # in the data directory
RETRY = 1.0  # seconds between two attempts to connect
PATIENCE = 10.0  # seconds for what is under way when this process stops
LONGEST_PATH = 107  # octets (`sockaddr_un` of Linux, without its NUL)


class PathTooLong(OSError):
    """No socket can have that name."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: the name of a socket may have {LONGEST_PATH} octets; give data_dir a shorter one"
        )


class Counterpart:
    """The base. `path` of the socket; `name`: of the other process, for the log. `serves`: what it may ask
    for, by name. `reactor` provides IReactorUNIX and IReactorTime."""

    log = Logger(namespace="twisted_mta.handover")

    def __init__(self, path: Path, *, name: str, reactor: Any) -> None:
        if len(bytes(path)) > LONGEST_PATH:
            raise PathTooLong(path)
        self.path = path
        self.serves: dict[str, Served] = {}
        self._name = name
        self._reactor = reactor
        self._link: Link | None = None
        self.times = 0  # that it has come
        self._came: list[Callable[[], None]] = []
        self._went: list[Callable[[], None]] = []
        self._waiting: list[Deferred[None]] = []
        self._stopped = False
        self._told = ""  # why it is not talked to; each attempt to connect ends so

    @property
    def is_there(self) -> bool:
        """Whether it can be asked."""
        return self._link is not None

    def watch(self, came: Callable[[], None] = lambda: None, went: Callable[[], None] = lambda: None) -> None:
        """Called whenever it is there again, and whenever it is not there any more: then before those hear
        of it who wait for an answer."""
        self._came.append(came)
        self._went.append(went)

    async def ask(self, name: str, argument: object, answer: Any = None) -> Any:
        """What it answers, of the type `answer`. Raises MailError, Away among them."""
        if self._link is None:
            raise Away()
        return await self._link.call(name, argument, answer)

    async def again(self, times: int, seconds: float | None = None) -> bool:
        """Whether it comes once more, after so many `times`; within that time, or else before this process
        stops."""
        if self.times == times and not self._stopped:
            coming: Deferred[None] = Deferred()
            self._waiting.append(coming)
            try:
                await (coming if seconds is None else coming.addTimeout(seconds, self._reactor))
            except TookTooLong:
                self._waiting.remove(coming)
        return self.times != times

    # For those that make the connection

    def _make(self) -> Link:
        return Link(self.serves, opened=self._opened, closed=self._closed)

    def _opened(self, link: Link) -> None:
        if (before := self._link) is not None:
            self._closed(before, "it has connected anew")
            before.cut("it has connected anew")
        self._link = link
        self._told = ""
        self.times += 1
        self.log.info("the process with the {name} is there", name=self._name)
        for came in self._came:
            came()
        self._tell_waiting()

    def _closed(self, link: Link, why: str) -> None:
        if not link.was_open and why != self._told:
            self._told = why
            self.log.error("the process with the {name} is not talked to: {why}", name=self._name, why=why)
        if link is not self._link:
            return
        self._link = None
        if not self._stopped:
            self.log.warn(
                "the process with the {name} is away{why}", name=self._name, why=f": {why}" if why else ""
            )
        for went in self._went:
            went()

    def _tell_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    async def _hang_up(self) -> None:
        """Once what the other side has asked for is done, or takes too long."""
        self._stopped = True
        self._tell_waiting()
        if (link := self._link) is not None:
            with contextlib.suppress(TookTooLong):
                await Deferred.fromCoroutine(link.finish()).addTimeout(PATIENCE, self._reactor)
            assert link.transport is not None
            link.transport.loseConnection()


class QueueProcess(Counterpart):
    """The process with the queue, seen from that with the mailboxes: it connects to us."""

    def __init__(self, path: Path, *, reactor: Any) -> None:
        """Raises PathTooLong."""
        super().__init__(path, name="queue", reactor=reactor)
        self._port: IListeningPort | None = None

    async def start(self) -> None:
        """Be there for it. A socket that is left over is removed: this process has the mailboxes alone.
        Raises OSError."""
        self.path.unlink(missing_ok=True)
        try:
            self._port = self._reactor.listenUNIX(str(self.path), _Listening(self._make), mode=0o600)
        except CannotListenError as error:
            raise OSError(str(error)) from error

    async def stop(self) -> None:
        """No more, and let what is under way end. Idempotent."""
        port, self._port = self._port, None
        if port is not None:
            stopped = port.stopListening()
            if isinstance(stopped, Deferred):
                await stopped
        await self._hang_up()


class MailboxProcess(Counterpart):
    """The process with the mailboxes, seen from that with the queue: we connect to it."""

    def __init__(self, path: Path, *, reactor: Any) -> None:
        """Raises PathTooLong."""
        super().__init__(path, name="mailboxes", reactor=reactor)
        self._again: IDelayedCall | None = None

    async def start(self) -> None:
        """Look for it, from now on. Nobody waits until it is there."""
        self._connect()

    async def stop(self) -> None:
        """No more, and let what is under way end. Idempotent."""
        if self._again is not None and self._again.active():
            self._again.cancel()
        await self._hang_up()

    def _connect(self) -> None:
        self._reactor.connectUNIX(str(self.path), _Connecting(self._make, self._ended))

    def _ended(self) -> None:
        if not self._stopped:
            self._again = self._reactor.callLater(RETRY, self._connect)


class _Listening(Factory):
    noisy = False

    def __init__(self, make: Callable[[], Link]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | UNIXAddress | None) -> Link:
        return self._make()


class _Connecting(ClientFactory):
    """`ended`: there is no connection, or not any more."""

    noisy = False

    def __init__(self, make: Callable[[], Link], ended: Callable[[], None]) -> None:
        self._make = make
        self._ended = ended

    def buildProtocol(self, addr: IAddress | UNIXAddress | None) -> Link:
        return self._make()

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self._ended()

    def clientConnectionLost(self, connector: Any, reason: Failure) -> None:
        self._ended()
