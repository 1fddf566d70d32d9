"""Addresses that were never given to anybody: who writes to one sends to what was collected, or guessed.

The network of such a client is in disgrace for a while: its mail is put off, not refused for good, for a
large provider's network may hold one thief among thousands. What waits that long is mail from servers that
come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted_mta.message.address import Address
from twisted_mta.trust.abuse.memory import Memory
from twisted_mta.trust.abuse.origin import network_of

MOST_CAUGHT = 20_000  # networks


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

    def catch(self, client: str) -> None:
        """This client has written to one."""
        network, now = network_of(client), self._seconds()
        if network and self._disgrace:
            self.caught.put(network, now, now + self._disgrace)

    def left(self, client: str) -> float:
        """Seconds that its network is still in disgrace for; 0 when it is not."""
        now = self._seconds()
        found = self.caught.get(network_of(client), now) if len(self.caught) else None
        return found.until - now if found is not None else 0.0
