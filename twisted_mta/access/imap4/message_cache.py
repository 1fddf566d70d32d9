"""Messages at hand, for all sessions: several clients that fetch the same new message read it once, and one
that fetches a large message in many small pieces (BODY[]<0.65536> and so on) does not have it read for each.

Small messages are always kept, large ones only when a piece of them is asked for. What clients ask for of
headers is kept as it is sent: they ask for the same fields of the same messages again and again. Bounded in
octets.
"""

from __future__ import annotations

from collections.abc import Hashable, Sized
from typing import Generic, TypeVar

SMALL = 64 * 1024  # octets of a message that is kept whatever is asked for
_OVERHEAD = 400  # octets that a message takes besides its own

T = TypeVar("T", bound=Sized)


def weight(*messages: Sized) -> int:
    """Octets that they take in a cache."""
    return sum(map(len, messages)) + len(messages) * _OVERHEAD


class MessageCache(Generic[T]):
    """The messages, or texts of them, that were used last, together at most `capacity` octets. A key names
    one content for ever."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._size = 0
        self._messages: dict[Hashable, tuple[T, int]] = {}  # least recently used first

    def get(self, key: Hashable) -> T | None:
        """The message, when it is at hand."""
        found = self._messages.pop(key, None)
        if found is None:
            return None
        self._messages[key] = found
        return found[0]

    def put(self, key: Hashable, message: T) -> None:
        """Keep a message, in place of others that were used longer ago."""
        size = weight(message)
        if size > self.capacity:
            return
        before = self._messages.pop(key, None)
        if before is not None:
            self._size -= before[1]
        self._messages[key] = message, size
        self._size += size
        while self._size > self.capacity:
            oldest = next(iter(self._messages))
            self._size -= self._messages.pop(oldest)[1]
