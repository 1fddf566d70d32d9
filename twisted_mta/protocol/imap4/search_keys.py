"""What a SEARCH asks for (RFC 3501 §6.4.4): the keys as a tree of values.

Every key but the content keys (`Header`, `SentDate`, `BodyText`, `AllText`) can be decided without a
look at the message itself. Strings come out decoded from the command's CHARSET.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from twisted_mta.message.charset import codec
from twisted_mta.protocol.imap4.grammar import SYSTEM_FLAGS, CommandError, Cursor
from twisted_mta.protocol.imap4.sequence_set import SequenceSet, parse_sequence_set

MAX_DEPTH = 100  # levels of parentheses, NOT and OR
MAX_KEYS = 2000
MAX_TEXT = 8 * 1024  # octets of one string to look for

_DATE = re.compile(rb'(?P<quote>"?)([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})(?P=quote)')
_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1
    )
}

NEVER = date.max.toordinal() + 1  # the day no message is of; days are counted as date.toordinal() does


@dataclass(frozen=True, slots=True)
class All:
    """Every message."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Messages with these sequence numbers."""

    set: SequenceSet


@dataclass(frozen=True, slots=True)
class Uids:
    """Messages with these UIDs."""

    set: SequenceSet


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
class SentDate:
    """Messages whose Date field, as written and without its time and zone, names a day from `first` on
    and before `end` (ordinals)."""

    first: int
    end: int


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


Metadata = All | Numbers | Uids | Flag | Recent | Larger | Smaller | InternalDate
Content = SentDate | Header | BodyText | AllText
Key = Metadata | Content | Not | And | Or


def parse_search(cursor: Cursor) -> Key:
    """`[CHARSET charset SP] search-key …` up to the end of the command.

    Raises CommandError; for an unknown charset it is NO [BADCHARSET].
    """
    charset = "utf_8"
    if cursor.data[cursor.position : cursor.position + 8].upper() == b"CHARSET ":
        cursor.position += 8
        charset = _charset(cursor.astring())
        cursor.space()
    return _Keys(cursor, charset).conjunction()


def _charset(raw: bytes) -> str:
    name = codec(raw.decode("latin-1"))
    if name is None:
        raise CommandError("Charset not supported", condition="NO", code="BADCHARSET (US-ASCII UTF-8)")
    return name


class _Keys:
    """The parser for the keys of one command."""

    def __init__(self, cursor: Cursor, charset: str) -> None:
        self._cursor = cursor
        self._charset = charset
        self._depth = 0
        self._count = 0

    def conjunction(self) -> Key:
        """One or more keys until the end of the command or a closing parenthesis."""
        keys = [self._key()]
        while self._cursor.accept(b" "):
            keys.append(self._key())
        return keys[0] if len(keys) == 1 else And(tuple(keys))

    def _key(self) -> Key:
        self._count += 1
        if self._count > MAX_KEYS or self._depth >= MAX_DEPTH:
            raise CommandError("Search too complex")
        self._depth += 1
        try:
            return self._one()
        finally:
            self._depth -= 1

    def _one(self) -> Key:
        cursor = self._cursor
        first = cursor.peek()
        if first == b"(":
            cursor.expect(b"(")
            inner = self.conjunction()
            cursor.expect(b")")
            return inner
        if first.isdigit() or first == b"*":
            return Numbers(parse_sequence_set(cursor))
        word = cursor.keyword()
        simple = _SIMPLE.get(word)
        if simple is not None:
            return simple
        compound = _COMPOUND.get(word)
        if compound is None:
            cursor.fail("a search key")
        cursor.space()
        return compound(self)

    # The arguments of keys

    def text(self) -> str:
        """A string to look for. RFC 3501 asks for CHARSET with anything but ASCII, yet clients send
        bare UTF-8 too."""
        raw = self._cursor.astring()
        if len(raw) > MAX_TEXT:
            raise CommandError("Search string too long", condition="NO", code="LIMIT")
        try:
            return raw.decode(self._charset)
        except ValueError:
            raise CommandError("String does not fit the charset") from None

    def header(self) -> Key:
        """A field name and the text to look for in it."""
        name = self._cursor.astring().decode("latin-1").lower()
        self._cursor.space()
        return Header(name, self.text())

    def flag(self) -> Key:
        """A keyword."""
        return Flag(self._cursor.atom())

    def uids(self) -> Key:
        """A set of UIDs."""
        return Uids(parse_sequence_set(self._cursor))

    def octets(self) -> int:
        """A size."""
        return self._cursor.number()

    def negation(self) -> Key:
        """The key that must not match."""
        return Not(self._key())

    def alternative(self) -> Key:
        """Two keys, of which one must match."""
        first = self._key()
        self._cursor.space()
        return Or(first, self._key())

    def day(self) -> int:
        """A date, as an ordinal."""
        found = _DATE.match(self._cursor.data, self._cursor.position)
        month = _MONTHS.get(found[3].lower()) if found else None
        if found is None or month is None:
            self._cursor.fail("a date")
        self._cursor.position = found.end()
        try:
            return date(int(found[4]), month, int(found[2])).toordinal()
        except ValueError:
            self._cursor.fail("a date")


def _on(kind: type[InternalDate] | type[SentDate]) -> Callable[[_Keys], Key]:
    def key(keys: _Keys) -> Key:
        day = keys.day()
        return kind(day, day + 1)

    return key


_FLAGS = {flag[1:].upper(): Flag(flag) for flag in SYSTEM_FLAGS}

_SIMPLE: dict[str, Key] = {
    "ALL": All(),
    "RECENT": Recent(),
    "OLD": Not(Recent()),
    "NEW": And((Recent(), Not(Flag("\\Seen")))),
    **_FLAGS,
    **{f"UN{name}": Not(flag) for name, flag in _FLAGS.items()},
}

_COMPOUND: dict[str, Callable[[_Keys], Key]] = {
    "BCC": lambda keys: Header("bcc", keys.text()),
    "CC": lambda keys: Header("cc", keys.text()),
    "FROM": lambda keys: Header("from", keys.text()),
    "SUBJECT": lambda keys: Header("subject", keys.text()),
    "TO": lambda keys: Header("to", keys.text()),
    "HEADER": _Keys.header,
    "BODY": lambda keys: BodyText(keys.text()),
    "TEXT": lambda keys: AllText(keys.text()),
    "KEYWORD": _Keys.flag,
    "UNKEYWORD": lambda keys: Not(keys.flag()),
    "LARGER": lambda keys: Larger(keys.octets()),
    "SMALLER": lambda keys: Smaller(keys.octets()),
    "BEFORE": lambda keys: InternalDate(0, keys.day()),
    "SINCE": lambda keys: InternalDate(keys.day(), NEVER),
    "ON": _on(InternalDate),
    "SENTBEFORE": lambda keys: SentDate(0, keys.day()),
    "SENTSINCE": lambda keys: SentDate(keys.day(), NEVER),
    "SENTON": _on(SentDate),
    "UID": _Keys.uids,
    "NOT": _Keys.negation,
    "OR": _Keys.alternative,
}
