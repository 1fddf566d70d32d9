"""Queue ids: short, unique for ever, in the order of time, and free of accidental words.

A queue id is a number in base 30, always 13 digits: microseconds since the epoch and two random digits that
keep ids apart even if the clock was set back before a restart. The digits stand in ASCII order, so ids
sort as text as they do as numbers; there are no vowels, and no pair that differs in case only, because
an id is also a file name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from random import Random

_DIGITS = "0123456789BCDFGHJKLMNPQRSTVWXZ"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_PAIRS = [high + low for high in _DIGITS for low in _DIGITS]
_RANDOM = len(_PAIRS)  # two digits
LENGTH = 13  # digits; enough until the year 2294, when the number outgrows 63 bits


@lru_cache(maxsize=10_000)  # asked several times for each message, by the draft, the dispatcher and the log
def encode(number: int) -> str:
    """The queue id of a message number."""
    text = ""
    for _ in range(LENGTH // 2):
        text = _PAIRS[number % _RANDOM] + text
        number //= _RANDOM
    return _DIGITS[number] + text


def decode(queue_id: str) -> int:
    """The message number of a queue id, in either case. Raises ValueError when it is not one."""
    number = 0
    for digit in queue_id.upper():
        if digit not in _VALUES:
            raise ValueError(f"not a queue id: {queue_id!r}")
        number = number * 30 + _VALUES[digit]
    if len(queue_id) != LENGTH or number >= 2**63:
        raise ValueError(f"not a queue id: {queue_id!r}")
    return number


def number_at(seconds: float) -> int:
    """The least number of a message that arrived then, in seconds since the epoch, or later."""
    return max(0, int(seconds * 1e6)) * _RANDOM


class Numbers:
    """Numbers that only grow, for messages and for recipients; used from one thread.

    seconds: the clock, in seconds since the epoch. A clock that stands still or goes back is outrun.
    """

    def __init__(self, seconds: Callable[[], float], random: Random) -> None:
        self._seconds = seconds
        self._random = random
        self._last = 0

    def rise_above(self, message: int, recipient: int) -> None:
        """Never give out what is not greater than these numbers, which are in the queue already."""
        self._last = max(self._last, message // _RANDOM, recipient)

    def message(self) -> int:
        """A new message number; `encode` makes it the queue id."""
        return self.recipient() * _RANDOM + int(self._random.random() * _RANDOM)

    def recipient(self) -> int:
        """A new recipient number."""
        self._last = max(self._last + 1, int(self._seconds() * 1e6))
        return self._last
