"""Search criteria put in an order in which they are decided at the least cost (RFC 9051 §6.4.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import cast

from twisted_mta.access.imap4.searching.searched import Searched
from twisted_mta.protocol.imap4.grammar import SYSTEM_FLAGS
from twisted_mta.protocol.imap4.search_keys import (
    All,
    AllText,
    And,
    BodyText,
    Envelope,
    Flag,
    Fuzzy,
    Header,
    Key,
    Not,
    Numbers,
    Or,
    Saved,
    SentDate,
    ThreadId,
    Uids,
    loosened,
)
from twisted_mta.protocol.imap4.search_text import ContentKey
from twisted_mta.protocol.imap4.sequence_set import SequenceSet
from twisted_mta.store.mailbox import Mailbox

_MEMORY, _THREADS, _OVERVIEWS, _TEXT = range(4)  # what a key costs
_FIELDS = {"from": "from_", "reply-to": "reply_to"}  # other fields have the same name in an overview

FlagTest = Callable[[frozenset[str]], bool]


def arranged(key: Key) -> Key:
    """The same criteria with the cheapest keys first, and without FUZZY: what that covers is loosened."""
    return _arranged(_without_fuzzy(key))[1]


def fixed(key: Key, searched: Searched) -> Key:
    """The same criteria with UIDs in place of message numbers and `$`, as these are now (RFC 5267 §4.3)."""
    match key:
        case Numbers(numbers):
            return _with_uids(
                [
                    (searched.uids[found.start], searched.uids[found.stop - 1])
                    for found in searched.ranges(numbers, by_uid=False)
                ]
            )
        case Saved():
            return _with_uids([(uid, uid) for uid in sorted(searched.saved)])
        case Not(inner):
            return Not(fixed(inner, searched))
        case Fuzzy(inner):
            return Fuzzy(fixed(inner, searched))
        case And(keys):
            return And(tuple(fixed(each, searched) for each in keys))
        case Or(first, second):
            return Or(fixed(first, searched), fixed(second, searched))
        case _:
            return key


def _with_uids(pairs: list[tuple[int, int]]) -> Key:
    return Uids(SequenceSet(tuple(pairs))) if pairs else Not(All())


def overview_field(field: str) -> str:
    """Where an overview has the text of this header field."""
    return _FIELDS.get(field, field)


def _without_fuzzy(key: Key) -> Key:
    """The same criteria without FUZZY: what it covers is loosened."""
    match key:
        case Fuzzy(inner):
            return loosened(inner)
        case Not(inner):
            return Not(_without_fuzzy(inner))
        case And(keys):
            return And(tuple(map(_without_fuzzy, keys)))
        case Or(first, second):
            return Or(_without_fuzzy(first), _without_fuzzy(second))
        case _:
            return key


def inner_keys(key: Key) -> tuple[Key, ...]:
    """The keys in a compound one."""
    match key:
        case Not(inner):
            return (inner,)
        case And(keys):
            return keys
        case Or(first, second):
            return first, second
        case _:
            return ()


def _arranged(key: Key) -> tuple[int, Key]:
    """The same criteria with the cheapest keys first, and what they cost."""
    inner = sorted(map(_arranged, inner_keys(key)), key=itemgetter(0))
    match key:
        case Not():
            return inner[0][0], Not(inner[0][1])
        case And():
            return inner[-1][0], And(tuple(each for _, each in inner))
        case Or():
            return inner[1][0], Or(inner[0][1], inner[1][1])
        case ThreadId():
            return _THREADS, key
        case Envelope() | SentDate():
            return _OVERVIEWS, key
        case BodyText() | AllText() | Header():
            return _TEXT, key
        case _:
            return _MEMORY, key


def overview_fields(key: Key) -> set[str]:
    """The fields of overviews that the keys ask about."""
    match key:
        case Envelope(field, _):
            return {overview_field(field)}
        case SentDate():
            return {"sent_day"}
        case _:
            return set().union(*map(overview_fields, inner_keys(key)))


def flag_test(key: Key, mailbox: Mailbox) -> FlagTest:
    """A test for a message's flags by a key that is about nothing else."""
    tests = [flag_test(each, mailbox) for each in inner_keys(key)]
    match key:
        case Flag(flag):
            return _test_of_one(flag, mailbox)
        case Not():
            return lambda flags: not tests[0](flags)
        case And():
            return lambda flags: all(test(flags) for test in tests)
        case _:
            return lambda flags: any(test(flags) for test in tests)


def _test_of_one(flag: str, mailbox: Mailbox) -> FlagTest:
    if flag in SYSTEM_FLAGS:
        return lambda flags: flag in flags
    wanted = flag.lower()
    spellings = frozenset(keyword for keyword in mailbox.keywords if keyword.lower() == wanted)
    return lambda flags: not spellings.isdisjoint(flags)


def left_of(key: Key, known: Mapping[int, int]) -> ContentKey:
    """What is left of the criteria for messages about which so much is `known`, by the identity of keys."""
    match key:
        case _ if id(key) in known:
            return All() if known[id(key)] else Not(All())
        case SentDate() | Envelope() | Header() | BodyText() | AllText():
            return key
        case Not(inner):
            return Not(cast(Key, left_of(inner, known)))
        case And(keys):
            return And(tuple(cast(Key, left_of(each, known)) for each in keys))
        case Or(first, second):
            return Or(cast(Key, left_of(first, known)), cast(Key, left_of(second, known)))
        case _:  # nothing hangs on it any more
            return All()
