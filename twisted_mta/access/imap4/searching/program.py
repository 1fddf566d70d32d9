"""Which messages match the criteria of a search (RFC 9051 §6.4.4).

Messages are decided in portions, and with every key only those that are still undecided, the cheapest keys
first: what is in memory (flags, numbers, sizes, dates), then one table of overviews (subject, addresses, sent
date), then the index of the text. What none of these can tell is undecided; of these messages what is left
of the criteria is tried on their octets, in a thread of the store, together where the same is left.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from itertools import chain, compress
from operator import itemgetter
from typing import NamedTuple

from twisted_mta.access.imap4.searching.arrangement import (
    arranged,
    flag_test,
    inner_keys,
    left_of,
    overview_field,
    overview_fields,
)
from twisted_mta.access.imap4.searching.overviews import Overviews
from twisted_mta.access.imap4.searching.searched import PORTION, Marks, Portion, Searched
from twisted_mta.message.folding import fold
from twisted_mta.protocol.imap4.search_keys import (
    All,
    AllText,
    And,
    BodyText,
    EmailId,
    Envelope,
    Flag,
    Header,
    InternalDate,
    Key,
    Larger,
    ModSeq,
    Not,
    Numbers,
    Older,
    Or,
    Recent,
    Saved,
    SaveDate,
    SentDate,
    Smaller,
    ThreadId,
    Uids,
    Younger,
)
from twisted_mta.protocol.imap4.search_text import content_test
from twisted_mta.store.errors import NoSuchMessage
from twisted_mta.store.mailbox import Mailbox

_CONTENT_SLICE = 500  # messages in one visit to the store
_WORK = PORTION  # messages times keys between two turns of the others
_DAY = 86400.0
_EPOCH = 719163  # date(1970, 1, 1).toordinal()


class Verdict(NamedTuple):
    """Messages that match, and those that may."""

    yes: Marks
    maybe: Marks


class Found:
    """Messages that match, in one order: their positions among the UIDs that were searched. What a large
    answer does not need of them is not made."""

    def __init__(self, searched: array[int], positions: Sequence[int]) -> None:
        self._searched = searched
        self._positions = positions

    @cached_property
    def uids(self) -> Sequence[int]:
        """Their UIDs."""
        if isinstance(self._positions, range):
            return self._searched[self._positions.start : self._positions.stop]
        return list(map(self._searched.__getitem__, self._positions))

    @cached_property
    def numbers(self) -> Sequence[int]:
        """Their message numbers."""
        if isinstance(self._positions, range):
            return range(self._positions.start + 1, self._positions.stop + 1)
        return [position + 1 for position in self._positions]

    def arranged(self, order: Sequence[int]) -> Found:
        """Those of them at these places, in that order."""
        if isinstance(self._positions, range) and not self._positions.start:
            return Found(self._searched, order)
        return Found(self._searched, list(map(self._positions.__getitem__, order)))


class SearchProgram:
    """The criteria of one search, applied to what is `searched`. breathe: lets the others have their turn;
    gone: says that nobody waits for the result any more."""

    def __init__(
        self,
        searched: Searched,
        key: Key,
        *,
        breathe: Callable[[], Awaitable[None]],
        gone: Callable[[], bool],
    ) -> None:
        self._searched = searched
        self._mailbox: Mailbox = searched.mailbox
        self._key = arranged(key)
        self._breathe = breathe
        self._gone = gone
        self._now = time.time()
        self._work = 0
        self._sets: dict[int, list[range]] = {}  # positions, by the identity of the key
        self._tables: dict[int, bytes] = {}  # marks by the number of a combination of flags; the same keys
        self._fields = tuple(sorted(overview_fields(self._key)))
        self._note(self._key)

    async def run(self) -> Found:
        """The messages that match. Raises StoreError."""
        found: list[Sequence[int]] = []
        for portion in self._searched.portions():
            if self._gone():
                break
            found.append(portion.positions(await self._decide_all(portion)))
        if found and all(isinstance(each, range) for each in found):
            return Found(self._searched.uids, range(found[0][0], found[-1][-1] + 1))
        return Found(self._searched.uids, list(chain.from_iterable(found)))

    def _note(self, key: Key) -> bool:
        """Find the keys that are about flags alone, and what message numbers mean now, as the command comes
        (RFC 5267 §4.3). True for a key about flags alone."""
        match key:
            case Numbers(numbers):
                self._sets[id(key)] = self._searched.ranges(numbers, by_uid=False)
            case Uids(numbers):
                self._sets[id(key)] = self._searched.ranges(numbers, by_uid=True)
        inner = inner_keys(key)
        notes = [self._note(each) for each in inner]  # every one of them
        about_flags = all(notes) if inner else isinstance(key, Flag)
        if about_flags:
            self._tables[id(key)] = b""
        return about_flags

    # A portion

    async def _decide_all(self, portion: Portion) -> Marks:
        decision = _Decision(portion, Overviews(self._mailbox, portion, self._fields))
        yes, maybe = await self._decide(self._key, portion.all, decision)
        if maybe:
            yes |= await self._try(portion, maybe, decision)
        return yes & portion.all

    async def _decide(self, key: Key, among: Marks, decision: _Decision) -> Verdict:
        """Of the messages `among` those that match, and those about which only their octets can tell."""
        if not among:
            return Verdict(0, 0)
        match key:
            case _ if id(key) in self._tables:
                pass
            case And(keys):
                yes, maybe = among, 0
                for each in keys:
                    found = await self._decide(each, yes | maybe, decision)
                    maybe = ((yes | maybe) & (found.yes | found.maybe)) ^ (yes & found.yes)
                    yes &= found.yes
                return Verdict(yes, maybe)
            case Or(first, second):
                one = await self._decide(first, among, decision)
                other = await self._decide(second, among ^ one.yes, decision)
                yes = one.yes | other.yes
                return Verdict(yes, (one.maybe | other.maybe) & ~yes)
            case Not(inner):
                found = await self._decide(inner, among, decision)
                return Verdict(among ^ found.yes ^ found.maybe, found.maybe)
            case SentDate() | Envelope() | Header() | BodyText() | AllText():
                await self._spend(among.bit_count())
                return await self._ask(key, among, decision)
        await self._spend(among.bit_count())
        yes = among & await self._remembered(key, among, decision.portion)
        decision.known[id(key)] = decision.known.get(id(key), 0) | yes
        return Verdict(yes, 0)

    async def _spend(self, work: int) -> None:
        self._work += work
        if self._work > _WORK:
            self._work = 0
            await self._breathe()

    # Keys that are decided from memory, or nearly

    def _flag_table(self, key: Key) -> bytes:
        """The marks for each combination of flags there is."""
        sets = self._mailbox.flag_sets
        table = self._tables[id(key)]
        if len(table) != len(sets):
            test = flag_test(key, self._mailbox)
            table = self._tables[id(key)] = bytes([test(flags.names) for flags in sets])
        return table

    async def _remembered(self, key: Key, among: Marks, portion: Portion) -> Marks:
        columns = self._mailbox.columns
        match key:
            case All():
                return among
            case Flag() | And() | Or() | Not():
                return portion.mark_numbers(self._mailbox.flag_numbers, self._flag_table(key))
            case Numbers() | Uids():
                return portion.mark_ranges(self._sets[id(key)])
            case Saved():
                return portion.mark(self._searched.saved)
            case Recent():
                return portion.mark_if(self._searched.is_recent)
            case Larger(octets):
                return portion.mark_column(columns.sizes, octets.__lt__)
            case Smaller(octets):
                return portion.mark_column(columns.sizes, octets.__gt__)
            case InternalDate(first, end):
                return portion.mark_column(columns.dates, _within(first, end))
            case SaveDate(first, end):
                saved = portion.mark_column(columns.save_dates, _within(first, end))
                unknown = portion.mark_column(columns.save_dates, (0.0).__eq__)
                if unknown:  # then the internal date counts (RFC 8514 §4.3)
                    saved |= unknown & portion.mark_column(columns.dates, _within(first, end))
                return saved
            case Older(seconds):
                return portion.mark_column(columns.dates, (self._now - seconds).__ge__)
            case Younger(seconds):
                return portion.mark_column(columns.dates, (self._now - seconds).__le__)
            case ModSeq(value):
                return portion.mark_column(columns.modseqs, value.__le__)
            case EmailId(wanted):
                return self._with_email(wanted, portion)
            case ThreadId(wanted):
                uids = portion.pick(among)
                threads = await self._mailbox.thread_ids(uids)
                return portion.mark(compress(uids, [thread == wanted for thread in threads]))
        raise AssertionError(key)

    def _with_email(self, wanted: str, portion: Portion) -> Marks:
        """Marks on the messages with that content: the number in the identifier is looked for, and one of
        the messages asked for the whole."""
        number = wanted.rpartition("-")[2]
        if not number.isdecimal():
            return 0
        marks = portion.mark_column(self._mailbox.columns.emails, int(number).__eq__)
        uids = portion.pick(marks)
        try:
            return marks if uids and self._mailbox.email_id(uids[0]) == wanted else 0
        except NoSuchMessage:
            return 0

    # Keys about contents

    async def _ask(self, key: Key, among: Marks, decision: _Decision) -> Verdict:
        """What the index tells about a key."""
        portion = decision.portion
        match key:
            case SentDate(first, end):
                return Verdict(await decision.overviews.sent_within(first, end, among), 0)
            case Envelope(field, text):
                field = overview_field(field)
                return Verdict(*await decision.overviews.containing(field, fold(text), among))
            case Header(name, text):
                answer = await self._mailbox.find_header(portion.pick(among), name, text)
                return _verdict(answer, portion)
            case BodyText(text):
                answer = await self._mailbox.find_text(portion.pick(among), "body", text)
                return _verdict(answer, portion)
            case AllText(text):
                answer = await self._mailbox.find_text(portion.pick(among), "text", text)
                return _verdict(answer, portion)
        raise AssertionError(key)

    # The octets

    async def _try(self, portion: Portion, undecided: Marks, decision: _Decision) -> Marks:
        """Marks on those of the undecided messages whose octets match what is left of the criteria."""
        positions = portion.places(undecided)
        found: list[int] = []
        rows = {key: portion.octets(marks) for key, marks in decision.known.items()}
        for start in range(0, len(positions), _CONTENT_SLICE):
            some = positions[start : start + _CONTENT_SLICE]
            together: dict[tuple[int, ...], list[int]] = {}
            pick = itemgetter(*some) if len(some) > 1 else lambda row, at=some[0]: (row[at],)
            signatures = zip(*map(pick, rows.values()), strict=True) if rows else [()] * len(some)
            for position, signature in zip(some, signatures, strict=True):
                together.setdefault(signature, []).append(portion.uids[position])
            for signature, uids in together.items():
                if self._gone():
                    return 0
                left = left_of(self._key, dict(zip(rows, signature, strict=True)))
                await self._spend(_CONTENT_SLICE + 10 * len(rows))
                found += await self._mailbox.matching(uids, content_test(left))
        return portion.mark(found)


class _Decision:
    """What has been found out about a portion so far. known: marks by the identity of a key that is not about
    contents."""

    __slots__ = ("known", "overviews", "portion")

    def __init__(self, portion: Portion, overviews: Overviews) -> None:
        self.portion = portion
        self.overviews = overviews
        self.known: dict[int, Marks] = {}


def _verdict(answer: tuple[list[int], list[int]], portion: Portion) -> Verdict:
    found, unknown = answer
    return Verdict(portion.mark(found), portion.mark(unknown))


def _within(first: int, end: int) -> Callable[[float], bool]:
    """A test for times (epoch seconds): on a day from `first` on and before `end` (ordinals), in UTC."""
    low, high = (first - _EPOCH) * _DAY, (end - _EPOCH) * _DAY
    return lambda moment: low <= moment < high
