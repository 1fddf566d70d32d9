"""A set of numbers that come in long runs, as ranges."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator


class Ranges:
    """Ranges (first, last), both ends included. Made from ranges in ascending order that do not overlap."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self._firsts.append(first)
            self._lasts.append(last)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._firsts, self._lasts, strict=True)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]

    def within(self, numbers: Collection[int]) -> set[int]:
        """Those of the numbers that are in here; a set of which all are comes back itself."""
        if not numbers or not self._firsts:
            return set()
        low, high = min(numbers), max(numbers)
        at = bisect_right(self._firsts, low) - 1
        if at >= 0 and high <= self._lasts[at]:  # the usual case: one range has them all
            return numbers if isinstance(numbers, set) else set(numbers)
        return {number for number in numbers if number in self}

    def add(self, first: int, last: int) -> None:
        """Take a range in; it may touch or overlap those that are there."""
        start = bisect_right(self._firsts, first)
        if start and self._lasts[start - 1] >= first - 1:
            start -= 1
        end = bisect_right(self._firsts, last + 1)
        if start < end:
            first, last = min(first, self._firsts[start]), max(last, self._lasts[end - 1])
        self._firsts[start:end] = [first]
        self._lasts[start:end] = [last]

    def gaps(self, first: int, last: int) -> list[tuple[int, int]]:
        """What of this range is missing, the highest first."""
        missing = []
        for begin, end in reversed(list(self)):
            if begin > last:
                continue
            if end < first:
                break
            if end < last:
                missing.append((end + 1, last))
            last = begin - 1
        if first <= last:
            missing.append((first, last))
        return missing
