"""The selected mailbox as one session sees it: message numbers that change only when the client is told.

The view is the mailbox's own array of UIDs, shared by everybody, and a count. The store lets the array
grow at its end and replaces it when messages go, so an old view stays valid at no cost, and numbers of
messages are positions in it (RFC 3501 §2.3.1.2, §7.4.1). A *place* is where a message stands in the columns
of the mailbox as it is now: the same as its position until messages before it have gone.

What the client has switched on decides how it is told: UID and MODSEQ with every change of flags
(RFC 7162 §3.2.4, RFC 9051 §7.5.2), VANISHED in place of EXPUNGE (RFC 7162 §3.2.10), no numbers at all
(RFC 9586), nothing of what is recent (RFC 9051).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from itertools import chain
from typing import TYPE_CHECKING

from twisted_mta.access.imap4 import fetch_response
from twisted_mta.protocol.imap4 import responses
from twisted_mta.protocol.imap4.fetch_items import Attribute
from twisted_mta.protocol.imap4.grammar import SYSTEM_FLAGS, CommandError
from twisted_mta.protocol.imap4.sequence_set import SAVED, SequenceSet, render_uids
from twisted_mta.store.changes import Change
from twisted_mta.store.mailbox import Mailbox
from twisted_mta.store.rights import storable

if TYPE_CHECKING:
    from twisted_mta.access.imap4.searching.context import Contexts

UNREADABLE = "You may not read this mailbox any more"
_MODIFYING = frozenset("swtie")  # with none of these rights a mailbox is read-only (RFC 4314 §5.2)


class View:
    """One session's view of `mailbox`, from SELECT to its end.

    rights: what the user may do with the mailbox as of now (RFC 4314). examined: it was selected by EXAMINE.
    enabled: what the client has switched on, the session's own set. `notify` is called after every change.
    saved: the UIDs, ascending, that `$` stands for (RFC 5182); what is gone meanwhile is passed over.
    """

    __slots__ = (
        "_expunged",
        "_flagged",
        "_held_back",
        "_keywords",
        "_notify",
        "_recent",
        "_rights",
        "contexts",
        "count",
        "deleted",
        "enabled",
        "examined",
        "mailbox",
        "saved",
        "uids",
    )

    def __init__(
        self,
        mailbox: Mailbox,
        rights: Callable[[], frozenset[str]],
        examined: bool,
        enabled: Set[str],
        notify: Callable[[], None],
    ) -> None:
        self.mailbox = mailbox
        self.examined = examined
        self.enabled = enabled
        self.deleted = False  # the mailbox itself is gone
        self.uids: array[int] = mailbox.uids
        self.count = len(self.uids)
        self.saved: array[int] = array("I")
        self.contexts: Contexts | None = None  # results that are kept up to date (RFC 5267)
        self._notify = notify
        self._rights = rights
        self._keywords = mailbox.keywords
        self._expunged: dict[int, int] = {}  # gone, and the client does not know yet: UID -> mod-sequence
        # UIDs of changes of flags that the client does not know yet, change by change.
        self._flagged: list[tuple[int, ...]] = []
        self._held_back = False  # the client's HIGHESTMODSEQ was kept below an expunge that it waits for
        self._recent: list[tuple[int, int]] = []  # UIDs from … up to …, that are \Recent here
        self._note_recent()
        mailbox.watch(self._changed)

    def close(self) -> None:
        """Hear no more of the mailbox."""
        self.mailbox.unwatch(self._changed)

    # What may be done, and how it is told

    @property
    def rights(self) -> frozenset[str]:
        """What the user may do with the mailbox (RFC 4314); what is taken away is gone at once."""
        return self._rights()

    @property
    def readable(self) -> bool:
        """True while the user may read here. While not, nothing of the mailbox is told, asked or unasked:
        what happens waits, and message numbers stay, until the right is back or the mailbox is left. RFC 4314
        §5.1.1 allows BYE as well; but the connection may be of use for other mailboxes."""
        return "r" in self.rights

    @property
    def read_only(self) -> bool:
        """True when nothing here can be changed by this session."""
        return self.examined or self.rights.isdisjoint(_MODIFYING)

    def may(self, right: str) -> bool:
        """True when this session may do what the right is needed for."""
        return right in self.rights and not self.examined

    def permitted(self, flags: frozenset[str]) -> frozenset[str]:
        """Those of the flags that this session may change."""
        return frozenset() if self.examined else storable(flags, self.rights)

    @property
    def tells_modseqs(self) -> bool:
        """True when the client keeps mod-sequences (RFC 7162 §3.1)."""
        return "CONDSTORE" in self.enabled

    @property
    def uid_only(self) -> bool:
        """True when the client wants no message numbers (RFC 9586)."""
        return "UIDONLY" in self.enabled

    @property
    def _tells_recent(self) -> bool:
        return "IMAP4REV2" not in self.enabled

    def flag_items(self, by_uid: bool = False) -> tuple[Attribute, ...]:
        """What belongs into a response that tells of flags."""
        modseq = (Attribute.MODSEQ,) if self.tells_modseqs else ()
        return *self.naming_items(by_uid), Attribute.FLAGS, *modseq

    def naming_items(self, by_uid: bool = False) -> tuple[Attribute, ...]:
        """UID, where a response that tells of a change has to have it. UIDFETCH begins with it anyhow."""
        with_uid = by_uid or self.tells_modseqs or "IMAP4REV2" in self.enabled
        return (Attribute.UID,) if with_uid and not self.uid_only else ()

    # Looking things up

    def positions(self, numbers: SequenceSet, by_uid: bool) -> list[range]:
        """The positions a set stands for, ascending. Raises CommandError for numbers out of range, and for
        numbers at all when there are none (RFC 9586 §3.3)."""
        if not by_uid and self.uid_only:
            raise CommandError("Message numbers are not in use", code="UIDREQUIRED")
        if numbers == SAVED:
            return self._saved_positions()
        if by_uid:
            return numbers.positions_of_uids(self.uids, self.count)
        return numbers.positions_of_numbers(self.count)

    def _saved_positions(self) -> list[range]:
        found: list[range] = []
        for uid in self.saved:
            position = bisect_left(self.uids, uid, 0, self.count)
            if position == self.count or self.uids[position] != uid:
                continue
            if found and found[-1].stop == position:
                found[-1] = range(found[-1].start, position + 1)
            else:
                found.append(range(position, position + 1))
        return found

    def chosen(self, numbers: SequenceSet, by_uid: bool) -> Sequence[int]:
        """The positions a set stands for, ascending; a range where that can be. Raises CommandError."""
        found = self.positions(numbers, by_uid)
        return found[0] if len(found) == 1 else list(chain.from_iterable(found))

    def select_uids(self, numbers: SequenceSet, by_uid: bool) -> list[int]:
        """The UIDs a set stands for, ascending. Raises CommandError for numbers out of range."""
        ranges = self.positions(numbers, by_uid)
        return [uid for found in ranges for uid in self.uids[found.start : found.stop]]

    def places(self, positions: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
        """Those of the positions whose messages are there, and their places in the mailbox's columns."""
        here = self.mailbox.uids
        if here is self.uids:
            return positions, positions
        left, places = [], []
        for position in positions:
            uid = self.uids[position]
            place = bisect_left(here, uid)
            if place < len(here) and here[place] == uid:
                left.append(position)
                places.append(place)
        return left, places

    def number_of(self, uid: int) -> int:
        """The message number of a UID, 0 for one that the client does not know."""
        position = bisect_left(self.uids, uid, 0, self.count)
        return position + 1 if position < self.count and self.uids[position] == uid else 0

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

    def recent_within(self, uids: Sequence[int]) -> list[range]:
        """Where the recent messages stand among ascending UIDs. None are for a client of IMAP4rev2."""
        if not self._tells_recent:
            return []
        found = [range(bisect_left(uids, first), bisect_left(uids, end)) for first, end in self._recent]
        return [positions for positions in found if positions]

    def recent_count(self) -> int:
        """How many messages of the view are `\\Recent` in this session."""
        return sum(
            bisect_left(self.uids, end, 0, self.count) - bisect_left(self.uids, first, 0, self.count)
            for first, end in self._recent
        )

    # What the mailbox tells

    def _changed(self, change: Change) -> None:
        for uid in change.expunged:
            self._expunged[uid] = change.modseq
        if change.flags:
            self._flagged.append(change.flags)
        self.deleted = self.deleted or change.deleted
        if self.contexts is not None:
            self.contexts.note(change)
        self._notify()

    def told_flags(self, uids: Iterable[int]) -> None:
        """The session has changed these flags itself, once each, and the client has been told, or knows
        without. A change by somebody else in the same moment counts extra and is still to be told."""
        told = tuple(uids)
        if told in self._flagged:
            self._flagged.remove(told)
        elif told:
            left = Counter(chain.from_iterable(self._flagged))
            left.subtract(told)
            self._flagged = [(uid,) * count for uid, count in left.items() if count > 0]

    def know_flags(self, uids: Iterable[int]) -> None:
        """The client is being told the flags of these messages as they are now."""
        if self._flagged:
            told = frozenset(uids)
            left = [tuple([uid for uid in uids if uid not in told]) for uids in self._flagged]
            self._flagged = [uids for uids in left if uids]

    # What the client is told

    def updates(self, *, expunges: bool, with_uid: bool = False, exists_first: bool = False) -> list[bytes]:
        """Untagged responses for all that the client does not know yet, which it then does. Without
        `expunges` (during FETCH, STORE and SEARCH, RFC 3501 §7.4.1) nobody's number may change; then new
        messages wait, too, if others before them are gone. `exists_first`: new ones are told before others
        that are gone, as REPLACE has it (RFC 8508 §3.2). None for whoever may not read any more."""
        if not self._has_news() or not self.readable:
            return []
        lines: list[bytes] = []
        if self.contexts is not None:
            lines += self.contexts.removals()
        before, gone = self.count, self._expunge() if expunges and self._expunged else []
        grown = [] if self._expunged else self._grow(before - self.count if exists_first else 0)
        lines += grown + gone if exists_first else gone + grown
        if self._flagged:
            lines += self.flag_names()
            lines += self._flag_changes(with_uid)
        if self.contexts is not None:
            lines += self.contexts.changes()
        if self.tells_modseqs:
            lines += self._safe_modseq()
        return lines

    def _has_news(self) -> bool:
        """False when there is nothing to tell, as behind most commands."""
        changed = self._expunged or self._flagged or self._held_back or self.contexts is not None
        return bool(changed) or len(self.uids) != self.count

    def flag_names(self) -> list[bytes]:
        """FLAGS and PERMANENTFLAGS, if there are keywords that the client has not been told of."""
        if self.mailbox.keywords == self._keywords:
            return []
        self._keywords = self.mailbox.keywords
        return self.flag_lines()

    def flag_lines(self) -> list[bytes]:
        """FLAGS and PERMANENTFLAGS (RFC 3501 §7.2.6, §7.1), which show what may be done (RFC 4314 §5.1.1)."""
        names = (*SYSTEM_FLAGS, *sorted(self._keywords))
        may_change = self.permitted(frozenset((*names, "\\*")))
        permanent = " ".join(name for name in (*names, "\\*") if name in may_change)
        text = "Flags permitted" if permanent else "No permanent flags permitted"
        return [
            f"* FLAGS ({' '.join(names)})\r\n".encode("ascii"),
            responses.status_line("*", "OK", text, f"PERMANENTFLAGS ({permanent})"),
        ]

    def _expunge(self) -> list[bytes]:
        """VANISHED, or EXPUNGE from the highest number down, so that none of them moves another one."""
        numbers = [number for number in map(self.number_of, sorted(self._expunged)) if number]
        gone = [self.uids[number - 1] for number in numbers]
        self.know_flags(self._expunged)
        self._expunged.clear()
        # What has been added meanwhile stands behind the messages that are left.
        self.uids, self.count = self.mailbox.uids, self.count - len(gone)
        if not gone:
            return []
        if "QRESYNC" in self.enabled or self.uid_only:
            return [f"* VANISHED {render_uids(gone)}\r\n".encode("ascii")]
        return [b"* %d EXPUNGE\r\n" % number for number in reversed(numbers)]

    def _grow(self, untold: int) -> list[bytes]:
        """EXISTS, as long as the client does not know that `untold` messages are gone."""
        if len(self.uids) == self.count:
            return []
        self.count = len(self.uids)
        self._note_recent()
        lines = [b"* %d EXISTS\r\n" % (self.count + untold)]
        if self._tells_recent:
            lines.append(b"* %d RECENT\r\n" % self.recent_count())
        return lines

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
        changed = sorted(set(chain.from_iterable(self._flagged)))
        self._flagged.clear()
        positions = [number - 1 for number in map(self.number_of, changed) if number]
        return list(fetch_response.responses(self, positions, self.flag_items(with_uid)))

    def _safe_modseq(self) -> list[bytes]:
        """While expunges wait, the client must not believe that it knows of all that came after them
        (RFC 7162 §3.2, and the example of §6)."""
        if self._expunged:
            self._held_back = True
            return [highest_modseq_line(min(self._expunged.values()) - 1)]
        if self._held_back:
            self._held_back = False
            return [highest_modseq_line(self.mailbox.highest_modseq)]
        return []


def highest_modseq_line(modseq: int) -> bytes:
    """HIGHESTMODSEQ in an untagged OK (RFC 7162 §3.1.2.1)."""
    return responses.status_line("*", "OK", "Highest mod-sequence", f"HIGHESTMODSEQ {max(modseq, 1)}")
