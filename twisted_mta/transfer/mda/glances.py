"""What stands beside an account's mail, as of a moment ago.

Mail comes in bursts, and each look at the disk gives the interpreter to another thread: the first message of
a burst would be written down alone, while the others wait for their turn to look."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")

MOMENT = 0.0005  # seconds; less than it takes to deliver one message and to change something before the next


class Glances(Generic[T]):
    """look: at one account; quick, may raise OSError. seconds: a clock that nobody sets."""

    def __init__(self, look: Callable[[str], T], seconds: Callable[[], float] = monotonic) -> None:
        self._look = look
        self._seconds = seconds
        self._seen: dict[str, T] = {}
        self._until = 0.0

    def at(self, account: str) -> T:
        """What the last look at the account has found, if that was a moment ago; what one finds now, else."""
        now = self._seconds()
        if now >= self._until:
            self._seen.clear()
            self._until = now + MOMENT
        if account not in self._seen:
            self._seen[account] = self._look(account)
        return self._seen[account]
