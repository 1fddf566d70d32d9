"""Access control: SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS (RFC 4314 §3, grammar in §7), and how
rights are spelt. The two old rights are here as well: "c" is "k" and "x", "d" is "e" and "t" (§2.1.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import LOGGED_IN, Command, Rows, on_mailbox
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor

ORDER = "lrswipkxtecda"  # as rights are written in responses
_OLD = {"c": "kx", "d": "et"}
_LETTERS = re.compile(r"[lrswipkxtecda]*")

MAX_RIGHTS = 100  # letters, repeated ones counted
MAX_IDENTIFIER = 1000  # octets


@dataclass(frozen=True, slots=True)
class SetAcl(Command):
    """SETACL. sign: "+" to add the rights, "-" to take them away, "" to have them in place of the others."""

    mailbox: str
    identifier: str
    sign: str
    rights: frozenset[str]


@dataclass(frozen=True, slots=True)
class DeleteAcl(Command):
    """DELETEACL."""

    mailbox: str
    identifier: str


@dataclass(frozen=True, slots=True)
class GetAcl(Command):
    """GETACL."""

    mailbox: str


@dataclass(frozen=True, slots=True)
class ListRights(Command):
    """LISTRIGHTS."""

    mailbox: str
    identifier: str


@dataclass(frozen=True, slots=True)
class MyRights(Command):
    """MYRIGHTS."""

    mailbox: str


def expand_rights(letters: str) -> frozenset[str]:
    """The rights that letters stand for, none of them an old one."""
    return frozenset("".join([_OLD.get(letter, letter) for letter in letters]))


def spell_rights(rights: Iterable[str]) -> bytes:
    """Rights in the order of the RFC, an old one added where any of its members is there; `""` for none."""
    found = set(rights)
    found.update([old for old, members in _OLD.items() if found.intersection(members)])
    return "".join([letter for letter in ORDER if letter in found]).encode("ascii") or b'""'


def _identifier(cursor: Cursor) -> str:
    cursor.space()
    raw = cursor.astring()
    try:
        identifier = raw.decode()
    except UnicodeDecodeError:
        raise CommandError("An identifier is UTF-8") from None
    if not identifier or len(raw) > MAX_IDENTIFIER:
        raise CommandError("Not an identifier")
    return identifier


def _set(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    mailbox = cursor.mailbox()
    identifier = _identifier(cursor)
    cursor.space()
    text = cursor.astring().decode("latin-1")
    sign = text[:1] if text[:1] in ("+", "-") else ""
    letters = text.removeprefix(sign)
    if len(letters) > MAX_RIGHTS or not _LETTERS.fullmatch(letters):
        raise CommandError(f"The rights are {ORDER}")
    return SetAcl(tag, mailbox, identifier, sign, expand_rights(letters))


def _delete(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    mailbox = cursor.mailbox()
    return DeleteAcl(tag, mailbox, _identifier(cursor))


def _list(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    mailbox = cursor.mailbox()
    return ListRights(tag, mailbox, _identifier(cursor))


COMMANDS: Rows = {
    "SETACL": (LOGGED_IN, _set),
    "DELETEACL": (LOGGED_IN, _delete),
    "GETACL": (LOGGED_IN, on_mailbox(GetAcl)),
    "LISTRIGHTS": (LOGGED_IN, _list),
    "MYRIGHTS": (LOGGED_IN, on_mailbox(MyRights)),
}
