"""What has become of every message: from its 250 to a mailbox, the next host, or a report that comes back.

A copy is a message by its name and a place where it belongs: an account ("bob"), the next host (FAR), or the
report that an account gets because the next host refused it (`report_to`). What clients do is told here as
they do it: that they send, what they were answered, that they remove. `check` compares that with what is
found when all is quiet.

A promise is broken when

- a copy that was acknowledged, and that nobody has removed, is not there (lost);
- a copy is there twice, or once more after its removal was acknowledged (doubled);
- a copy is there that was refused, or that nobody sent (invented);
- two messages had one UID, or a message is not what was sent (damaged);
- the next host has accepted a copy twice in one life of the server.

A copy whose answer was lost may be there, once, or not. What was in flight when the server ended may be
doubled: sent on again (RFC 1047); or delivered again, when a client has moved or removed it before the queue
had noted its delivery. Both are counted.
"""

from __future__ import annotations

import threading
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

FAR = "far"  # the place of what leaves
_PARAGRAPH = b"All that was acknowledged is where it belongs, once, whatever happened meanwhile.\r\n"


class Copy(NamedTuple):
    """A message, and one place where it belongs."""

    name: str
    place: str


def report_to(account: str) -> str:
    """The place of the report that says that a message was refused elsewhere."""
    return f"report to {account}"


def body(name: str) -> bytes:
    """The text of the message of that name: mostly 1 to 5 KiB, sometimes 40, seldom 400."""
    number = zlib.crc32(name.encode())
    lines = 12 + number % 52
    if number % 40 == 0:
        lines *= 10
    if number % 400 == 0:
        lines *= 10
    return b"name " + name.encode() + b"\r\n" + _PARAGRAPH * lines + b"end " + name.encode() + b"\r\n"


def message(name: str, sender: str = "sender@elsewhere.test") -> bytes:
    """The whole message, with CRLF line ends; no line in it begins with a dot."""
    header = f"From: {sender}\r\nTo: somebody@a.test\r\nSubject: soak {name}\r\nX-Soak: {name}\r\n\r\n"
    return header.encode() + body(name)


class State(Enum):
    """What its sender knows of a copy."""

    SENT = "no answer"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"


@dataclass(slots=True)
class Account:
    """Of one copy. life: in which it was sent; claimed: a client is removing it; removed: that was
    acknowledged; checked: it was there when all was quiet, so nothing of it is in flight any more."""

    life: int
    state: State = State.SENT
    claimed: bool = False
    removed: bool = False
    checked: bool = False


class Found(NamedTuple):
    """A message in a mailbox. report: it is the report on the message of that name; whole: it is what was
    sent."""

    name: str
    report: bool
    mailbox: str
    uid: tuple[int, int]  # with UIDVALIDITY
    whole: bool = True

    def place(self, account: str) -> str:
        """Where it was found."""
        return report_to(account) if self.report else account


