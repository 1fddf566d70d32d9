"""Address lists as in From and To, in the form of an IMAP ENVELOPE (RFC 5322 §3.4, §4.4, RFC 3501 §7.4.2).

Takes the obsolete forms (routes, dots and comments everywhere, names in a comment behind the address, empty
list members) and what is merely wrong: missing commas, missing `>`, unquoted names, local parts without a
domain. It never raises, needs linear time, and reads no further than the limits below. Whoever reads many
fields of one message gives them one `Allowance` together.

Names keep their RFC 2047 words: ENVELOPE wants them raw. Left out on purpose: judging whether an address
could be delivered to; that is address.Address.parse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from twisted_mta.message.headers import comment_end, unfold
from twisted_mta.message.parameters import unquote

MAX_VALUE = 4 * 1024 * 1024  # octets of a field that are read
MAX_MEMBER = 1024 * 1024  # octets of one list member, or group, that are read when it is of an unusual form
MAX_ENTRIES = 100_000
MAX_TOKENS = 100_000  # words, special characters and comments of the entries that are not of the usual form
MAX_WORDS = 1000  # of one entry; the words beyond are dropped
MAX_COMMENT = 64 * 1024  # octets of a comment that are kept

_ATOM, _QUOTED, _LITERAL, _SPECIAL = 1, 2, 3, 4  # the groups of _TOKEN
# Dots stay inside atoms, which makes "John Q. Public" and "dot.atom" one case.
_TOKEN = re.compile(
    rb"""\s*+(?:([^\s()<>@,;:\[\]"\\]++)|"((?:[^"\\]++|\\.)*+)(?:"|\\?\Z)"""
    rb"""|(\[(?:[^\]\\]++|\\.)*+(?:\]|\\?\Z))|(.))""",
    re.DOTALL,
)
_SIMPLE_COMMENT = re.compile(rb"([^()\\]*+)\)")
# The usual `name <local@domain>` and `local@domain`, with the comma or end behind: read at one go where they
# stand. Whatever is not exactly of this form is read token by token.
_ATOM_TEXT = rb"""[^\s()<>@,;:\[\]"\\]++"""
_USUAL = re.compile(
    rb"""\s*+(?:(?:(%b(?:\ %b){0,30}+)|"([^"\\]*+)")?+\s*+<(%b)@(%b)>|(%b)@(%b))\s*+(?:,|\Z)"""
    % ((_ATOM_TEXT,) * 6)
)


class Mailbox(NamedTuple):
    """One entry, with the four members of an ENVELOPE address: octets, or None for NIL.

    `name` is the display name, `route` an obsolete source route such as b"@a,@b". An address without a domain
    has b"" there. A group begins with an entry whose domain is None, its name in `local`, and ends with an
    entry that is all None.
    """

    name: bytes | None
    route: bytes | None
    local: bytes | None
    domain: bytes | None


_GROUP_END = Mailbox(None, None, None, None)


class Allowance:
    """How much may still be read: tokens of unusual entries, and entries of any kind."""

    __slots__ = ("entries", "tokens")

    def __init__(self) -> None:
        self.tokens = MAX_TOKENS
        self.entries = MAX_ENTRIES

    @property
    def is_spent(self) -> bool:
        """Nothing more is read."""
        return self.tokens <= 0 or self.entries <= 0

    def spend(self, tokens: int, entries: int) -> None:
        """So much was read."""
        self.tokens -= tokens
        self.entries -= entries


class _Word(NamedTuple):
    kind: int
    text: bytes
    spaced: bool  # white space or a comment stands in front of it

    @property
    def is_at(self) -> bool:
        return self.kind == _SPECIAL and self.text == b"@"


def parse_addresses(value: bytes, allowance: Allowance | None = None) -> list[Mailbox]:
    """The entries of the value of an address field, groups included, in order, as many as the allowance
    permits, which has the less afterwards; a field by itself has all of one."""
    value = (unfold(value) if b"\n" in value else value)[:MAX_VALUE].rstrip(b" \t\r")
    allowance = allowance or Allowance()
    entries: list[Mailbox] = []
    reader: _Reader | None = None
    position, length, most = 0, len(value), allowance.entries
    while position < length and len(entries) < most:
        match = _USUAL.match(value, position)
        if match is None:
            reader = reader or _Reader(value, entries, allowance)
            position = reader.read(position)
            continue
        name, quoted_name, local, domain, bare_local, bare_domain = match.groups()
        if bare_local is None:
            entries.append(Mailbox(name or quoted_name or None, None, local, domain))
        else:
            entries.append(Mailbox(None, None, bare_local, bare_domain))
        position = match.end()
    allowance.spend(reader.tokens if reader else 0, len(entries))
    return entries


class _Reader:
    """Reads tokens once from left to right, keeps the words of the entry that is not finished yet, and adds
    to `entries`."""

    def __init__(self, value: bytes, entries: list[Mailbox], allowance: Allowance) -> None:
        self.entries = entries
        self.tokens = 0  # that were read
        self._value = value
        self._position = self._end = 0
        self._most_tokens, self._most_entries = allowance.tokens, allowance.entries
        self._words: list[_Word] = []
        self._comment = b""  # the latest one, a name when nothing better is found
        self._in_group = False
        self._has_address = False  # this list member had its angle brackets already

    def read(self, position: int) -> int:
        """Read from `position`, where a list member begins, to where the next one does outside of any group,
        which is returned; the end of the value when no more is to be read."""
        self._position, self._end = position, position + MAX_MEMBER
        tokens = self._tokens()
        for token in tokens:
            if len(self.entries) >= self._most_entries:
                break
            if token.kind != _SPECIAL or token.text == b"@":
                if len(self._words) < MAX_WORDS:
                    self._words.append(token)
            elif token.text == b"<":
                self._read_angle(tokens)
            elif token.text == b":":
                self._begin_group()
            elif token.text in (b",", b";"):
                if token.text == b",":
                    self._end_member()
                else:
                    self._end_group()
                if not self._in_group:
                    return self._position
        self._end_group()
        return len(self._value)

    def _tokens(self) -> Iterator[_Word]:
        """The words and special characters; comments are noted and count as white space."""
        position, spaced = self._position, False
        while self.tokens < self._most_tokens and (match := _TOKEN.match(self._value, position, self._end)):
            self.tokens += 1
            kind = match.lastindex or _SPECIAL
            text = match[kind]
            position = match.end()
            spaced = spaced or match[0][:1].isspace()
            if kind == _SPECIAL and text == b"(":
                if simple := _SIMPLE_COMMENT.match(self._value, position):
                    position = simple.end()
                    self._comment = simple[1].strip()
                else:
                    start, position = position, comment_end(self._value, position - 1)
                    comment = self._value[start : min(position, start + MAX_COMMENT)]
                    self._comment = unquote(comment.removesuffix(b")")).strip()
                spaced = True
                continue
            self._position = position
            yield _Word(kind, unquote(text) if kind == _QUOTED else text, spaced)
            spaced = False

    def _end_member(self) -> None:
        """A comma or the end of the list: what was not in angle brackets is an address by itself."""
        words = self._words
        if words and not self._has_address:
            at = _last_at(words)
            first = _first_of_local(words, at)
            name = _phrase(words[:first]) or self._comment or None
            self.entries.append(Mailbox(name, None, _local(words[first:at]), _domain(words[at + 1 :])))
        self._clear()

    def _clear(self) -> None:
        self._words = []
        self._comment = b""
        self._has_address = False

    def _begin_group(self) -> None:
        if not self._in_group:
            self.entries.append(Mailbox(None, None, _phrase(self._words), None))
            self._in_group = True
        self._clear()

    def _end_group(self) -> None:
        self._end_member()
        if self._in_group:
            self.entries.append(_GROUP_END)
            self._in_group = False

    def _read_angle(self, tokens: Iterator[_Word]) -> None:
        """The route and address up to `>`; a comma ends it too, unless it separates the hosts of a route."""
        name = _phrase(self._words) or None
        self._words = []
        route: bytes | None = None
        words: list[_Word] = []
        ended = b""
        for token in tokens:
            if token.kind != _SPECIAL or token.text == b"@":
                if len(words) < MAX_WORDS:
                    words.append(token)
                continue
            in_route = route is None and bool(words) and words[0].is_at
            if token.text == b":" and in_route:
                route = b"".join(word.text for word in words)
                words = []
            elif token.text == b"," and in_route:
                words.append(token)
            elif token.text in (b">", b",", b";"):
                ended = token.text
                break
        at = _last_at(words)
        name = name or self._comment or None
        self.entries.append(Mailbox(name, route, _local(words[:at]), _domain(words[at + 1 :])))
        self._has_address = True
        if ended == b",":
            self._end_member()
        elif ended == b";":
            self._end_group()


def _last_at(words: list[_Word]) -> int:
    """The index of the last `@`; the number of words when there is none."""
    return next((index for index in range(len(words) - 1, -1, -1) if words[index].is_at), len(words))


def _first_of_local(words: list[_Word], at: int) -> int:
    """Where the local part before `@` begins: words that are not joined by dots belong to a name. Without `@`
    all of it is local part."""
    if at == len(words) or at == 0:
        return 0
    first = at - 1
    while first > 0 and not words[first - 1].is_at and _dotted(words[first - 1], words[first]):
        first -= 1
    return first


def _dotted(left: _Word, right: _Word) -> bool:
    return left.text.endswith(b".") or right.text.startswith(b".") or not right.spaced


def _domain(words: list[_Word]) -> bytes:
    """The domain without white space; what follows it without a dot does not belong to it."""
    end = 1
    while end < len(words) and _dotted(words[end - 1], words[end]):
        end += 1
    return b"".join(word.text for word in words[:end])


def _local(words: list[_Word]) -> bytes:
    """The local part; there is no white space around dots."""
    return b"".join(
        b" " + word.text if index and not _dotted(words[index - 1], word) else word.text
        for index, word in enumerate(words)
    )


def _phrase(words: list[_Word]) -> bytes:
    return b"".join(
        b" " + word.text if word.spaced and index else word.text for index, word in enumerate(words)
    )
