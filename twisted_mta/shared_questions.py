"""Questions to others that several sessions have at the same time: asked once, answered to all, so many at
most."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

K = TypeVar("K")
T = TypeVar("T")


class TooManyQuestions(Exception):
    """Nobody can be asked at the moment."""


class SharedQuestions(Generic[K, T]):
    """`most` different ones at the same time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[K, list[Deferred[T]]] = {}

    def asking(self, key: K) -> bool:
        """True while the question is being asked."""
        return key in self._waiting

    async def ask(self, key: K, question: Callable[[], Awaitable[T]]) -> T:
        """The answer to the question that is being asked under this key already, or else to this one. Who
        goes away does not take it from the others. Raises what it raises; TooManyQuestions."""
        answer: Deferred[T] = Deferred()
        if key in self._waiting:
            self._waiting[key].append(answer)
        elif len(self._waiting) < self._most:
            self._waiting[key] = [answer]
            Deferred.fromCoroutine(self._ask(key, question))
        else:
            raise TooManyQuestions("too many questions at the same time")
        return await answer

    async def _ask(self, key: K, question: Callable[[], Awaitable[T]]) -> None:
        try:
            answer = await question()
        except Exception as error:
            for waiter in self._waiting.pop(key):
                waiter.errback(error)
        else:
            for waiter in self._waiting.pop(key):
                waiter.callback(answer)
