"""Word to the client while a command takes long (RFC 9585): `* OK [INPROGRESS ("tag" 500 20000)]`.

A command that answers as it goes calls `tell` between two responses. One that waits for the store waits
through `during`. Nothing is said before a command has taken INTERVAL seconds, so most say nothing at all.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from twisted_mta.protocol.imap4.responses import status_line

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

INTERVAL = 10.0  # seconds; RFC 9585 §4 asks for 10 to 15

T = TypeVar("T")


class Progress:
    """Of the command with that tag. `goal`: how much there is to do, None when that is not known."""

    __slots__ = ("_goal", "_last", "_session", "_tag", "_timer")

    def __init__(self, session: ImapSession, tag: str, goal: int | None = None) -> None:
        self._session = session
        self._tag = tag
        self._goal = goal
        self._last = session.access.reactor.seconds()

    def tell(self, done: int | None = None) -> None:
        """Say so, if it is time, that so much is done. Not within a response."""
        if self._session.access.reactor.seconds() - self._last >= INTERVAL:
            self._say(done)

    async def during(self, work: Awaitable[T]) -> T:
        """Wait for the work, in which nothing is written, and say so from time to time."""
        self._remind_later()
        try:
            return await work
        finally:
            self._timer.cancel()

    def _remind_later(self) -> None:
        self._timer = self._session.access.reactor.callLater(INTERVAL, self._remind)

    def _remind(self) -> None:
        self._say(None)
        self._remind_later()

    def _say(self, done: int | None) -> None:
        self._last = self._session.access.reactor.seconds()
        self._session.engine.write(self._line(done))
        self._session.flush()

    def _line(self, done: int | None) -> bytes:
        # A goal without progress is not in the grammar.
        goal = "NIL" if done is None or self._goal is None else str(self._goal)
        progress = "NIL" if done is None else str(done)
        return status_line("*", "OK", "Still working", f'INPROGRESS ("{self._tag}" {progress} {goal})')
