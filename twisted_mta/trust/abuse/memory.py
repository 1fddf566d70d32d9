"""Things that are remembered until some time, so many at the most.

When there is no room, what was touched longest ago is forgotten. What has changed is handed to whoever writes
it down (`ledger.py`); nothing here touches the disk.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Remembered(NamedTuple):
    """`since` and `until` are seconds since the epoch."""

    key: str
    since: float
    until: float


class Memory:
    """Holds `most` things by their keys."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._things: dict[str, Remembered] = {}  # touched longest ago first
        self._changed: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._things)

    def get(self, key: str, now: float) -> Remembered | None:
        """What is remembered of it; None when that is nothing, or over."""
        found = self._things.get(key)
        return found if found is not None and found.until > now else None

    def keys(self, now: float) -> list[str]:
        """Of all that is remembered, touched longest ago first."""
        return [key for key, thing in self._things.items() if thing.until > now]

    def put(self, key: str, since: float, until: float) -> None:
        """Remember it, instead of what was known of it."""
        self._settle(Remembered(key, since, until))
        self._changed[key] = None

    def drop(self, key: str) -> None:
        """Forget it."""
        if self._things.pop(key, None) is not None:
            self._changed[key] = None

    def settle(self, things: Iterable[Remembered]) -> None:
        """What was written down by an earlier process, touched longest ago first."""
        for thing in things:
            self._settle(thing)

    def take_changes(self) -> list[Remembered]:
        """What is to be written down; `until` 0 for what is forgotten. All of it counts as written then."""
        changed, self._changed = self._changed, {}
        return [self._things.get(key, Remembered(key, 0.0, 0.0)) for key in changed]

    def forget_old(self, now: float) -> None:
        """Forget what is over."""
        for key in [key for key, thing in self._things.items() if thing.until <= now]:
            del self._things[key]

    def _settle(self, thing: Remembered) -> None:
        self._things.pop(thing.key, None)
        if len(self._things) >= self._most:
            eldest = next(iter(self._things))
            del self._things[eldest]
            self._changed[eldest] = None
        self._things[thing.key] = thing
