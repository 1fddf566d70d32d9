"""What a search asks for: the keys as a tree of values (RFC 9051 §6.4.4 and the extensions that add keys).

All keys but those about content (`Envelope`, `Header`, `SentDate`, `BodyText`, `AllText`) can be decided
without a look at the message itself. Strings are decoded from the CHARSET. How keys are written stands in
search_grammar.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from twisted_mta.protocol.imap4.sequence_set import SequenceSet

NEVER = date.max.toordinal() + 1  # the day no message is of; days are counted as date.toordinal() does


@dataclass(frozen=True, slots=True)
class All:
    """Every message. Also SAVEDATESUPPORTED (RFC 8514 §4.3): every mailbox here knows save dates."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Messages with these sequence numbers. Those that no message has are passed over (RFC 7377 §2)."""

    set: SequenceSet


@dataclass(frozen=True, slots=True)
class Uids:
    """Messages with these UIDs."""

    set: SequenceSet


@dataclass(frozen=True, slots=True)
class Saved:
    """The messages of the saved result, `$` (RFC 5182)."""


@dataclass(frozen=True, slots=True)
class Flag:
    """Messages with this flag or keyword. Keywords are compared without regard to case."""

    flag: str


@dataclass(frozen=True, slots=True)
class Recent:
    """Messages that are `\\Recent` in this session."""


@dataclass(frozen=True, slots=True)
class Larger:
    """Messages of more octets than this."""

    octets: int


@dataclass(frozen=True, slots=True)
class Smaller:
    """Messages of fewer octets than this."""

    octets: int


@dataclass(frozen=True, slots=True)
class InternalDate:
    """Messages whose internal date, in UTC, is on a day from `first` on and before `end` (ordinals)."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class SaveDate:
    """Messages that were saved in the mailbox on a day from `first` on and before `end` (ordinals, UTC)."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Older:
    """Messages whose internal date is this many seconds ago or more (RFC 5032)."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Younger:
    """Messages whose internal date is this many seconds ago or less (RFC 5032)."""

    seconds: int


@dataclass(frozen=True, slots=True)
class ModSeq:
    """Messages changed at this mod-sequence or later (RFC 7162 §3.1.5)."""

    value: int


@dataclass(frozen=True, slots=True)
class EmailId:
    """Messages with this content (RFC 8474 §6)."""

    id: str


@dataclass(frozen=True, slots=True)
class ThreadId:
    """Messages of this thread (RFC 8474 §6)."""

    id: str


@dataclass(frozen=True, slots=True)
class SentDate:
    """Messages whose Date field, as written and without its time and zone, names a day from `first` on
    and before `end` (ordinals)."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """Messages with `text` in the subject (the first Subject field), or in the address fields of this name
    (lower case) joined by ", "."""

    field: str
    text: str


@dataclass(frozen=True, slots=True)
class Header:
    """Messages with a field of this name (lower case) that contains `text`; "" is in every field."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class BodyText:
    """Messages with `text` in the body."""

    text: str


@dataclass(frozen=True, slots=True)
class AllText:
    """Messages with `text` in the header or the body."""

    text: str


@dataclass(frozen=True, slots=True)
class Fuzzy:
    """Messages that match `key` by and large (RFC 6203): of its texts every word is there, in any order and
    place of what is searched. All other keys are matched as they are."""

    key: Key


@dataclass(frozen=True, slots=True)
class Filter:
    """Messages that match the criteria kept under this name (RFC 5466)."""

    name: str


@dataclass(frozen=True, slots=True)
class Not:
    """Messages that do not match."""

    key: Key


@dataclass(frozen=True, slots=True)
class And:
    """Messages that match every key."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Messages that match either key."""

    first: Key
    second: Key


Content = SentDate | Envelope | Header | BodyText | AllText
Key = (
    All
    | Numbers
    | Uids
    | Saved
    | Flag
    | Recent
    | Larger
    | Smaller
    | InternalDate
    | SaveDate
    | Older
    | Younger
    | ModSeq
    | EmailId
    | ThreadId
    | Content
    | Fuzzy
    | Filter
    | Not
    | And
    | Or
)


@dataclass(frozen=True, slots=True)
class Program:
    """The criteria of one command. charset: the name of the charset as the client wrote it; "" when it named
    none."""

    key: Key
    charset: str = ""


def walk(key: Key) -> Iterator[Key]:
    """The key and all keys in it."""
    waiting = [key]
    while waiting:
        found = waiting.pop()
        yield found
        match found:
            case Not(inner) | Fuzzy(inner):
                waiting.append(inner)
            case And(keys):
                waiting += keys
            case Or(first, second):
                waiting += (first, second)


def loosened(key: Key) -> Key:
    """The key as it is meant within FUZZY: each text is split into its words."""
    match key:
        case Envelope(field, text):
            return _all_of([Envelope(field, word) for word in text.split()], key)
        case Header(name, text):
            return _all_of([Header(name, word) for word in text.split()], key)
        case BodyText(text):
            return _all_of([BodyText(word) for word in text.split()], key)
        case AllText(text):
            return _all_of([AllText(word) for word in text.split()], key)
        case Not(inner):
            return Not(loosened(inner))
        case Fuzzy(inner):
            return loosened(inner)
        case And(keys):
            return And(tuple(loosened(each) for each in keys))
        case Or(first, second):
            return Or(loosened(first), loosened(second))
        case _:
            return key


def _all_of(words: list[Key], whole: Key) -> Key:
    return And(tuple(words)) if len(words) > 1 else whole
