"""Sequence sets: `2,4:7,9,12:*` (RFC 3501 §9 sequence-set), for sequence numbers and for UIDs alike.

The work grows with the number of ranges as written plus the number of messages selected, never with
the width of a range, so that `1:4294967295` and a hundred thousand ranges are both cheap.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twisted_mta.protocol.imap4.grammar import CommandError, Cursor

STAR = 0  # stands for "*": zero is not a valid sequence number or UID
MAX_NUMBER = 0xFFFFFFFF

_TOKEN = re.compile(rb"[0-9*:,]+")
_ELEMENT = re.compile(rb"([1-9][0-9]{0,9}|\*)(?::([1-9][0-9]{0,9}|\*))?")


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """`ranges` as written: (first, last) in either order, STAR for "*"."""

    ranges: tuple[tuple[int, int], ...]

    def resolve(self, largest: int) -> list[tuple[int, int]]:
        """Ascending disjoint (low, high) pairs, "*" being `largest`."""
        pairs = []
        for first, last in self.ranges:
            low, high = first or largest, last or largest
            pairs.append((low, high) if low <= high else (high, low))
        pairs.sort()
        merged: list[tuple[int, int]] = []
        for low, high in pairs:
            if merged and low <= merged[-1][1] + 1:
                if high > merged[-1][1]:
                    merged[-1] = (merged[-1][0], high)
            else:
                merged.append((low, high))
        return merged

    def positions_of_numbers(self, count: int) -> list[range]:
        """The positions (from 0) meant by sequence numbers in a view of `count` messages.

        Raises CommandError for a number that no message has (RFC 3501 §9, seq-number).
        """
        resolved = self.resolve(count)
        if resolved[0][0] < 1 or resolved[-1][1] > count:
            raise CommandError("No such message sequence number")
        return [range(low - 1, high) for low, high in resolved]

    def positions_of_uids(self, uids: Sequence[int], count: int) -> list[range]:
        """The positions (from 0) among the first `count` of the ascending `uids` that the set names.
        UIDs that do not exist are passed over (RFC 3501 §6.4.8)."""
        if not count:
            return []
        positions = []
        for low, high in self.resolve(uids[count - 1]):
            start = bisect_left(uids, low, 0, count)
            stop = bisect_right(uids, high, start, count)
            if start < stop:
                positions.append(range(start, stop))
        return positions


def parse_sequence_set(cursor: Cursor) -> SequenceSet:
    """`sequence-set` at the cursor. Raises CommandError."""
    ranges = []
    for element in cursor.match(_TOKEN, "a sequence set").split(b","):
        found = _ELEMENT.fullmatch(element)
        if found is None:
            cursor.fail("a sequence set")
        first = _number(found[1])
        ranges.append((first, first if found[2] is None else _number(found[2])))
    return SequenceSet(tuple(ranges))


def _number(text: bytes) -> int:
    number = STAR if text == b"*" else int(text)
    if number > MAX_NUMBER:
        raise CommandError("Syntax error: expected a 32-bit number")
    return number


def render_uids(uids: Iterable[int]) -> str:
    """UIDs in the order given as a uid-set (RFC 4315 §4): runs of consecutive UIDs become ranges."""
    parts: list[str] = []
    first = last = 0
    for uid in uids:
        if last and uid == last + 1:
            last = uid
            continue
        if last:
            parts.append(f"{first}:{last}" if last > first else str(first))
        first = last = uid
    if last:
        parts.append(f"{first}:{last}" if last > first else str(first))
    return ",".join(parts)
