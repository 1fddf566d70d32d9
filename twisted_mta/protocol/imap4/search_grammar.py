"""How search criteria are written (RFC 9051 §6.4.4, RFC 5032, RFC 5182, RFC 5466, RFC 6203, RFC 7162,
RFC 8474, RFC 8514, RFC 9738). What they mean stands in search_keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date

from twisted_mta.message.charset import codec
from twisted_mta.protocol.imap4.grammar import SYSTEM_FLAGS, CommandError, Cursor
from twisted_mta.protocol.imap4.mod_sequence import parse_mod_sequence
from twisted_mta.protocol.imap4.search_keys import (
    NEVER,
    All,
    AllText,
    And,
    BodyText,
    EmailId,
    Envelope,
    Filter,
    Flag,
    Fuzzy,
    Header,
    InternalDate,
    Key,
    Larger,
    ModSeq,
    Not,
    Numbers,
    Older,
    Or,
    Program,
    Recent,
    Saved,
    SaveDate,
    SentDate,
    Smaller,
    ThreadId,
    Uids,
    Younger,
)
from twisted_mta.protocol.imap4.sequence_set import MAX_NUMBER, SequenceSet, parse_sequence_set

MAX_DEPTH = 100  # levels of parentheses, NOT, OR and FUZZY
MAX_KEYS = 2000
MAX_TEXT = 8 * 1024  # octets of one string to look for

_DATE = re.compile(rb'(?P<quote>"?)([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})(?P=quote)')
_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1
    )
}
_OBJECT_ID = re.compile(rb"[A-Za-z0-9_-]{1,255}")
_FILTER_NAME = re.compile(rb"[!#$&'+-.0-\[^-z|}~]{1,200}")  # ATOM-CHAR without "/"
_ENTRY_TYPES = frozenset({"priv", "shared", "all"})


def parse_program(cursor: Cursor) -> Program:
    """`[CHARSET charset SP] search-key …` up to the end of the command.

    Raises CommandError; for an unknown charset it is NO [BADCHARSET].
    """
    if cursor.data[cursor.position : cursor.position + 8].upper() != b"CHARSET ":
        return Program(_Keys(cursor, "utf_8").conjunction())
    cursor.position += 8
    return parse_criteria(cursor)


def parse_criteria(cursor: Cursor) -> Program:
    """`charset SP search-key …`, as SORT and THREAD have it. Raises as `parse_program`."""
    charset = cursor.astring().decode("latin-1")
    name = codec(charset)
    cursor.space()  # without a charset the first key stands in its place, and nothing follows it
    if name is None:
        raise CommandError("Charset not supported", condition="NO", code="BADCHARSET (US-ASCII UTF-8)")
    return Program(_Keys(cursor, name).conjunction(), charset)


def parse_filter(value: bytes) -> Key:
    """The criteria of a filter: search keys in UTF-8, nothing else (RFC 5466 §3.2). Raises CommandError."""
    cursor = Cursor(value)
    key = _Keys(cursor, "utf_8").conjunction()
    cursor.end()
    return key


class _Keys:
    """The parser for the keys of one command."""

    def __init__(self, cursor: Cursor, charset: str) -> None:
        self._cursor = cursor
        self._charset = charset
        self._depth = 0
        self._count = 0

    def conjunction(self) -> Key:
        """One or more keys until the end of the command or a closing parenthesis."""
        keys = [self.key()]
        while self._cursor.accept(b" "):
            keys.append(self.key())
        return keys[0] if len(keys) == 1 else And(tuple(keys))

    def key(self) -> Key:
        """One key."""
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
        if cursor.accept(b"$"):
            return Saved()
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
        text = self.text()
        return Envelope(name, text) if name in _ENVELOPE else Header(name, text)

    def flag(self) -> Key:
        """A keyword."""
        return Flag(self._cursor.atom())

    def uids(self) -> Key:
        """A set of UIDs."""
        if self._cursor.accept(b"$"):
            return Saved()
        return Uids(parse_sequence_set(self._cursor))

    def uid(self) -> int:
        """One UID, a number."""
        uid = self._cursor.number()
        if not uid:
            self._cursor.fail("a UID")
        return uid

    def number(self) -> int:
        """A size."""
        return self._cursor.number64()

    def interval(self) -> int:
        """A number of seconds, not zero."""
        seconds = self._cursor.number()
        if not seconds:
            self._cursor.fail("a number greater than zero")
        return seconds

    def modseq(self) -> Key:
        """A mod-sequence, behind the name and type of an entry, which do not matter: there is one
        mod-sequence for all metadata of a message (RFC 7162 §3.1.5)."""
        cursor = self._cursor
        if cursor.peek() == b'"':
            cursor.string()
            cursor.space()
            if cursor.atom().lower() not in _ENTRY_TYPES:
                cursor.fail("the type of an entry")
            cursor.space()
        return ModSeq(parse_mod_sequence(cursor, zero=True))

    def object_id(self) -> str:
        """`objectid` (RFC 8474 §7)."""
        return self._cursor.match(_OBJECT_ID, "an object identifier").decode("ascii")

    def filter(self) -> Key:
        """`filter-name`."""
        return Filter(self._cursor.match(_FILTER_NAME, "the name of a filter").decode("ascii"))

    def alternative(self) -> Key:
        """Two keys, of which one must match."""
        first = self.key()
        self._cursor.space()
        return Or(first, self.key())

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


_DateKey = type[InternalDate] | type[SentDate] | type[SaveDate]
_Reader = Callable[[_Keys], Key]


def _dates(prefix: str, kind: _DateKey) -> dict[str, _Reader]:
    """BEFORE, ON and SINCE about one kind of date."""

    def on(keys: _Keys) -> Key:
        day = keys.day()
        return kind(day, day + 1)

    return {
        f"{prefix}BEFORE": lambda keys: kind(0, keys.day()),
        f"{prefix}ON": on,
        f"{prefix}SINCE": lambda keys: kind(keys.day(), NEVER),
    }


def _uids_between(low: int, high: int) -> Key:
    return Uids(SequenceSet(((low, high),))) if low <= high else Not(All())


def _envelope(field: str) -> _Reader:
    return lambda keys: Envelope(field, keys.text())


_ENVELOPE = ("bcc", "cc", "from", "reply-to", "sender", "subject", "to")
_FLAGS = {flag[1:].upper(): Flag(flag) for flag in SYSTEM_FLAGS}

_SIMPLE: dict[str, Key] = {
    "ALL": All(),
    "RECENT": Recent(),
    "OLD": Not(Recent()),
    "NEW": And((Recent(), Not(Flag("\\Seen")))),
    "SAVEDATESUPPORTED": All(),
    **_FLAGS,
    **{f"UN{name}": Not(flag) for name, flag in _FLAGS.items()},
}

_COMPOUND: dict[str, _Reader] = {
    **{name.upper(): _envelope(name) for name in ("bcc", "cc", "from", "subject", "to")},
    "HEADER": _Keys.header,
    "BODY": lambda keys: BodyText(keys.text()),
    "TEXT": lambda keys: AllText(keys.text()),
    "KEYWORD": _Keys.flag,
    "UNKEYWORD": lambda keys: Not(keys.flag()),
    "LARGER": lambda keys: Larger(keys.number()),
    "SMALLER": lambda keys: Smaller(keys.number()),
    **_dates("", InternalDate),
    **_dates("SENT", SentDate),
    **_dates("SAVED", SaveDate),
    "OLDER": lambda keys: Older(keys.interval()),
    "YOUNGER": lambda keys: Younger(keys.interval()),
    "MODSEQ": _Keys.modseq,
    "EMAILID": lambda keys: EmailId(keys.object_id()),
    "THREADID": lambda keys: ThreadId(keys.object_id()),
    "FILTER": _Keys.filter,
    "FUZZY": lambda keys: Fuzzy(keys.key()),
    "UID": _Keys.uids,
    "UIDAFTER": lambda keys: _uids_between(keys.uid() + 1, MAX_NUMBER),
    "UIDBEFORE": lambda keys: _uids_between(1, keys.uid() - 1),
    "NOT": lambda keys: Not(keys.key()),
    "OR": _Keys.alternative,
}
