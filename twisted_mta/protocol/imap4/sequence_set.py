"""Sequence sets: `2,4:7,9,12:*` (RFC 3501 §9 sequence-set), for sequence numbers and for UIDs alike, and `$`,
the result that a SEARCH has saved (RFC 5182).

The work grows with the number of ranges as written plus the number of messages selected, never with
the width of a range, so that `1:4294967295` is cheap.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twisted_mta.protocol.imap4.grammar import CommandError, Cursor

STAR = 0  # stands for "*": zero is not a valid sequence number or UID
MAX_NUMBER = 0xFFFFFFFF

MAX_RANGES = 20_000  # in one command; more of them would hold up the other sessions

_NUMBER = rb"(?:[1-9][0-9]{0,9}|\*)"
_RANGE = rb"%b(?::%b)?" % (_NUMBER, _NUMBER)
_SET = re.compile(rb"%b(?:,%b)*+(?![0-9*:,])" % (_RANGE, _RANGE))


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """`ranges` as written: (first, last) in either order, STAR for "*". None at all is SAVED."""

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
        """The positions (from 0) meant by sequence numbers in a view of `count` messages. Not for SAVED.

        Raises CommandError for a number that no message has (RFC 3501 §9, seq-number).
        """
        resolved = self.resolve(count)
        if resolved[0][0] < 1 or resolved[-1][1] > count:
            raise CommandError("No such message sequence number")
        return [range(low - 1, high) for low, high in resolved]

    def positions_of_uids(self, uids: Sequence[int], count: int) -> list[range]:
        """The positions (from 0) among the first `count` of the ascending `uids` that the set names.
        UIDs that do not exist are passed over (RFC 3501 §6.4.8). Not for SAVED."""
        if not count:
            return []
        positions = []
        resolved = self.resolve(uids[count - 1])
        # Many sets name far more UIDs than there are.
        begin = max(bisect_left(resolved, (uids[0],)) - 1, 0)
        end = bisect_right(resolved, (uids[count - 1], MAX_NUMBER))
        for low, high in resolved[begin:end]:
            start = bisect_left(uids, low, 0, count)
            stop = bisect_right(uids, high, start, count)
            if start < stop:
                positions.append(range(start, stop))
        return positions


SAVED = SequenceSet(())  # `$`: the messages that the last SEARCH RETURN (SAVE) has found (RFC 5182)


def parse_sequence_set(cursor: Cursor) -> SequenceSet:
    """`sequence-set` at the cursor; SAVED for `$`. Raises CommandError."""
    if cursor.accept(b"$"):
        return SAVED
    text = cursor.match(_SET, "a sequence set")
    cursor.ranges += text.count(b",") + 1
    if cursor.ranges > MAX_RANGES:
        raise CommandError("Too many ranges in a set", condition="NO", code="LIMIT")
    text = text.replace(b"*", b"0")  # STAR
    elements = text.split(b",")
    if b":" in text:
        ranges = tuple([(int(first), int(last or first)) for first, _, last in map(_halves, elements)])
    else:
        numbers = list(map(int, elements))
        ranges = tuple(zip(numbers, numbers, strict=True))
    if max(map(max, ranges)) > MAX_NUMBER:
        raise CommandError("Syntax error: expected a 32-bit number")
    return SequenceSet(ranges)


def _halves(element: bytes) -> tuple[bytes, bytes, bytes]:
    return element.partition(b":")


def parse_known_set(cursor: Cursor) -> SequenceSet:
    """A sequence set of numbers alone, neither "*" nor "$" (RFC 7162 §7 known-uids). Raises CommandError."""
    numbers = parse_sequence_set(cursor)
    if numbers == SAVED or any(STAR in pair for pair in numbers.ranges):
        cursor.fail("numbers and ranges of numbers")
    return numbers


def render_uids(uids: Iterable[int]) -> str:
    """Numbers in the order given as a set (RFC 4315 §4 uid-set): runs of consecutive ones become ranges."""
    pairs: list[tuple[int, int]] = []
    first = last = 0
    for uid in uids:
        if last and uid == last + 1:
            last = uid
            continue
        if last:
            pairs.append((first, last))
        first = last = uid
    if last:
        pairs.append((first, last))
    return render_ranges(pairs)


def render_ranges(pairs: Iterable[tuple[int, int]]) -> str:
    """(first, last) pairs as a set."""
    return ",".join([f"{first}:{last}" if last > first else str(first) for first, last in pairs])


def without(ranges: Iterable[tuple[int, int]], numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending disjoint (low, high) pairs less the ascending `numbers`, as such pairs again."""
    left = []
    for low, high in ranges:
        for position in range(bisect_left(numbers, low), bisect_right(numbers, high)):
            number = numbers[position]
            if low < number:
                left.append((low, number - 1))
            low = number + 1
        if low <= high:
            left.append((low, high))
    return left
