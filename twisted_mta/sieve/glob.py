"""Patterns with `*` and `?` (RFC 5228 §2.7.1), with what each wildcard stood for (RFC 5229 §3.2).

The first star takes the least it can, then the second, and so on, which is also what RFC 5229 wants them to
have taken. Text between two stars is found in linear time. With a `?` in it, it may take as long as the text
times the pattern: it is searched for in slices, and between them whoever asked may end it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

MAX_PATTERN = 10_000  # characters
_MOST_KEPT = 256  # characters of a pattern that is kept ready
_SLICE = 1_000_000  # comparisons of characters without a pause
_ANY = re.compile(r"\\(.)|([*?])|([^\\*?]+|\\\Z)", re.DOTALL)


def _go_on() -> None:
    pass


class Glob:
    """A pattern, folded already; see `match`."""

    def __init__(self, pattern: str) -> None:
        self._segments: list[_Segment] = []
        pieces: list[str | None] = []  # of the segment; None for a `?`
        for escaped, wildcard, literal in _ANY.findall(pattern):
            if wildcard == "*":
                self._segments.append(_Segment(pieces))
                pieces = []
            else:
                pieces.append(None if wildcard else escaped or literal)
        self._segments.append(_Segment(pieces))

    def match(self, folded: str, pause: Callable[[], None] = _go_on) -> list[tuple[int, int]] | None:
        """The places in the text that the wildcards stand for, in order; None when it does not match. `pause`
        is called now and then; what it raises ends the search."""
        first, *middle = self._segments
        if not first.stands_at(folded, 0) or (not middle and first.length != len(folded)):
            return None
        found, position = first.wildcards(0), first.length
        if not middle:
            return found
        *middle, last = middle
        for segment in middle:
            start = segment.find(folded, position, pause)
            if start < 0:
                return None
            found += [(position, start), *segment.wildcards(start)]
            position = start + segment.length
        start = len(folded) - last.length
        if start < position or not last.stands_at(folded, start):
            return None
        return [*found, (position, start), *last.wildcards(start)]


class _Segment:
    """What stands between two stars: of fixed length. `pieces`: its texts, and None for each `?`."""

    __slots__ = ("_literal", "_pattern", "_places", "length")

    def __init__(self, pieces: list[str | None]) -> None:
        self._places: list[int] = []
        self.length = 0
        for piece in pieces:
            if piece is None:
                self._places.append(self.length)
            self.length += 1 if piece is None else len(piece)
        self._literal = "" if self._places else "".join(piece or "" for piece in pieces)
        expression = "".join("." if piece is None else re.escape(piece) for piece in pieces)
        self._pattern = re.compile(expression, re.DOTALL) if self._places else None

    def stands_at(self, text: str, position: int) -> bool:
        if self._pattern is None:
            return text.startswith(self._literal, position)
        return self._pattern.match(text, position) is not None

    def find(self, text: str, position: int, pause: Callable[[], None]) -> int:
        """Where it stands first, not before `position`; -1 when it does not."""
        pause()
        if self._pattern is None:
            return text.find(self._literal, position)
        places = max(_SLICE // self.length, 1)
        while position + self.length <= len(text):
            found = self._pattern.search(text, position, position + places + self.length - 1)
            if found is not None:
                return found.start()
            position += places
            pause()
        return -1

    def wildcards(self, start: int) -> list[tuple[int, int]]:
        return [(start + place, start + place + 1) for place in self._places]


def glob(pattern: str) -> Glob:
    """The same pattern is asked for with every message."""
    return _kept(pattern) if len(pattern) <= _MOST_KEPT else Glob(pattern)


@lru_cache(maxsize=1024)
def _kept(pattern: str) -> Glob:
    return Glob(pattern)
