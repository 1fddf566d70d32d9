"""Word to the client while a command takes long (RFC 9585): `* OK [INPROGRESS ("tag" 500 20000)]`.

A command that answers as it goes calls `tell` between two responses. One that waits for the store waits
through `during`. Nothing is said before a command has taken INTERVAL seconds, so most say nothing at all:
all those that wait at a time share a timer, which looks at them every second.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_mta.protocol.imap4.responses import status_line
from twisted_mta.steady import steady_seconds

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

INTERVAL = 10.0  # seconds; RFC 9585 §4 asks for 10 to 15
LOOK = 1.0  # seconds between two looks at the commands that wait

T = TypeVar("T")


class Reminders:
    """The commands of all sessions of a server that wait for the store. `seconds`: the clock for them."""

    def __init__(self, reactor: IReactorTime) -> None:
        self.seconds = steady_seconds(reactor)
        self._reactor = reactor
        self._waiting: set[Progress] = set()
        self._next: IDelayedCall | None = None

    def add(self, progress: Progress) -> None:
        """Its command waits from now on."""
        self._waiting.add(progress)
        if self._next is None:
            self._next = self._reactor.callLater(LOOK, self._look)

    def discard(self, progress: Progress) -> None:
        """It waits no more."""
        self._waiting.discard(progress)
        if not self._waiting and self._next is not None:
            self._next.cancel()
            self._next = None

    def _look(self) -> None:
        self._next = self._reactor.callLater(LOOK, self._look)
        for progress in list(self._waiting):
            progress.tell()


class Progress:
    """Of the command with that tag. `goal`: how much there is to do, None when that is not known."""

    __slots__ = ("_goal", "_last", "_reminders", "_session", "_tag")

    def __init__(self, session: ImapSession, tag: str, goal: int | None = None) -> None:
        self._session = session
        self._tag = tag
        self._goal = goal
        self._reminders = session.access.reminders
        self._last = self._reminders.seconds()

    def tell(self, done: int | None = None) -> None:
        """Say so, if it is time, that so much is done. Not within a response."""
        now = self._reminders.seconds()
        if now - self._last >= INTERVAL:
            self._last = now
            self._session.engine.write(self._line(done))
            self._session.flush()

    async def during(self, work: Awaitable[T]) -> T:
        """Wait for the work, in which nothing is written, and say so from time to time."""
        self._reminders.add(self)
        try:
            return await work
        finally:
            self._reminders.discard(self)

    def _line(self, done: int | None) -> bytes:
        # A goal without progress is not in the grammar.
        goal = "NIL" if done is None or self._goal is None else str(self._goal)
        progress = "NIL" if done is None else str(done)
        return status_line("*", "OK", "Still working", f'INPROGRESS ("{self._tag}" {progress} {goal})')
