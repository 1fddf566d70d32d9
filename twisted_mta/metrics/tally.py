"""What the sessions of one listening service come to."""

from __future__ import annotations

from collections import defaultdict


class Tally:
    """`opened`: sessions that began; `sent_away`: clients that got none, by why. `commands` by verb in upper
    case, a word of the protocol's own or OTHER; `replies` by code or condition. Both count what is taken and
    given at the edge of the engine."""

    __slots__ = ("commands", "opened", "replies", "sent_away")

    def __init__(self) -> None:
        self.opened = 0
        self.sent_away: defaultdict[str, int] = defaultdict(int)
        self.commands: defaultdict[str, int] = defaultdict(int)
        self.replies: defaultdict[str, int] = defaultdict(int)