class Ledger:
    """All copies. Many threads tell it; `broken` has what broke a promise, in words. `life`: how often the
    server has ended."""

    def __init__(self) -> None:
        self.life = 0
        self._lock = threading.Lock()
        self._copies: dict[Copy, Account] = {}
        self._excused: set[Copy] = set()  # there twice, and may be
        self._ended: set[Copy] = set()  # removed, and found to be gone
        self._uids: dict[tuple[str, str, tuple[int, int]], str] = {}
        self._arrived: dict[str, list[int]] = {}  # at the next host, by the life of the server
        self.counts: Counter[str] = Counter()
        self.broken: list[str] = []

    def begin(self, name: str, places: Iterable[str]) -> None:
        """Somebody is about to send it."""
        with self._lock:
            for place in places:
                self._copies[Copy(name, place)] = Account(self.life)

    def answered(self, name: str, places: Iterable[str], state: State) -> None:
        """The answer to all these copies."""
        with self._lock:
            for place in places:
                self._copies[Copy(name, place)].state = state

    def claim(self, name: str, place: str) -> bool:
        """Whether the one who asks may remove it: nobody else is about to."""
        with self._lock:
            account = self._copies.get(Copy(name, place))
            if account is None or account.claimed or account.removed:
                return False
            account.claimed = True
            return True

    def released(self, name: str, place: str) -> None:
        """It was not removed after all: that is certain."""
        with self._lock:
            self._copies[Copy(name, place)].claimed = False

    def removed(self, name: str, place: str) -> None:
        """Its removal was acknowledged."""
        with self._lock:
            self._copies[Copy(name, place)].removed = True

    def arrived(self, name: str) -> None:
        """The next host has accepted it."""
        with self._lock:
            self._arrived.setdefault(name, []).append(self.life)

    def called(self, account: str, found: Found) -> None:
        """A UID has named that message."""
        with self._lock:
            known = self._uids.setdefault((account, found.mailbox, found.uid), found.name)
            if known != found.name:
                self._note(f"{account}: UID {found.uid} of {found.mailbox} is {known} and {found.name}")

    def complain(self, words: str) -> None:
        """Something else that must not be."""
        with self._lock:
            self._note(words)

    def _note(self, words: str) -> None:
        """Once, though it may be found again in each phase from now on."""
        if words not in self.broken:
            self.broken.append(words)

    def check(self, mailboxes: Mapping[str, Iterable[Found]]) -> None:
        """Compare with all that is in the mailboxes of all accounts, while nobody does anything and the queue
        is empty."""
        places: dict[Copy, list[Found]] = {}
        for account, messages in mailboxes.items():
            for found in messages:
                self.called(account, found)
                if not found.whole:
                    self.complain(f"damaged: {found.name} in {found.mailbox} of {account}")
                places.setdefault(Copy(found.name, found.place(account)), []).append(found)
        with self._lock:
            self._look(places)

    def _look(self, places: Mapping[Copy, list[Found]]) -> None:
        for copy, found in places.items():
            if copy in self._ended:
                self._note(f"doubled: {copy} is back after it was removed: {found}")
            elif copy not in self._copies:
                self._note(f"invented: {copy} at {found}")
        for copy, account in list(self._copies.items()):
            if copy.place == FAR:
                self._look_far(copy, account)
            elif not self._look_here(copy, account, places.get(copy, [])):
                self._finish(copy, account)

    def _look_here(self, copy: Copy, account: Account, found: list[Found]) -> bool:
        """Whether the copy is there."""
        if len(found) + account.removed > 1:
            if account.life < self.life and not account.checked:
                self.counts["delivered again across a kill"] += 1
                self._excused.add(copy)
            elif copy not in self._excused:
                self._note(f"doubled: {copy}, {account}: {found}")
        if found and account.state is State.REFUSED:
            self._note(f"invented: {copy} was refused: {found}")
        if not found and account.state is State.ACKNOWLEDGED and not account.claimed:
            self._note(f"lost: {copy}")
        if found:
            account.claimed = account.removed = False  # whoever wanted to remove it has not, or not all of it
            account.checked = True
        return bool(found)

    def _look_far(self, copy: Copy, account: Account) -> None:
        lives = self._arrived.get(copy.name, [])
        if lives and account.state is State.REFUSED:
            self._note(f"invented: {copy} was refused")
        if not lives and account.state is State.ACKNOWLEDGED:
            self._note(f"lost: {copy}")
        if len(set(lives)) < len(lives):
            self._note(f"sent again without a kill: {copy}, in the lives {lives}")
        self.counts["sent on twice across a kill"] += len(lives) > 1
        self._finish(copy, account)

    def _finish(self, copy: Copy, account: Account) -> None:
        """It is at its end: what is found of it from now on is too much."""
        kind = (
            "next host" if copy.place == FAR else "report" if copy.place.startswith("report") else "mailbox"
        )
        self.counts[f"{kind}: {account.state.value}"] += 1
        self.counts["removed"] += account.removed
        if copy.place != FAR:
            self._ended.add(copy)
        del self._copies[copy]

    def figures(self) -> dict[str, int]:
        """How many copies came to what; those that are still in a mailbox are `kept`."""
        with self._lock:
            return {
                **dict(sorted(self.counts.items())),
                "kept": len(self._copies),
                "broken": len(self.broken),
            }
