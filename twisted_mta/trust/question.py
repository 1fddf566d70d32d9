"""A question that is under way while the dialog goes on, with an answer in bounded time."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

T = TypeVar("T")


class Question(Generic[T]):
    """Asked at once. `answer` is `otherwise` until there is one, and when there is none after `seconds`; it
    took `took` seconds. Who is asked is not interrupted: work in threads would go on all the same, and must
    go on being counted."""

    def __init__(
        self, asked: Coroutine[Deferred[Any], Any, T], otherwise: T, *, reactor: IReactorTime, seconds: float
    ) -> None:
        self.answer = otherwise
        self.open = True
        self.took = 0.0
        self._reactor = reactor
        self._began = reactor.seconds()
        self._waiting: list[Deferred[None]] = []
        self._limit: IDelayedCall | None = None
        try:
            waiting_for = asked.send(None)
        except StopIteration as done:  # most is answered from memory: at once, without any machinery
            self.answer, self.open = done.value, False
            self.took = reactor.seconds() - self._began
            return
        except Exception:
            self.close()
            return
        rest = Deferred.fromCoroutine(_resumed(asked, waiting_for))
        rest.addCallbacks(self._answered, self._failed)
        if self.open:
            self._limit = reactor.callLater(seconds, self.close)

    async def known(self) -> T:
        """The answer, as soon as there is one, or time is up."""
        if self.open:
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            await waiter
        return self.answer

    async def within(self, seconds: float) -> T | None:
        """The answer, as soon as there is one; None when there is none by then, though there may be later."""
        if self.open:
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            limit = self._reactor.callLater(seconds, self._leave, waiter)
            await waiter
            if limit.active():
                limit.cancel()
        return None if self.open else self.answer

    def hurry(self, seconds: float) -> None:
        """No more time than this from now on."""
        limit = self._limit
        if limit is not None and self.open and limit.getTime() > self._reactor.seconds() + seconds:
            limit.reset(seconds)

    def close(self) -> None:
        """Wait no longer: it counts as if the answer had not come. Idempotent."""
        if not self.open:
            return
        self.open = False
        self.took = self._reactor.seconds() - self._began
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def _leave(self, waiter: Deferred[None]) -> None:
        self._waiting.remove(waiter)
        waiter.callback(None)

    def _answered(self, answer: T) -> None:
        if self.open:
            self.answer = answer
            self.close()

    def _failed(self, failure: Failure) -> None:
        self.close()


@coroutine
def _resumed(
    begun: Coroutine[Deferred[Any], Any, T], waiting_for: Deferred[Any]
) -> Generator[Deferred[Any], Any, T]:
    """The rest of a coroutine that has run until it waits."""
    while True:
        try:
            answer = yield waiting_for
        except GeneratorExit:  # nobody will ever answer
            begun.close()
            raise
        except BaseException as error:
            throw, what = True, error
        else:
            throw, what = False, answer
        try:
            waiting_for = begun.throw(what) if throw else begun.send(what)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
