"""What is kept ready to run, bounded by the memory it takes: an octet of a script may become hundreds."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_LEAST = 8 * 1024  # octets that each counts for, whatever it says: so that there are not too many


class Ready(Generic[K, V]):
    """Values by their keys, what was used last the longest. most: octets. From any thread: every step on the
    dictionary is one that no other thread can interrupt."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    @property
    def weight(self) -> int:
        """Octets of all that is here."""
        return sum(weight for _, weight in list(self._values.values()))

    def get(self, key: K) -> V | None:
        """None when it is not here."""
        found = self._values.get(key)
        if found is None:
            return None
        with suppress(KeyError):  # another thread has let go of it
            self._values.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, weight: int) -> None:
        """In place of what was here by that key. weight: octets, as of `Script.weight`. What is larger than
        all there is room for is not kept."""
        self._values.pop(key, None)
        if weight > self._most:
            return
        self._values[key] = value, max(weight, _LEAST)
        weight = self.weight
        with suppress(KeyError):  # there is nothing left
            while weight > self._most:
                weight -= self._values.popitem(last=False)[1][1]
