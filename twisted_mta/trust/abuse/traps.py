"""Addresses that were never given to anybody: who writes to one sends to what was collected, or guessed.

Its origin is in disgrace for a while: the domain that answers for the client, as SPF says, or else the
network around it (`origin.py`). What comes from there is put off, not refused for good, for a large provider
may have one thief among thousands. What waits that long is mail from servers that come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted_mta.message.address import Address
from twisted_mta.trust.abuse.memory import Memory

MOST_CAUGHT = 20_000  # origins


class Traps:
    """`addresses` as `Address.key`. `disgrace` in seconds. `seconds`: the wall clock."""

    def __init__(self, addresses: Iterable[str], *, disgrace: float, seconds: Callable[[], float]) -> None:
        self.caught = Memory(MOST_CAUGHT)
        self._addresses = frozenset(addresses)
        self._disgrace = disgrace
        self._seconds = seconds

    def is_trap(self, address: Address) -> bool:
        """Is this one of them?"""
        return address.key in self._addresses

    def catch(self, origin: str) -> None:
        """One has been written to from there."""
        now = self._seconds()
        if origin and self._disgrace:
            self.caught.put(origin, now, now + self._disgrace)

    def left(self, origin: str) -> float:
        """Seconds that it is still in disgrace for; 0 when it is not."""
        now = self._seconds()
        found = self.caught.get(origin, now)
        if found is None or found.since > now:  # the clock has been set back
            return 0.0
        return found.until - now
