"""SEARCH (RFC 3501 §6.4.4).

Keys about flags alone are decided once for each combination of flags. What else the index knows (UIDs,
sizes, dates) is decided message by message and touches no file. What is left of the keys for a message
is then tried on its octets, in a thread of the store; messages for which the same is left are tried
together.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.view import View
from twisted_mta.protocol.imap4.commands.searching import Search
from twisted_mta.protocol.imap4.grammar import SYSTEM_FLAGS
from twisted_mta.protocol.imap4.responses import numbers
from twisted_mta.protocol.imap4.search_keys import (
    All,
    AllText,
    And,
    BodyText,
    Flag,
    Header,
    InternalDate,
    Key,
    Larger,
    Not,
    Numbers,
    Or,
    Recent,
    SentDate,
    Smaller,
    Uids,
)
from twisted_mta.protocol.imap4.search_text import ContentKey, content_test
from twisted_mta.store.errors import NoSuchMessage

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_SLICE = 20_000  # messages times keys decided between two turns of the others
_CONTENT_SLICE = 500  # messages in one visit to the store
_EPOCH = 719163  # date(1970, 1, 1).toordinal()

Verdict = bool | ContentKey  # decided, or what is left to be tried on the octets
Test = Callable[[int], Verdict]  # of a UID
FlagTest = Callable[[frozenset[str]], bool]


async def search(session: ImapSession, command: Search) -> None:
    """SEARCH and UID SEARCH."""
    view = session.require_view()
    uids, count = view.uids, view.count
    about_flags, others = _split(command.key, view)
    candidates: Sequence[int] = uids[:count]
    if about_flags:
        candidates = view.known(
            view.mailbox.having(lambda flags: all(wanted(flags) for wanted in about_flags))
        )
    found: list[int] = []
    left: dict[ContentKey, list[int]] = {}
    if others:
        test = _and([compile_test(key, view) for key in others])
        at_once = max(1, _SLICE // sum(map(_weight, others)))
        for start in range(0, len(candidates), at_once):
            if start:
                await session.access.breathe()
            decide(candidates[start : start + at_once], test, found, left)
    else:
        found = list(candidates)
    for key, undecided in left.items():
        found += await _try(session, view, key, undecided)
    if left:
        found.sort()
    result = found if command.by_uid else [bisect_left(uids, uid, 0, count) + 1 for uid in found]
    session.engine.write(b"* SEARCH" + numbers(result) + b"\r\n")
    session.complete(command, "SEARCH completed", expunges=command.by_uid)


def _weight(key: Key) -> int:
    """How many keys there are in a key."""
    match key:
        case Not(inner):
            return 1 + _weight(inner)
        case And(keys):
            return 1 + sum(map(_weight, keys))
        case Or(first, second):
            return 1 + _weight(first) + _weight(second)
        case _:
            return 1


def _split(key: Key, view: View) -> tuple[list[FlagTest], list[Key]]:
    """The keys that must all match: those about flags alone, as tests for flags, and the others."""
    about_flags: list[FlagTest] = []
    others: list[Key] = []
    for each in key.keys if isinstance(key, And) else (key,):
        test = compile_flag_test(each, view)
        if test is None:
            others.append(each)
        else:
            about_flags.append(test)
    return about_flags, others


def compile_flag_test(key: Key, view: View) -> FlagTest | None:
    """A test for a message's flags, when the key is about nothing else."""
    match key:
        case All():
            return lambda flags: True
        case Flag(flag):
            return _flag_test(flag, view)
        case Not(inner):
            test = compile_flag_test(inner, view)
            return None if test is None else lambda flags: not test(flags)
        case And(keys):
            tests = [compile_flag_test(each, view) for each in keys]
            if any(test is None for test in tests):
                return None
            return lambda flags: all(test(flags) for test in tests if test is not None)
        case Or(first, second):
            one, other = compile_flag_test(first, view), compile_flag_test(second, view)
            return None if one is None or other is None else lambda flags: one(flags) or other(flags)
        case _:
            return None


