"""The selected mailbox as one session sees it: message numbers that change only when the client is told.

The view is the mailbox's own array of UIDs, shared by everybody, and a count. The store lets the array
grow at its end and replaces it when messages go, so an old view stays valid at no cost, and numbers of
messages are positions in it (RFC 3501 §2.3.1.2, §7.4.1).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable

from twisted_mta.protocol.imap4 import responses
from twisted_mta.protocol.imap4.grammar import SYSTEM_FLAGS
from twisted_mta.protocol.imap4.sequence_set import SequenceSet
from twisted_mta.store.changes import Change
from twisted_mta.store.mailbox import Mailbox


class View:
    """One session's view of `mailbox`, from SELECT to its end. `notify` is called after every change."""

    __slots__ = (
        "_expunged",
        "_flagged",
        "_keywords",
        "_notify",
        "_recent",
        "count",
        "deleted",
        "mailbox",
        "read_only",
        "uids",
    )

    def __init__(self, mailbox: Mailbox, read_only: bool, notify: Callable[[], None]) -> None:
        self.mailbox = mailbox
        self.read_only = read_only
        self.deleted = False  # the mailbox itself is gone
        self.uids: array[int] = mailbox.uids
        self.count = len(self.uids)
        self._notify = notify
        self._keywords = mailbox.keywords
        self._expunged: set[int] = set()  # gone, and the client does not know yet
        self._flagged: dict[int, int] = {}  # UID -> changes of flags that the client does not know yet
        self._recent: list[tuple[int, int]] = []  # UIDs from … up to …, that are \Recent here
        self._note_recent()
        mailbox.watch(self._changed)

    def close(self) -> None:
        """Hear no more of the mailbox."""
        self.mailbox.unwatch(self._changed)

    # Looking things up

    def positions(self, numbers: SequenceSet, by_uid: bool) -> list[range]:
        """The positions a set stands for. Raises CommandError for numbers out of range."""
        if by_uid:
            return numbers.positions_of_uids(self.uids, self.count)
        return numbers.positions_of_numbers(self.count)

    def select_uids(self, numbers: SequenceSet, by_uid: bool) -> list[int]:
        """The UIDs a set stands for, ascending. Raises CommandError for numbers out of range."""
        ranges = self.positions(numbers, by_uid)
        return [uid for found in ranges for uid in self.uids[found.start : found.stop]]

    def known(self, uids: list[int]) -> list[int]:
        """Of ascending UIDs of messages that exist those that the client knows: new ones are at the end."""
        return uids[: bisect_right(uids, self.uids[self.count - 1])] if self.count else []

    def exists(self, uid: int) -> bool:
        """True when a message of the view has not been expunged meanwhile."""
        return uid not in self._expunged

    def is_recent(self, uid: int) -> bool:
        """True when the message is `\\Recent` in this session."""
        ranges = self._recent
        return bool(ranges) and uid >= ranges[0][0] and any(first <= uid < end for first, end in ranges)

    def flags(self, uid: int) -> bytes:
        """The flags of a message as a list, which the client then knows. Raises NoSuchMessage."""
        if self._flagged:
            self._flagged.pop(uid, None)
        return responses.flags(self.mailbox.flags(uid), self.is_recent(uid))

    def recent_count(self) -> int:
        """How many messages of the view are `\\Recent` in this session."""
        return sum(
            bisect_left(self.uids, end, 0, self.count) - bisect_left(self.uids, first, 0, self.count)
            for first, end in self._recent
        )

    # What the mailbox tells

    def _changed(self, change: Change) -> None:
        self._expunged.update(change.expunged)
        for uid in change.flags:
            self._count_flags(uid, 1)
        self.deleted = self.deleted or change.deleted
        self._notify()

    def _count_flags(self, uid: int, step: int) -> None:
        count = self._flagged.get(uid, 0) + step
        if count:
            self._flagged[uid] = count
        else:
            self._flagged.pop(uid, None)

    def told_flags(self, uids: Iterable[int]) -> None:
        """The session has changed these flags itself, and the client has been told, or knows without. A
        change by somebody else in the same moment counts extra and is still to be told."""
        for uid in uids:
            self._count_flags(uid, -1)

    # What the client is told

    def updates(self, *, expunges: bool, with_uid: bool = False) -> list[bytes]:
        """Untagged responses for all that the client does not know yet, which it then does. Without
        `expunges` (during FETCH, STORE and SEARCH, RFC 3501 §7.4.1) nobody's number may change; then new
        messages wait, too, if others before them are gone."""
        lines: list[bytes] = []
        if expunges and self._expunged:
            lines += self._expunge()
        if not self._expunged:
            lines += self._grow()
        if self._flagged:
            lines += self.flag_names()
            lines += self._flag_changes(with_uid)
        return lines

    def flag_names(self) -> list[bytes]:
        """FLAGS and PERMANENTFLAGS, if there are keywords that the client has not been told of."""
        if self.mailbox.keywords == self._keywords:
            return []
        self._keywords = self.mailbox.keywords
        return self.flag_lines()

    def flag_lines(self) -> list[bytes]:
        """FLAGS and PERMANENTFLAGS (RFC 3501 §7.2.6, §7.1)."""
        names = " ".join((*SYSTEM_FLAGS, *sorted(self._keywords)))
        permanent = "" if self.read_only else f"{names} \\*"
        text = "No permanent flags permitted" if self.read_only else "Flags permitted"
        return [
            f"* FLAGS ({names})\r\n".encode("ascii"),
            responses.status_line("*", "OK", text, f"PERMANENTFLAGS ({permanent})"),
        ]

    def _expunge(self) -> list[bytes]:
        """EXPUNGE from the highest number down, so that none of them moves another one."""
        numbers = []
        for uid in self._expunged:
            position = bisect_left(self.uids, uid, 0, self.count)
            if position < self.count and self.uids[position] == uid:
                numbers.append(position + 1)
            self._flagged.pop(uid, None)
        self._expunged.clear()
        numbers.sort(reverse=True)
        known = self.count - len(numbers)
        # What has been added meanwhile stands behind the messages that are left.
        self.uids, self.count = self.mailbox.uids, known
        return [b"* %d EXPUNGE\r\n" % number for number in numbers]

    def _grow(self) -> list[bytes]:
        if len(self.uids) == self.count:
            return []
        self.count = len(self.uids)
        self._note_recent()
        return [b"* %d EXISTS\r\n" % self.count, b"* %d RECENT\r\n" % self.recent_count()]

    def _note_recent(self) -> None:
        """The first session that is told of a message sees it as recent; EXAMINE takes that from nobody."""
        first = self.mailbox.recent_from if self.read_only else self.mailbox.claim_recent()
        end = self.mailbox.uid_next
        if first >= end:
            return
        if self._recent and first <= self._recent[-1][1]:
            first = self._recent.pop()[0]
        self._recent.append((first, end))

    def _flag_changes(self, with_uid: bool) -> list[bytes]:
        lines = []
        for uid in sorted(self._flagged):
            position = bisect_left(self.uids, uid, 0, self.count)
            if position == self.count or self.uids[position] != uid or not self.exists(uid):
                continue
            extra = b"UID %d " % uid if with_uid else b""
            lines.append(b"* %d FETCH (%bFLAGS %b)\r\n" % (position + 1, extra, self.flags(uid)))
        self._flagged.clear()
        return lines
