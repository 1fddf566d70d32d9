"""So many at the same time; who comes then waits, first come, first served."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred, succeed


class Turns:
    """`most` of them are out at the same time."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: deque[Deferred[None]] = deque()
        self._handing_on = False

    def take(self) -> Deferred[None]:
        """Fires when it is one's turn, which must be given back. Who no longer wants one cancels."""
        if self._free:
            self._free -= 1
            return succeed(None)
        turn: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(turn)
        return turn

    def give_back(self) -> None:
        """The next one's turn. However many give theirs back in no time: they are called one after the other,
        not one within the other."""
        self._free += 1
        if self._handing_on:
            return
        self._handing_on = True
        while self._free and self._waiting:
            self._free -= 1
            self._waiting.popleft().callback(None)
        self._handing_on = False