def _flag_test(flag: str, view: View) -> FlagTest:
    if flag in SYSTEM_FLAGS:
        return lambda flags: flag in flags
    wanted = flag.lower()
    spellings = frozenset(keyword for keyword in view.mailbox.keywords if keyword.lower() == wanted)
    return lambda flags: not spellings.isdisjoint(flags)


def decide(uids: Sequence[int], test: Test, found: list[int], left: dict[ContentKey, list[int]]) -> None:
    """Sort messages into those that are `found` and those that have to be looked at, by what is `left`."""
    for uid in uids:
        try:
            verdict = test(uid)
        except NoSuchMessage:
            continue
        if verdict is True:
            found.append(uid)
        elif verdict is not False:
            left.setdefault(verdict, []).append(uid)


async def _try(session: ImapSession, view: View, key: ContentKey, uids: list[int]) -> list[int]:
    matches = content_test(key)
    found: list[int] = []
    for start in range(0, len(uids), _CONTENT_SLICE):
        if session.gone:  # nobody waits for the answer any more
            break
        found += await view.mailbox.matching(uids[start : start + _CONTENT_SLICE], matches)
    return found


def compile_test(key: Key, view: View) -> Test:
    """A test for UIDs. It may raise NoSuchMessage; compiling raises CommandError for message numbers that
    are out of range."""
    mailbox = view.mailbox
    match key:
        case All():
            return lambda uid: True
        case Flag(flag):
            test = _flag_test(flag, view)
            return lambda uid: test(mailbox.flags(uid))
        case Not(inner):
            return _not(compile_test(inner, view))
        case And(keys):
            return _and([compile_test(each, view) for each in keys])
        case Or(first, second):
            return _or(compile_test(first, view), compile_test(second, view))
        case Numbers(sequence_set):
            return _member_test(view, view.positions(sequence_set, by_uid=False))
        case Uids(sequence_set):
            return _member_test(view, view.positions(sequence_set, by_uid=True))
        case Recent():
            return view.is_recent
        case Larger(octets):
            return lambda uid: mailbox.size(uid) > octets
        case Smaller(octets):
            return lambda uid: mailbox.size(uid) < octets
        case InternalDate(start, end):
            return lambda uid: start <= mailbox.internal_date(uid) // 86400 + _EPOCH < end
        case SentDate() | Header() | BodyText() | AllText():
            return lambda uid: key


def _member_test(view: View, positions: list[range]) -> Test:
    """A test for being at one of these positions of the view. Costs as much as the set has ranges, however
    wide they are."""
    first = [view.uids[found.start] for found in positions]
    last = [view.uids[found.stop - 1] for found in positions]

    def member(uid: int) -> bool:
        at = bisect_right(first, uid) - 1
        return at >= 0 and uid <= last[at]

    return member


def _not(test: Test) -> Test:
    def negation(uid: int) -> Verdict:
        verdict = test(uid)
        return not verdict if isinstance(verdict, bool) else Not(cast(Key, verdict))

    return negation


def _and(tests: list[Test]) -> Test:
    def conjunction(uid: int) -> Verdict:
        left: list[ContentKey] = []
        for test in tests:
            verdict = test(uid)
            if verdict is False:
                return False
            if verdict is not True:
                left.append(verdict)
        if not left:
            return True
        return left[0] if len(left) == 1 else And(cast(tuple[Key, ...], tuple(left)))

    return conjunction


def _or(first: Test, second: Test) -> Test:
    def alternative(uid: int) -> Verdict:
        one = first(uid)
        if one is True:
            return True
        other = second(uid)
        if other is True or one is False:
            return other
        return one if other is False else Or(cast(Key, one), cast(Key, other))

    return alternative


COMMANDS: Rows = {Search: search}
