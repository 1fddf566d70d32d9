"""The maildrop as one session sees it: message numbers, sizes, unique ids, deletion marks (RFC 1939 §5).

A snapshot: numbers and sizes stay what they were at login, whatever becomes of the messages meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

UniqueIds = Literal["name", "plain", "dovecot"]  # the last one is what Dovecot writes by default

_NUMBERED: dict[UniqueIds, str] = {"plain": "{}.%d", "dovecot": "%08x{:08x}"}
_LINES_AT_ONCE = 1000  # lines in one piece of a listing


class NoSuchMessage(Exception):
    """No message has this number, or it is marked as deleted."""


class Maildrop:
    """Numbers count from 1.

    uids: IMAP UIDs, ascending, in the order of the numbers; what is there must not change any more, and what
    is added later does not count. sizes: octets with CRLF line ends, in the same order. octets: all of them
    together, when that is known already.
    unique_ids: what UIDL tells (RFC 1939 §7); a client that has left its mail on the server fetches all of it
    once more when that changes. "name": the name of the message's file, which stays for ever; these ids are
    found only when they are asked for, and then given to `identify`. The other two are made of UIDVALIDITY
    and UID: that pair never names another message either (RFC 3501 §2.3.1.1), but a mailbox whose index is
    lost has other pairs afterwards.
    """

    def __init__(
        self,
        uid_validity: int,
        uids: Sequence[int],
        sizes: Sequence[int],
        octets: int | None = None,
        unique_ids: UniqueIds = "name",
    ) -> None:
        self._uids = uids
        self._ids: tuple[str, Sequence[Any]] | None = None  # their form, and what fills it
        if unique_ids != "name":
            self._ids = _NUMBERED[unique_ids].format(uid_validity), uids
        self._sizes = sizes
        self._deleted: set[int] = set()
        self.messages = len(uids)  # marked as deleted or not
        self._all_octets = self._octets = sum(sizes) if octets is None else octets

    @property
    def count(self) -> int:
        """How many messages are not marked as deleted."""
        return self.messages - len(self._deleted)

    @property
    def octets(self) -> int:
        """The size of the messages that are not marked as deleted."""
        return self._octets

    @property
    def deleted(self) -> list[int]:
        """The numbers marked as deleted, ascending."""
        return sorted(self._deleted)

    def __contains__(self, number: int) -> bool:
        return 1 <= number <= self.messages and number not in self._deleted

    def require(self, number: int) -> None:
        """Raises NoSuchMessage."""
        if number not in self:
            raise NoSuchMessage

    @property
    def uids(self) -> Sequence[int]:
        """The UIDs behind all numbers."""
        return self._uids[: self.messages]

    def uid(self, number: int) -> int:
        """The UID behind a number, marked as deleted or not."""
        return self._uids[number - 1]

    def size(self, number: int) -> int:
        """The size of a message, marked as deleted or not."""
        return self._sizes[number - 1]

    @property
    def is_identified(self) -> bool:
        """True when the unique ids are known."""
        return self._ids is not None

    def identify(self, unique_ids: Sequence[str]) -> None:
        """These are the unique ids, in the order of the numbers."""
        self._ids = "%s", unique_ids

    def unique_id(self, number: int) -> str:
        """What UIDL says of a message."""
        form, column = self._identified()
        return str(form % column[number - 1])

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
        return self._listing("%d", self._sizes)

    def unique_id_listing(self) -> Iterator[bytes]:
        """The lines of UIDL, in pieces of many lines."""
        return self._listing(*self._identified())

    def _identified(self) -> tuple[str, Sequence[Any]]:
        assert self._ids is not None
        return self._ids

    def _listing(self, form: str, column: Sequence[Any]) -> Iterator[bytes]:
        deleted = self._deleted
        for start in range(0, self.messages, _LINES_AT_ONCE):
            end = min(start + _LINES_AT_ONCE, self.messages)
            numbered = enumerate(column[start:end], start + 1)
            line = f"%d {form}\r\n"
            yield "".join([line % entry for entry in numbered if entry[0] not in deleted]).encode()
