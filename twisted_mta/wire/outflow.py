"""Back-pressure for who writes: wait until the peer has taken enough (Twisted's push producers)."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer


@implementer(IPushProducer)
class Outflow:
    """To be registered with a transport as a streaming producer; writers await `drained`. `changed` is called
    whenever `full` may have changed."""

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self.full = False  # the peer does not take what is written
        self._changed = changed
        self._waiting: list[Deferred[None]] = []

    def pauseProducing(self) -> None:
        self.full = True
        self._changed()

    def resumeProducing(self) -> None:
        self.full = False
        self._changed()
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def stopProducing(self) -> None:
        self.resumeProducing()

    async def drained(self) -> None:
        """Returns at once unless the transport's buffer is full; returns, too, when the peer is gone."""
        if self.full:
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            await waiter
