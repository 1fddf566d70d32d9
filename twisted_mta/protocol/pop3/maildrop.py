"""The maildrop as one session sees it: message numbers, sizes, unique ids, deletion marks (RFC 1939 §5).

A snapshot: numbers and sizes stay what they were at login, whatever becomes of the messages meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_LINES_AT_ONCE = 1000  # lines in one piece of a listing


class NoSuchMessage(Exception):
    """No message has this number, or it is marked as deleted."""


class Maildrop:
    """Numbers count from 1.

    uids: IMAP UIDs, ascending, in the order of the numbers; the sequence must not change any more.
    sizes: octets with CRLF line ends, in the same order.
    A unique id is `UIDVALIDITY.UID`: that pair never names another message (RFC 3501 §2.3.1.1), so neither
    does the id, which is what UIDL asks for (RFC 1939 §7).
    """

    def __init__(self, uid_validity: int, uids: Sequence[int], sizes: Sequence[int]) -> None:
        self._uid_validity = uid_validity
        self._uids = uids
        self._sizes = sizes
        self._deleted: set[int] = set()
        self._all_octets = self._octets = sum(sizes)

    @property
    def count(self) -> int:
        """How many messages are not marked as deleted."""
        return len(self._uids) - len(self._deleted)

    @property
    def octets(self) -> int:
        """The size of the messages that are not marked as deleted."""
        return self._octets

    @property
    def deleted(self) -> list[int]:
        """The numbers marked as deleted, ascending."""
        return sorted(self._deleted)

    def __contains__(self, number: int) -> bool:
        return 1 <= number <= len(self._uids) and number not in self._deleted

    def require(self, number: int) -> None:
        """Raises NoSuchMessage."""
        if number not in self:
            raise NoSuchMessage

    def uid(self, number: int) -> int:
        """The UID behind a number, marked as deleted or not."""
        return self._uids[number - 1]

    def size(self, number: int) -> int:
        """The size of a message, marked as deleted or not."""
        return self._sizes[number - 1]

    def unique_id(self, number: int) -> str:
        """What UIDL says of a message."""
        return f"{self._uid_validity}.{self._uids[number - 1]}"

    def delete(self, number: int) -> None:
        """Mark a message as deleted. Raises NoSuchMessage."""
        self.require(number)
        self._deleted.add(number)
        self._octets -= self._sizes[number - 1]

    def reset(self) -> None:
        """Take all marks back."""
        self._deleted.clear()
        self._octets = self._all_octets

    def scan_listing(self) -> Iterator[bytes]:
        """The lines of LIST, in pieces of many lines."""
        for numbers in self._pieces():
            yield "".join(f"{n} {self._sizes[n - 1]}\r\n" for n in numbers).encode()

    def unique_id_listing(self) -> Iterator[bytes]:
        """The lines of UIDL, in pieces of many lines."""
        for numbers in self._pieces():
            yield "".join(f"{n} {self._uid_validity}.{self._uids[n - 1]}\r\n" for n in numbers).encode()

    def _pieces(self) -> Iterator[list[int]]:
        total = len(self._uids)
        for first in range(1, total + 1, _LINES_AT_ONCE):
            numbers = range(first, min(first + _LINES_AT_ONCE, total + 1))
            yield [n for n in numbers if n not in self._deleted]
