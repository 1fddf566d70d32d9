"""Patterns with `*` and `?` (RFC 5228 §2.7.1), with what each wildcard stood for (RFC 5229 §3.2).

Time is linear in the text for each literal between two stars: the first star takes the least it can, then the
second, and so on, which is also what RFC 5229 wants them to have taken.
"""

from __future__ import annotations

import re
from functools import lru_cache

_ANY = re.compile(r"\\(.)|([*?])|([^\\*?]+|\\\Z)", re.DOTALL)


class Glob:
    """A pattern, folded already; see `match`."""

    def __init__(self, pattern: str) -> None:
        self._segments: list[_Segment] = []
        pieces: list[str] = []  # of the segment, as a regular expression
        for escaped, wildcard, literal in _ANY.findall(pattern):
            if wildcard == "*":
                self._segments.append(_Segment("".join(pieces)))
                pieces = []
            elif wildcard:
                pieces.append("(.)")
            else:
                pieces.append(re.escape(escaped or literal))
        self._segments.append(_Segment("".join(pieces)))

    def match(self, folded: str) -> list[tuple[int, int]] | None:
        """The places in the text that the wildcards stand for, in order; None when it does not match."""
        first, *middle = self._segments
        if not middle:
            whole = first.at(folded, 0)
            return first.wildcards(whole) if whole is not None and whole.end() == len(folded) else None
        begun = first.at(folded, 0)
        if begun is None:
            return None
        found, position = first.wildcards(begun), begun.end()
        *middle, last = middle
        for segment in middle:
            here = segment.find(folded, position)
            if here is None:
                return None
            found += [(position, here.start()), *segment.wildcards(here)]
            position = here.end()
        ended = last.at(folded, len(folded) - last.length)
        if ended is None or ended.start() < position:
            return None
        return [*found, (position, ended.start()), *last.wildcards(ended)]


class _Segment:
    """What stands between two stars: of fixed length."""

    def __init__(self, expression: str) -> None:
        self._pattern = re.compile(expression, re.DOTALL)
        self.length = len(re.sub(r"\\(.)|\(\.\)", "x", expression, flags=re.DOTALL))

    def at(self, text: str, position: int) -> re.Match[str] | None:
        return self._pattern.match(text, position) if position >= 0 else None

    def find(self, text: str, position: int) -> re.Match[str] | None:
        return self._pattern.search(text, position)

    @staticmethod
    def wildcards(match: re.Match[str]) -> list[tuple[int, int]]:
        return [match.span(number + 1) for number in range(len(match.groups()))]


@lru_cache(maxsize=1024)
def glob(pattern: str) -> Glob:
    """The same pattern is asked for with every message."""
    return Glob(pattern)
