"""The values that grow while the server works: plain integers, cheap enough for every message and command.

Whoever counts something owns its value and adds to it in one thread; it is read in any.

Left out on purpose: `prometheus_client`. Its `labels(…).inc()` takes eight times as long as an entry in a
dict, for locks that are not needed here, and what it would save is the forty lines of `exposition.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Sequence
from typing import Final, Generic, TypeVar

OTHER: Final = "other"
_MOST = 100  # values of one kind

K = TypeVar("K", bound=Hashable)


class Counts(Generic[K]):
    """Integers by what they count, at most so many; `rest` is that of all others. So nothing a stranger may
    choose takes memory, or makes of one series a thousand."""

    __slots__ = ("_most", "by", "rest")

    def __init__(self, most: int = _MOST) -> None:
        self.by: dict[K, int] = {}
        self.rest = 0
        self._most = most

    def add(self, key: K, amount: int = 1) -> None:
        """Count it."""
        if key in self.by:
            self.by[key] += amount
        elif len(self.by) < self._most:
            self.by[key] = amount
        else:
            self.rest += amount


class Histogram:
    """How often something was how much: `counts` between the `bounds`, each of which belongs to what is below
    it, and `sum` of all."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` ascend."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


# In seconds.
WORK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WAITS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
