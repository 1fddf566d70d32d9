"""LIST with its selection and return options, and LSUB (RFC 9051 §6.3.9, RFC 3501 §6.3.9, RFC 5258, with the
options of RFC 5819, RFC 6154, RFC 8440 and RFC 9590)."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import LOGGED_IN, Command, Rows
from twisted_mta.protocol.imap4.commands.mailboxes import status_items
from twisted_mta.protocol.imap4.commands.metadata import read_entry
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor

SELECTION_OPTIONS = frozenset({"SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"})
RETURN_OPTIONS = frozenset({"SUBSCRIBED", "CHILDREN", "SPECIAL-USE", "MYRIGHTS"})


@dataclass(frozen=True, slots=True)
class Returned:
    """What is to be told of each mailbox: `options` without arguments, STATUS items in the order asked for
    (none: no STATUS), names of annotations."""

    options: frozenset[str] = frozenset()
    status: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class List(Command):
    """LIST. Patterns that no name can match are left out. `extended`: one of the forms of RFC 5258 §3, where
    an empty pattern has no meaning of its own."""

    reference: str
    patterns: tuple[str, ...]
    selection: frozenset[str] = frozenset()
    returned: Returned = Returned()
    extended: bool = False


@dataclass(frozen=True, slots=True)
class Lsub(Command):
    """LSUB. Without a pattern when no name can match what the client wrote."""

    reference: str
    patterns: tuple[str, ...]


def _list(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    selection: frozenset[str] = frozenset()
    extended = cursor.peek() == b"("
    if extended:
        selection = _selection(cursor)
        cursor.space()
    reference = _name(cursor)
    cursor.space()
    several = cursor.peek() == b"("
    found = cursor.parenthesized(lambda: _pattern(cursor)) if several else [_pattern(cursor)]
    returned = Returned()
    if cursor.accept(b" "):
        if cursor.keyword() != "RETURN":
            cursor.fail("RETURN")
        cursor.space()
        returned = _returned(cursor)
        extended = True
    extended = extended or several
    patterns = [each for each in found if each is not None] if reference is not None else []
    if extended:
        patterns = [each for each in patterns if each]
    return List(tag, reference or "", tuple(patterns), selection, returned, extended)


def _lsub(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    reference = _name(cursor)
    cursor.space()
    pattern = _pattern(cursor)
    if reference is None or pattern is None:
        return Lsub(tag, "", ())
    return Lsub(tag, reference, (pattern,))


def _name(cursor: Cursor) -> str | None:
    """The reference; None for one that is beyond all names."""
    try:
        return cursor.mailbox()
    except CommandError as error:
        if error.condition != "NO":
            raise
        return None


def _pattern(cursor: Cursor) -> str | None:
    """One pattern; None for one that no name can match: what is not accepted is silently ignored
    (RFC 9051 §6.3.9)."""
    try:
        return cursor.list_mailbox()
    except CommandError as error:
        if error.condition != "NO":
            raise
        return None


def _selection(cursor: Cursor) -> frozenset[str]:
    options = frozenset(cursor.parenthesized(cursor.keyword, empty=True))
    if not options <= SELECTION_OPTIONS:
        cursor.fail("a selection option")
    if "RECURSIVEMATCH" in options and not options & {"SUBSCRIBED", "SPECIAL-USE"}:
        raise CommandError("RECURSIVEMATCH needs another selection option")
    return options


def _returned(cursor: Cursor) -> Returned:
    options: set[str] = set()
    status: list[str] = []
    metadata: list[str] = []

    def option() -> None:
        word = cursor.keyword()
        if word == "STATUS":
            cursor.space()
            status.extend(status_items(cursor))
        elif word == "METADATA":
            cursor.space()
            metadata.extend(cursor.parenthesized(lambda: read_entry(cursor)))
        elif word in RETURN_OPTIONS:
            options.add(word)
        else:
            cursor.fail("a return option")

    cursor.parenthesized(option, empty=True)
    return Returned(frozenset(options), tuple(dict.fromkeys(status)), tuple(dict.fromkeys(metadata)))


COMMANDS: Rows = {
    "LIST": (LOGGED_IN, _list),
    "LSUB": (LOGGED_IN, _lsub),
}
