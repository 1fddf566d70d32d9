"""Messages at hand for clients that fetch a large one in many small pieces (BODY[]<0.65536> and so on).

Without it every piece would cost a read of the whole message. Shared by all sessions, bounded in octets.
"""

from __future__ import annotations

from twisted_mta.protocol.imap4.sections import Sections

Key = tuple[str, int, int]  # account, UIDVALIDITY, UID: this names one content for ever


class MessageCache:
    """The messages used last, together at most `capacity` octets."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._size = 0
        self._messages: dict[Key, Sections] = {}  # least recently used first

    def get(self, key: Key) -> Sections | None:
        """The message, when it is at hand."""
        message = self._messages.pop(key, None)
        if message is not None:
            self._messages[key] = message
        return message

    def put(self, key: Key, message: Sections) -> None:
        """Keep a message, in place of others that were used longer ago."""
        if len(message) > self._capacity or key in self._messages:
            return
        self._messages[key] = message
        self._size += len(message)
        while self._size > self._capacity:
            oldest = next(iter(self._messages))
            self._size -= len(self._messages.pop(oldest))
