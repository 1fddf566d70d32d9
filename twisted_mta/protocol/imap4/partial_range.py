"""A window on a result: `1:100` from its beginning, `-1:-100` from its end (RFC 5267 §4.4, RFC 9394)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from twisted_mta.protocol.imap4.grammar import Cursor
from twisted_mta.protocol.imap4.sequence_set import MAX_NUMBER

_RANGE = re.compile(rb"(-?)([1-9][0-9]{0,9}):\1([1-9][0-9]{0,9})(?![0-9])")

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class PartialRange:
    """`low` to `high`, counted from 1, from the end when `backwards`. `text` is how the client wrote it,
    which goes back with the answer."""

    text: bytes
    low: int
    high: int
    backwards: bool

    def within(self, count: int) -> range:
        """The positions (from 0) that are meant among `count` results; empty when there are none."""
        low, high = self.low - 1, self.high
        if self.backwards:
            low, high = count - self.high, count - low
        return range(max(low, 0), max(min(high, count), 0))

    def of(self, results: Sequence[Value]) -> Sequence[Value]:
        """The part of the results that is in the window, in their order."""
        wanted = self.within(len(results))
        return results[wanted.start : wanted.stop]


def parse_partial_range(cursor: Cursor) -> PartialRange:
    """`partial-range` at the cursor. Raises CommandError."""
    found = _RANGE.match(cursor.data, cursor.position)
    if found is None:
        cursor.fail("a range such as 1:500 or -1:-500")
    cursor.position = found.end()
    low, high = sorted((int(found[2]), int(found[3])))
    if high > MAX_NUMBER:
        cursor.fail("a 32-bit number")
    return PartialRange(found[0], low, high, bool(found[1]))
