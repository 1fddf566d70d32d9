"""How likely a message is junk, from how often its tokens were in junk before.

Each token's probability is Robinson's, drawn towards one half while it is seldom, and the more so the less
has been learned at all: of what only twenty messages had, most is chance. Of those that say most, two
products are made, how unlike mail and how unlike junk the message is, by Fisher's method of combining
independent tests. Both near 1 is a message that is like both or neither, and comes out in the middle (G.
Robinson, "A statistical approach to the spam problem", 2003).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

STRENGTH = 0.45  # of the assumption about a token that was never seen, in messages
CAUTION = 30.0  # messages: divided by those learned of the kind of which fewer were, it is added to that
ASSUMED = 0.5
LEAST = 0.1  # distance from one half from which a token says something
MOST_TOKENS = 150  # that are combined: those that say most
_EDGE = 0.01  # no token is more certain than that


class Counts(NamedTuple):
    """In how many messages of each kind."""

    junk: int = 0
    good: int = 0


def _strength(learned: Counts) -> float:
    return STRENGTH + CAUTION / max(1, min(learned))


def _token_probability(seen: Counts, learned: Counts, strength: float) -> float:
    junk = seen.junk / max(1, learned.junk)
    good = seen.good / max(1, learned.good)
    if not junk and not good:
        return ASSUMED
    number = seen.junk + seen.good
    drawn = (strength * ASSUMED + number * junk / (junk + good)) / (strength + number)
    return min(max(drawn, _EDGE), 1 - _EDGE)


def probability(seen: Iterable[Counts], learned: Counts) -> float:
    """That a message with tokens that were seen so often is junk: 0 to 1; `learned`: all messages."""
    strength = _strength(learned)
    single = [_token_probability(counts, learned, strength) for counts in seen]
    telling = sorted((each for each in single if abs(each - 0.5) >= LEAST), key=lambda each: -abs(each - 0.5))
    telling = telling[:MOST_TOKENS]
    if not telling:
        return ASSUMED
    freedom = 2 * len(telling)
    unlike_mail = 1 - _chi_square(-2 * math.fsum(math.log(1 - each) for each in telling), freedom)
    unlike_junk = 1 - _chi_square(-2 * math.fsum(math.log(each) for each in telling), freedom)
    return min(max((1 + unlike_mail - unlike_junk) / 2, 0.0), 1.0)


def _chi_square(value: float, freedom: int) -> float:
    """The probability of more than `value`; `freedom` is even."""
    half = value / 2
    term = total = math.exp(-half)
    for number in range(1, freedom // 2):
        term *= half / number
        total += term
    return min(total, 1.0)
