"""What a FETCH asks for (RFC 9051 §6.4.5, grammar in §9 fetch-att and section; RFC 3501 for RFC822 and its
kin; RFC 3516, 7162, 8474, 8514, 8970)."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from twisted_mta.protocol.imap4.grammar import CommandError, Cursor
from twisted_mta.protocol.imap4.responses import astring

_PART = re.compile(rb"[1-9][0-9]{0,9}(?:\.[1-9][0-9]{0,9})*")
_ATT = re.compile(rb"[A-Za-z0-9.]+")
_PREVIEW_MODIFIERS = re.compile(rb" \(LAZY(?: LAZY)*\)", re.IGNORECASE)
MAX_PART_DEPTH = 128  # numbers in one part specifier; deeper parts than that are never told apart
MAX_ITEMS = 250  # data items in one FETCH
MAX_FIELDS = 250  # field names in one section


class Text(enum.Enum):
    """Which text of a message or part a section names (RFC 3501 §6.4.5)."""

    ALL = ""
    HEADER = "HEADER"
    HEADER_FIELDS = "HEADER.FIELDS"
    HEADER_FIELDS_NOT = "HEADER.FIELDS.NOT"
    TEXT = "TEXT"
    MIME = "MIME"


@dataclass(frozen=True, slots=True)
class Section:
    """`part` are the part numbers, () for the message itself; `fields` the header field names in lower case
    that go with HEADER_FIELDS and HEADER_FIELDS_NOT; `label` the section as it stands in the response."""

    part: tuple[int, ...] = ()
    text: Text = Text.ALL
    fields: frozenset[bytes] = frozenset()
    label: bytes = b""


class Attribute(enum.Enum):
    """Data items without arguments. A LAZY_PREVIEW is told when it is known already."""

    UID = "UID"
    FLAGS = "FLAGS"
    MODSEQ = "MODSEQ"
    INTERNALDATE = "INTERNALDATE"
    SAVEDATE = "SAVEDATE"
    SIZE = "RFC822.SIZE"
    EMAILID = "EMAILID"
    THREADID = "THREADID"
    ENVELOPE = "ENVELOPE"
    BODY = "BODY"
    BODYSTRUCTURE = "BODYSTRUCTURE"
    PREVIEW = "PREVIEW"
    LAZY_PREVIEW = "PREVIEW (LAZY)"


@dataclass(frozen=True, slots=True)
class Body:
    """A piece of the message's text. `label` is the data item's name in the response; `partial` is
    (first octet, number of octets), None for all; `peek`: does not set `\\Seen`."""

    section: Section
    label: bytes
    partial: tuple[int, int] | None = None
    peek: bool = False

    @property
    def is_header(self) -> bool:
        """True when it is in the header of the message itself."""
        return not self.section.part and self.section.text not in (Text.ALL, Text.TEXT)


@dataclass(frozen=True, slots=True)
class Binary:
    """A part without its transfer encoding, () for the whole message; its `size` only, or its octets with the
    rest as in Body (RFC 3516)."""

    part: tuple[int, ...]
    label: bytes
    partial: tuple[int, int] | None = None
    peek: bool = False
    size: bool = False


Item = Attribute | Body | Binary

_FAST = (Attribute.FLAGS, Attribute.INTERNALDATE, Attribute.SIZE)
MACROS: dict[str, tuple[Item, ...]] = {
    "ALL": (*_FAST, Attribute.ENVELOPE),
    "FAST": _FAST,
    "FULL": (*_FAST, Attribute.ENVELOPE, Attribute.BODY),
}
_WORDS: dict[str, Item] = {
    **{attribute.value: attribute for attribute in Attribute if attribute is not Attribute.LAZY_PREVIEW},
    "RFC822": Body(Section(), b"RFC822"),
    "RFC822.HEADER": Body(Section(text=Text.HEADER), b"RFC822.HEADER", peek=True),
    "RFC822.TEXT": Body(Section(text=Text.TEXT), b"RFC822.TEXT"),
}


def parse_items(cursor: Cursor) -> tuple[Item, ...]:
    """The items of a FETCH: a macro, one item, or a parenthesized list; each item once, in order.
    Raises CommandError."""
    if cursor.peek() == b"(":
        items = tuple(dict.fromkeys(cursor.parenthesized(lambda: _item(cursor))))
        if len(items) > MAX_ITEMS:
            raise CommandError("Too many data items", condition="NO", code="LIMIT")
        return items
    start = cursor.position
    macro = MACROS.get(cursor.match(_ATT, "a data item").decode("ascii").upper())
    if macro is not None:
        return macro
    cursor.position = start
    return (_item(cursor),)


def _item(cursor: Cursor) -> Item:
    word = cursor.match(_ATT, "a data item").decode("ascii").upper()
    if word in ("BODY", "BODY.PEEK") and cursor.accept(b"["):
        section = _section(cursor)
        cursor.expect(b"]")
        partial = _partial(cursor)
        origin = b"<%d>" % partial[0] if partial else b""
        return Body(section, b"BODY[" + section.label + b"]" + origin, partial, peek=word == "BODY.PEEK")
    if word in _BINARY:
        return _binary(cursor, word)
    if word == "PREVIEW":
        found = _PREVIEW_MODIFIERS.match(cursor.data, cursor.position)
        if found is not None:
            cursor.position = found.end()
            return Attribute.LAZY_PREVIEW
    item = _WORDS.get(word)
    if item is None:
        cursor.fail("a data item")
    return item


_BINARY = frozenset({"BINARY", "BINARY.PEEK", "BINARY.SIZE"})


def _binary(cursor: Cursor, word: str) -> Binary:
    cursor.expect(b"[")
    part, label = _part(cursor)
    cursor.expect(b"]")
    if word == "BINARY.SIZE":
        return Binary(part, b"BINARY.SIZE[" + label + b"]", peek=True, size=True)
    partial = _partial(cursor)
    origin = b"<%d>" % partial[0] if partial else b""
    return Binary(part, b"BINARY[" + label + b"]" + origin, partial, peek=word == "BINARY.PEEK")


def _partial(cursor: Cursor) -> tuple[int, int] | None:
    if not cursor.accept(b"<"):
        return None
    first = cursor.number64()
    cursor.expect(b".")
    number = cursor.number64()
    if not number:
        cursor.fail("a number of octets greater than zero")
    cursor.expect(b">")
    return first, number


def _part(cursor: Cursor) -> tuple[tuple[int, ...], bytes]:
    """`section-part`, if there is one: its numbers, and as it is written."""
    found = _PART.match(cursor.data, cursor.position)
    if found is None:
        return (), b""
    part = tuple(int(number) for number in found[0].split(b"."))
    if len(part) > MAX_PART_DEPTH:
        cursor.fail("a shorter part specifier")
    cursor.position = found.end()
    return part, found[0]


def _section(cursor: Cursor) -> Section:
    """`section-spec`, up to the closing bracket."""
    part, label = _part(cursor)
    prefix = b""
    if part:
        if not cursor.accept(b"."):
            return Section(part, label=label)
        prefix = label + b"."
    elif cursor.peek() == b"]":
        return Section()
    word = cursor.match(_ATT, "a section").decode("ascii").upper()
    try:
        text = Text(word)
    except ValueError:
        cursor.fail("a section")
    if text is Text.MIME and not part:
        cursor.fail("a part number before MIME")
    label = prefix + word.encode("ascii")
    if text not in (Text.HEADER_FIELDS, Text.HEADER_FIELDS_NOT):
        return Section(part, text, label=label)
    cursor.space()
    names = cursor.parenthesized(cursor.astring)
    if len(names) > MAX_FIELDS:
        raise CommandError("Too many field names", condition="NO", code="LIMIT")
    # The names go back as the client wrote them: some clients look their own words up in the answer.
    label += b" (" + b" ".join(astring(name) for name in names) + b")"
    return Section(part, text, frozenset(name.lower() for name in names), label)
