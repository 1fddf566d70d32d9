"""Unique ids made of the names that the messages' files have for ever (RFC 1939 §7).

In a Maildir the name of a file, up to its fields and flags, is given once and stays: through changes of
flags, through a new start, and when everything that was known of the mailbox besides its files is lost. So
does an id that is that name. RFC 1939 §7 asks for 1 to 70 octets from 0x21 to 0x7E; what is not so is told by
its digest, which is.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import accumulate, pairwise
from typing import overload

_LONGEST = 70


class UniqueIdColumn(Sequence[str]):
    """Many ids, place by place, in little more memory than their octets."""

    __slots__ = ("_ends", "_text")

    def __init__(self, ids: Iterable[str]) -> None:
        found = list(ids)
        self._text = "".join(found)
        self._ends = array("I", accumulate(map(len, found), initial=0))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            start, end, step = place.indices(len(self))
            ends = self._ends[start : end + 1]
            return [self._text[first:last] for first, last in pairwise(ends)][::step]
        if not 0 <= place < len(self):
            raise IndexError(place)
        return self._text[self._ends[place] : self._ends[place + 1]]


def from_names(names: Sequence[str | None], uid_validity: int, uids: Sequence[int]) -> UniqueIdColumn:
    """The ids of messages, whose UIDs are in the same places; None: the message has gone already. It still
    has a number in the session, and gets an id that no other message ever has."""
    return UniqueIdColumn(
        f"removed.{uid_validity}.{uid}" if name is None else from_name(name)
        for name, uid in zip(names, uids, strict=True)
    )


def from_name(name: str) -> str:
    """The id of the message whose file has that name."""
    fits = 1 <= len(name) <= _LONGEST and name.isascii() and name.isprintable() and " " not in name
    return name if fits else sha256(name.encode()).hexdigest()
