"""What commands ask of a running server through files: it looks for them, and does one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

LOOK = 1.0  # seconds between two looks of the server

T = TypeVar("T")


class RequestLooks:
    """The base of those who look for requests of one kind. `stopped`: they look no more."""

    log = Logger(namespace="twisted_mta.service")

    def __init__(self, *, reactor: Any) -> None:
        self._reactor = reactor
        self._looks = task.LoopingCall(self._look)
        self._looks.clock = reactor
        self.stopped = False

    def requested(self) -> list[str]:
        """The accounts for which there is a request. Blocks; raises OSError."""
        raise NotImplementedError

    async def do(self, account: str) -> None:
        """Do what is asked."""
        raise NotImplementedError

    async def start(self) -> None:
        """From now on look for requests."""
        self._looks.start(LOOK, now=True).addErrback(
            lambda failure: self.log.failure("{looks} are not looked for", looks=self, failure=failure)
        )

    async def stop(self) -> None:
        """Look no more; what is under way ends with the store, and its request stays."""
        self.stopped = True
        if self._looks.running:
            self._looks.stop()

    def in_thread(self, work: Callable[[], T]) -> Deferred[T]:
        """Blocking work, beside the reactor."""
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work)

    def _look(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._do_requests())

    async def _do_requests(self) -> None:
        try:
            accounts = await self.in_thread(self.requested)
        except OSError as error:  # no descriptor is left, say: the next look will tell
            self.log.error("requests cannot be looked for: {error}", error=str(error))
            return
        for account in accounts:
            if not self.stopped:
                await self.do(account)
