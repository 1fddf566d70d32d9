"""GETMETADATA and SETMETADATA (RFC 5464 §4, grammar in §5). Names of entries are in lower case here, since
their case means nothing; the mailbox "" is the server itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import LOGGED_IN, Command, Rows
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor

MAX_ENTRY = 255  # octets of an entry's name

_ENTRY = re.compile(rb"(?:/[\x20-\x24\x26-\x29\x2b-\x2e\x30-\x7e]+)+")  # neither "%" nor "*"
_LITERAL8 = re.compile(rb"~\{([0-9]{1,10})\+?\}\r\n")
_DEPTHS = {"0": 0, "1": 1, "INFINITY": None}


@dataclass(frozen=True, slots=True)
class GetMetadata(Command):
    """GETMETADATA. depth: levels below each entry that are asked for too, None for all; max_size: octets of
    the longest value that the client wants to see, None for any."""

    mailbox: str
    entries: tuple[str, ...]
    depth: int | None = 0
    max_size: int | None = None


@dataclass(frozen=True, slots=True)
class SetMetadata(Command):
    """SETMETADATA: entries and their new values, None for one to be removed. Each entry stands there once."""

    mailbox: str
    values: tuple[tuple[str, bytes | None], ...]


def read_entry(cursor: Cursor) -> str:
    """`entry`, in lower case (RFC 5464 §3.2). Raises CommandError."""
    raw = cursor.astring()
    if len(raw) > MAX_ENTRY or not _ENTRY.fullmatch(raw):
        raise CommandError("Not the name of an entry")
    entry = raw.decode("ascii").lower()
    if not f"{entry}/".startswith(("/private/", "/shared/")):
        raise CommandError("The name of an entry begins with /private/ or /shared/")
    return entry


def _get(cursor: Cursor, tag: str) -> Command:
    options: dict[str, int | None] = {}
    cursor.space()
    if cursor.peek() == b"(":  # where the grammar has them; the RFC's examples have them behind the mailbox
        _options(cursor, options)
        cursor.space()
    mailbox = cursor.mailbox()
    cursor.space()
    if not options and _options_follow(cursor):
        _options(cursor, options)
        cursor.space()
    if cursor.peek() == b"(":
        entries = cursor.parenthesized(lambda: read_entry(cursor))
    else:
        entries = [read_entry(cursor)]
        while cursor.accept(b" "):  # without parentheses in an example only (RFC 5464 §4.4.1)
            entries.append(read_entry(cursor))
    return GetMetadata(
        tag, mailbox, tuple(dict.fromkeys(entries)), options.get("DEPTH", 0), options.get("MAXSIZE")
    )


def _options_follow(cursor: Cursor) -> bool:
    """True for a list that does not begin like one of entries."""
    start = cursor.data[cursor.position : cursor.position + 2]
    return start[:1] == b"(" and start[1:].isalpha()


def _options(cursor: Cursor, options: dict[str, int | None]) -> None:
    def option() -> None:
        word = cursor.keyword()
        cursor.space()
        if word == "MAXSIZE":
            options[word] = cursor.number()
        elif word == "DEPTH":
            depth = cursor.keyword()
            if depth not in _DEPTHS:
                cursor.fail("0, 1 or infinity")
            options[word] = _DEPTHS[depth]
        else:
            cursor.fail("DEPTH or MAXSIZE")

    cursor.parenthesized(option)


def _set(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    mailbox = cursor.mailbox()
    cursor.space()
    values = cursor.parenthesized(_entry_value(cursor))
    if len(dict(values)) < len(values):
        raise CommandError("An entry cannot have two values")
    return SetMetadata(tag, mailbox, tuple(values))


def _entry_value(cursor: Cursor) -> Callable[[], tuple[str, bytes | None]]:
    def read() -> tuple[str, bytes | None]:
        entry = read_entry(cursor)
        cursor.space()
        return entry, _literal8(cursor) if cursor.peek() == b"~" else cursor.nstring()

    return read


def _literal8(cursor: Cursor) -> bytes:
    """`literal8`, the one kind of string that may hold NUL."""
    size = int(cursor.match(_LITERAL8, "a literal")[2:].partition(b"}")[0].rstrip(b"+"))
    octets = cursor.data[cursor.position : cursor.position + size]
    cursor.position += len(octets)
    return octets


COMMANDS: Rows = {
    "GETMETADATA": (LOGGED_IN, _get),
    "SETMETADATA": (LOGGED_IN, _set),
}
