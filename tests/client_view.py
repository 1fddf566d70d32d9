"""What a mail program believes of a mailbox: from nothing but what the server says, response by response.

Whatever a correct server may not say to this kind of client fails at once: EXPUNGE to one that is told by
VANISHED, a number beyond the last message, a UID at another one's place, a mod-sequence that goes back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_LITERAL = re.compile(rb"\{(\d+)\}\Z")
_NUMBERED = re.compile(rb"\* (\d+) ([A-Z]+)(.*)", re.DOTALL)
_IGNORED = re.compile(
    rb"\* (FLAGS|OK|ENABLED|SEARCH|ESEARCH|LIST|STATUS|CAPABILITY|NO \[UIDNOTSTICKY)|\* \d+ RECENT|\+ "
)


def split_responses(octets: bytes) -> Iterator[bytes]:
    """The responses in what a server said, each with its literals and without its last CRLF. One that is not
    complete is left out."""
    start = position = 0
    while (end := octets.find(b"\r\n", position)) >= 0:
        literal = _LITERAL.search(octets, position, end)
        if literal:
            position = end + 2 + int(literal[1])
            continue
        yield octets[start:end]
        start = position = end + 2


def uids_in(text: bytes) -> list[int]:
    """The UIDs of a set as servers write them, in its order."""
    found: list[int] = []
    for part in text.split(b","):
        low, _, high = part.partition(b":")
        found += range(int(low), int(high or low) + 1)
    return found


def as_set(numbers: Iterable[int]) -> str:
    """A sequence set."""
    return ",".join(map(str, numbers))


@dataclass
class Slot:
    """One message, as far as it is known."""

    uid: int | None = None
    flags: frozenset[str] | None = None
    modseq: int = 0


class ClientView:
    """One client's view of its selected mailbox.

    enabled: what it has switched on, in upper case. modseq: what it would remember for the next time; it
    counts when a command has ended. silent: the change of flags of the `.SILENT` command under way, which
    the client makes on its own, message by message, as it is told their mod-sequences.
    """

    def __init__(self, enabled: Iterable[str] = ()) -> None:
        self.enabled = frozenset(enabled)
        self.slots: list[Slot] = []
        self.validity = self.modseq = self._modseq = self._selected_modseq = 0
        self.silent: tuple[str, frozenset[str]] | None = None
        self.identities: dict[int, int] = {}  # UID -> the number in the message, as heard
        self._later: list[tuple[int, bytes]] = []
        self._awaiting: int | None = None  # EXISTS of a SELECT that brings a remembered view up to date

    # What is known

    @property
    def keeps_modseqs(self) -> bool:
        return bool(self.enabled & {"CONDSTORE", "QRESYNC"})

    @property
    def told_by_uid(self) -> bool:
        return bool(self.enabled & {"UIDONLY", "QRESYNC"})

    def known(self) -> list[Slot]:
        """The messages whose UID is known, ascending."""
        return [slot for slot in self.slots if slot.uid is not None]

    def first_unknown(self) -> int | None:
        """The number of the first message of which something is not known."""
        for number, slot in enumerate(self.slots, 1):
            if slot.uid is None or slot.flags is None or (self.keeps_modseqs and not slot.modseq):
                return number
        return None

    def state(self) -> list[tuple[int | None, frozenset[str] | None, int]]:
        """(UID, flags, mod-sequence), in order; 0 for a client that keeps no mod-sequences."""
        return [(slot.uid, slot.flags, slot.modseq if self.keeps_modseqs else 0) for slot in self.slots]

    def change(self, slot: Slot, how: str, flags: frozenset[str]) -> None:
        """What the client itself has done: `how` is "+", "-" or ""."""
        if not how:
            slot.flags = flags
        elif slot.flags is not None:
            slot.flags = slot.flags | flags if how == "+" else slot.flags - flags

    # Selecting

    def forget(self) -> None:
        """The mailbox is opened anew, with nothing remembered."""
        self.slots, self.modseq, self._modseq, self._awaiting = [], 0, 0, None

    def remember(self) -> bool:
        """The mailbox is opened with SELECT (QRESYNC …): what is known without a gap is kept. False when that
        is not all."""
        count = next((n for n, slot in enumerate(self.slots) if slot.uid is None or slot.flags is None), None)
        complete = count is None
        self.slots, self._modseq, self._awaiting = self.slots[:count], self.modseq, 0
        return complete

    # Hearing

    def hear(self, response: bytes) -> None:
        """One response, complete."""
        if b"[HIGHESTMODSEQ " in response and self._awaiting is None:
            self._modseq = int(response.partition(b"[HIGHESTMODSEQ ")[2].partition(b"]")[0])
        elif b"[HIGHESTMODSEQ " in response:
            self._selected_modseq = int(response.partition(b"[HIGHESTMODSEQ ")[2].partition(b"]")[0])
            assert self._selected_modseq >= self.modseq, (response, self.modseq)
        if found := re.search(rb"\[UIDVALIDITY (\d+)\]", response):
            self._select(int(found[1]))
        if found := re.match(rb"\* VANISHED (\(EARLIER\) )?([\d:,]+)\Z", response):
            assert self.told_by_uid, response
            self._vanished(uids_in(found[2]), earlier=bool(found[1]))
        elif (found := _NUMBERED.match(response)) and found[2] in _HEARD:
            _HEARD[found[2]](self, int(found[1]), found[3])
        elif response[:2] in (b"* ", b"+ "):
            assert _IGNORED.match(response), response
            assert b"RECENT" not in response or "IMAP4REV2" not in self.enabled, response
        else:
            self.end_of_command()

    def end_of_command(self) -> None:
        """All of an answer has been heard."""
        self._settle()
        self.modseq = self._modseq

    def _select(self, validity: int) -> None:
        if self._awaiting is not None and validity != self.validity:
            self.slots = []
            self.modseq = self._modseq = 0
        self.validity = validity

    def _settle(self) -> None:
        """A remembered view is up to date with the mailbox as it was selected."""
        if self._awaiting is None:
            return
        awaited, self._awaiting = self._awaiting, None
        self._modseq = max(self._modseq, self._selected_modseq)
        assert len(self.slots) <= awaited, (len(self.slots), awaited)
        self.slots += [Slot() for _ in range(awaited - len(self.slots))]
        later, self._later = self._later, []
        for number, items in later:
            self._fetch(number, items)

    def _exists(self, count: int, rest: bytes) -> None:
        if self._awaiting == 0:
            self._awaiting = count
            return
        self._settle()
        assert count >= len(self.slots), (count, len(self.slots))
        self.slots += [Slot() for _ in range(count - len(self.slots))]

    def _expunge(self, number: int, rest: bytes) -> None:
        assert not self.told_by_uid and 1 <= number <= len(self.slots), (number, len(self.slots))
        del self.slots[number - 1]

    def _vanished(self, uids: list[int], earlier: bool) -> None:
        if not earlier:
            self._settle()
        for uid in uids:
            place = next((place for place, slot in enumerate(self.slots) if slot.uid == uid), None)
            if place is not None:
                del self.slots[place]
            elif not earlier:
                del self.slots[self._unknown_place(uid)]

    def _unknown_place(self, uid: int) -> int:
        """The place of a message that was told of, but not yet with its UID."""
        unknown = [place for place, slot in enumerate(self.slots) if slot.uid is None]
        assert unknown, f"UID {uid} was never told of"
        known = [(slot.uid, place) for place, slot in enumerate(self.slots) if slot.uid is not None]
        low = max((place for other, place in known if other < uid), default=-1)
        high = min((place for other, place in known if other > uid), default=len(self.slots))
        return next((place for place in unknown if low < place < high), unknown[-1])

    def _fetch(self, number: int, items: bytes) -> None:
        assert "UIDONLY" not in self.enabled
        uid = re.search(rb"[( ]UID (\d+)", items)
        if self._awaiting is not None:
            assert uid, items
            if all(slot.uid != int(uid[1]) for slot in self.slots):
                self._later.append((number, items))  # its place shows when all others are in theirs
                return
            number = 1 + next(place for place, slot in enumerate(self.slots) if slot.uid == int(uid[1]))
        assert 1 <= number <= len(self.slots), (number, len(self.slots))
        slot = self.slots[number - 1]
        if uid:
            assert slot.uid in (None, int(uid[1])), (number, slot, items)
            self._put(number - 1, int(uid[1]))
        self._hear_items(slot, items)

    def _uid_fetch(self, uid: int, items: bytes) -> None:
        assert "UIDONLY" in self.enabled
        self._hear_items(self._by_uid(uid), items)

    def _by_uid(self, uid: int) -> Slot:
        for slot in self.slots:
            if slot.uid == uid:
                return slot
        if self._awaiting is None:
            slot = self.slots[place := self._unknown_place(uid)]
            self._put(place, uid)
            return slot
        self.slots.append(slot := Slot(uid))
        self.slots.sort(key=lambda slot: slot.uid or 0)
        return slot

    def _put(self, place: int, uid: int) -> None:
        self.slots[place].uid = uid
        if "UIDONLY" in self.enabled:  # there are no numbers: what is not known stands at the end
            self.slots.sort(key=lambda slot: (slot.uid is None, slot.uid))
        uids = [slot.uid for slot in self.slots if slot.uid is not None]
        assert uids == sorted(set(uids)), uids

    def _hear_items(self, slot: Slot, items: bytes) -> None:
        modseq = re.search(rb"[( ]MODSEQ \((\d+)\)", items)
        flags = re.search(rb"[( ]FLAGS \(([^)]*)\)", items)
        if modseq:
            assert self.keeps_modseqs, items
            assert int(modseq[1]) >= slot.modseq, (slot, items)
            slot.modseq = int(modseq[1])
            self._modseq = max(self._modseq, slot.modseq)
        if flags:
            words = flags[1].decode("ascii").split()
            assert "\\Recent" not in words or "IMAP4REV2" not in self.enabled, items
            slot.flags = frozenset(words) - {"\\Recent"}
            assert modseq or not self.keeps_modseqs, items
        elif modseq and self.silent:
            self.change(slot, *self.silent)
        numbers = set(map(int, re.findall(rb"identity (\d+)", items)))
        if numbers:
            assert len(numbers) == 1 and slot.uid is not None, items
            (number,) = numbers
            assert self.identities.setdefault(slot.uid, number) == number, (slot, items)


_HEARD = {
    b"EXISTS": ClientView._exists,
    b"EXPUNGE": ClientView._expunge,
    b"FETCH": ClientView._fetch,
    b"UIDFETCH": ClientView._uid_fetch,
}
