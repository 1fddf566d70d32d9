"""Long work that lets the others have their turn."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime


async def breathe(reactor: IReactorTime) -> None:
    """Let the reactor serve everybody else, then go on."""
    turn: Deferred[None] = Deferred()
    reactor.callLater(0, turn.callback, None)
    await turn
