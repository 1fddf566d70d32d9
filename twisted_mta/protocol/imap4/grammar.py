"""The lexical rules of IMAP commands (RFC 3501 §9): a cursor over one whole command.

A command is its lines joined as they came, literals in place (`{5}` CRLF and the five octets). The
engine has seen to it that every literal is complete and within bounds before anything is parsed here.

Kinder than the letter in one point: quoted strings may hold octets over 127, because clients send
passwords so. As strict as the letter in all others: one space is one space, NUL is nowhere allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn, TypeVar

from twisted_mta.protocol.imap4.mailbox_name import InvalidName, decode_name, decode_utf8_name

Value = TypeVar("Value")

MAX_TAG = 64  # octets; RFC 2683 §3.2.1.5 knows of no client that needs more than a dozen

_ATOM_CHARS = rb"!#$&'+-\[^-z|}~"
_TAG = re.compile(rb"[!#$&',-\[^-z|}~\]]+")  # ASTRING-CHAR without "+"
_ATOM = re.compile(rb"[" + _ATOM_CHARS + rb"]+")
_ASTRING = re.compile(rb"[" + _ATOM_CHARS + rb"\]]+")
_LIST_MAILBOX = re.compile(rb"[" + _ATOM_CHARS + rb"\]%*]+")
_QUOTED = re.compile(rb'"((?:[^"\\\r\n\0]++|\\["\\])*+)"')
_LITERAL = re.compile(rb"\{([0-9]{1,10})\+?\}\r\n")
_NUMBER = re.compile(rb"[0-9]{1,10}")
_NUMBER64 = re.compile(rb"[0-9]{1,19}")
_FLAG = re.compile(rb"\\?[" + _ATOM_CHARS + rb"]+")

SYSTEM_FLAGS = ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")
_SYSTEM_FLAGS = {flag.lower(): flag for flag in SYSTEM_FLAGS}
MAX_FLAG = 100  # octets of a keyword
MAX_FLAGS = 100  # flags in one list
MAX_LIST = 250  # elements of any parenthesized list; beyond, the rest of it is not even looked at
MAX_MAILBOX = 4000  # octets of a name or pattern; none of ours is as long, and decoding takes its time


class CommandError(Exception):
    """A command that cannot be carried out as it stands: `BAD`, or `NO` with a response code."""

    def __init__(self, text: str, *, condition: str = "BAD", code: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.condition = condition
        self.code = code


class Cursor:
    """Reads one command from left to right. Every method raises CommandError where the grammar ends."""

    __slots__ = ("data", "position", "ranges", "utf8")

    def __init__(self, data: bytes, position: int = 0, *, utf8: bool = False) -> None:
        self.data = data
        self.position = position
        self.ranges = 0  # in all sequence sets so far
        self.utf8 = utf8  # names of mailboxes are UTF-8 and not modified UTF-7

    def fail(self, expected: str) -> NoReturn:
        """Refuse the command for want of what was `expected` here."""
        raise CommandError(f"Syntax error: expected {expected}")

    def match(self, pattern: re.Pattern[bytes], expected: str) -> bytes:
        """The octets that the pattern matches here."""
        found = pattern.match(self.data, self.position)
        if found is None:
            self.fail(expected)
        self.position = found.end()
        return found[0]

    def at_end(self) -> bool:
        """True when nothing is left."""
        return self.position >= len(self.data)

    def peek(self) -> bytes:
        """The next octet, b"" at the end."""
        return self.data[self.position : self.position + 1]

    def accept(self, octets: bytes) -> bool:
        """Step over `octets` when they stand here."""
        if self.data.startswith(octets, self.position):
            self.position += len(octets)
            return True
        return False

    def expect(self, octets: bytes) -> None:
        """Step over `octets`."""
        if not self.accept(octets):
            self.fail("a space" if octets == b" " else repr(octets.decode("ascii")))

    def space(self) -> None:
        """Exactly one SP."""
        self.expect(b" ")

    def end(self) -> None:
        """Nothing more may follow."""
        if not self.at_end():
            self.fail("the end of the command")

    # Words

    def tag(self) -> str:
        """The tag of a command; at most MAX_TAG octets."""
        tag = self.match(_TAG, "a tag")
        if len(tag) > MAX_TAG:
            raise CommandError("Tag too long")
        return tag.decode("ascii")

    def atom(self) -> str:
        """`atom`, case kept."""
        return self.match(_ATOM, "an atom").decode("ascii")

    def keyword(self) -> str:
        """An atom of the protocol's own, in upper case."""
        return self.atom().upper()

    def number(self) -> int:
        """`number`: an unsigned 32-bit integer."""
        value = int(self.match(_NUMBER, "a number"))
        if value > 0xFFFFFFFF:
            self.fail("a 32-bit number")
        return value

    def number64(self) -> int:
        """`number64`: an unsigned 63-bit integer (RFC 9051 §9), for octets."""
        value = int(self.match(_NUMBER64, "a number"))
        if value > 0x7FFFFFFFFFFFFFFF:
            self.fail("a 63-bit number")
        return value

    # Strings

    def string(self) -> bytes:
        """`string`: quoted or literal."""
        if self.peek() == b'"':
            return self._quoted()
        return self._literal()

    def astring(self) -> bytes:
        """`astring`: an atom (which may hold `]`), a quoted string or a literal."""
        if self.peek() in (b'"', b"{"):
            return self.string()
        return self.match(_ASTRING, "a string")

    def nstring(self) -> bytes | None:
        """`nstring`: a string or NIL."""
        if self.peek() in (b'"', b"{"):
            return self.string()
        if self.keyword() != "NIL":
            self.fail("a string or NIL")
        return None

    def list_mailbox(self) -> str:
        """`list-mailbox`: a mailbox name that may hold the wildcards `%` and `*`."""
        raw = self.string() if self.peek() in (b'"', b"{") else self.match(_LIST_MAILBOX, "a mailbox pattern")
        return decode_mailbox(raw, utf8=self.utf8)

    def mailbox(self) -> str:
        """`mailbox`: decoded, with INBOX in upper case (RFC 3501 §5.1)."""
        return decode_mailbox(self.astring(), utf8=self.utf8)

    def _quoted(self) -> bytes:
        inner = self.match(_QUOTED, "the end of a quoted string")[1:-1]
        if b"\\" not in inner:
            return inner
        # A regular expression would take most of a second for the longest string of nothing but escapes.
        return b"\\".join([piece.replace(b'\\"', b'"') for piece in inner.split(b"\\\\")])

    def _literal(self) -> bytes:
        found = _LITERAL.match(self.data, self.position)
        if found is None:
            self.fail("a string")
        self.position = found.end() + int(found[1])
        octets = self.data[found.end() : self.position]
        if self.position > len(self.data):
            self.fail("the whole of a literal")
        if b"\0" in octets:
            raise CommandError("NUL is not allowed")
        return octets

    # Lists

    def parenthesized(self, item: Callable[[], Value], *, empty: bool = False) -> list[Value]:
        """`(item SP item …)`; the list may be empty only when `empty` says so."""
        self.expect(b"(")
        items: list[Value] = []
        if empty and self.accept(b")"):
            return items
        items.append(item())
        while not self.accept(b")"):
            if len(items) == MAX_LIST:
                raise CommandError("Too many elements in a list", condition="NO", code="LIMIT")
            self.space()
            items.append(item())
        return items

    def flag(self) -> str:
        """`flag`: system flags in their canonical spelling; `\\Recent` cannot be set by anyone."""
        raw = self.match(_FLAG, "a flag")
        if len(raw) > MAX_FLAG:
            raise CommandError("Flag too long", condition="NO", code="LIMIT")
        flag = raw.decode("ascii")
        if not flag.startswith("\\"):
            return flag
        known = _SYSTEM_FLAGS.get(flag.lower())
        if known is None:
            raise CommandError("No such system flag")
        return known

    def flag_list(self) -> frozenset[str]:
        """`flag-list`: parenthesized flags, possibly none."""
        return self._bounded(self.parenthesized(self.flag, empty=True))

    def flags(self) -> frozenset[str]:
        """The value of a STORE: a flag list, or flags without parentheses."""
        if self.peek() == b"(":
            return self.flag_list()
        flags = [self.flag()]
        while len(flags) <= MAX_FLAGS and self.accept(b" "):
            flags.append(self.flag())
        return self._bounded(flags)

    @staticmethod
    def _bounded(flags: list[str]) -> frozenset[str]:
        if len(flags) > MAX_FLAGS:
            raise CommandError("Too many flags", condition="NO", code="LIMIT")
        # Case does not tell keywords apart; the first spelling counts.
        return frozenset({flag.lower(): flag for flag in reversed(flags)}.values())


def decode_mailbox(raw: bytes, *, utf8: bool = False) -> str:
    """A mailbox name as text, INBOX in upper case. Raises CommandError (NO [CANNOT]): the syntax of the
    command is right, but no mailbox can ever have that name."""
    if len(raw) > MAX_MAILBOX:
        raise CommandError("Mailbox name is too long", condition="NO", code="CANNOT")
    try:
        name = decode_utf8_name(raw) if utf8 else decode_name(raw)
    except InvalidName as error:
        raise CommandError(str(error), condition="NO", code="CANNOT") from None
    return canonical(name)


def canonical(name: str) -> str:
    """INBOX, and INBOX as the first level of a name, is INBOX in whatever case (RFC 3501 §5.1)."""
    first, separator, rest = name.partition("/")
    return "INBOX" + separator + rest if first.upper() == "INBOX" else name
