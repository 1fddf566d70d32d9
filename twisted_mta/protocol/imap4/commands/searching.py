"""SEARCH, SORT, THREAD, ESEARCH and CANCELUPDATE (RFC 9051 §6.4.4, RFC 5256 §3, RFC 5267, RFC 5957, RFC 6203,
RFC 7377)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import (
    LOGGED_IN,
    Command,
    OnMessages,
    Reader,
    Rows,
    State,
)
from twisted_mta.protocol.imap4.esearch import Return, accept_return
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor
from twisted_mta.protocol.imap4.mailbox_filter import MailboxFilter, parse_mailbox_filter
from twisted_mta.protocol.imap4.search_grammar import parse_criteria, parse_program
from twisted_mta.protocol.imap4.search_keys import Program

SORT_KEYS = frozenset({"ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO"}) | {
    "DISPLAYFROM",  # RFC 5957
    "DISPLAYTO",
    "RELEVANCY",  # RFC 6203
}
ALGORITHMS = frozenset({"ORDEREDSUBJECT", "REFERENCES", "REFS"})


@dataclass(frozen=True, slots=True)
class Search(OnMessages):
    """SEARCH. returning: None where there is no RETURN."""

    returning: Return | None
    program: Program


@dataclass(frozen=True, slots=True)
class Criterion:
    """What is sorted by: `key` is one of SORT_KEYS."""

    key: str
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Sort(OnMessages):
    """SORT (RFC 5256), with RETURN (RFC 5267 §3)."""

    returning: Return | None
    criteria: tuple[Criterion, ...]
    program: Program


@dataclass(frozen=True, slots=True)
class Thread(OnMessages):
    """THREAD (RFC 5256). algorithm: one of ALGORITHMS."""

    algorithm: str
    program: Program


@dataclass(frozen=True, slots=True)
class MultiSearch(Command):
    """ESEARCH (RFC 7377). sources: () where there is no IN."""

    sources: tuple[MailboxFilter, ...]
    returning: Return | None
    program: Program


@dataclass(frozen=True, slots=True)
class CancelUpdate(Command):
    """CANCELUPDATE (RFC 5267 §4.3.5)."""

    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnsearchableSave(Command):
    """A search with SAVE that is refused with NO; after it nothing is saved any more (RFC 5182 §2.1)."""

    error: CommandError


def _saving(returning: Return | None, cursor: Cursor, tag: str, read: Callable[[], Command]) -> Command:
    """The command as read, or how it fails when that has a consequence."""
    try:
        return read()
    except CommandError as error:
        if error.condition != "NO" or returning is None or "SAVE" not in returning.words:
            raise
        cursor.position = len(cursor.data)
        return UnsearchableSave(tag, error)


def _search(by_uid: bool) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        returning = accept_return(cursor)
        cursor.space()
        return _saving(returning, cursor, tag, lambda: Search(tag, by_uid, returning, parse_program(cursor)))

    return read


def _sort(by_uid: bool) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        returning = accept_return(cursor)
        cursor.space()
        criteria = tuple(cursor.parenthesized(lambda: _criterion(cursor)))
        cursor.space()
        return _saving(
            returning, cursor, tag, lambda: Sort(tag, by_uid, returning, criteria, parse_criteria(cursor))
        )

    return read


def _criterion(cursor: Cursor) -> Criterion:
    key = cursor.keyword()
    reverse = key == "REVERSE"
    if reverse:
        cursor.space()
        key = cursor.keyword()
    if key not in SORT_KEYS:
        cursor.fail("a sort key")
    return Criterion(key, reverse)


def _thread(by_uid: bool) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        cursor.space()
        algorithm = cursor.keyword()
        if algorithm not in ALGORITHMS:
            cursor.fail("a threading algorithm")
        cursor.space()
        return Thread(tag, by_uid, algorithm, parse_criteria(cursor))

    return read


def _multisearch(cursor: Cursor, tag: str) -> Command:
    sources: tuple[MailboxFilter, ...] = ()
    if cursor.data[cursor.position : cursor.position + 5].upper() == b" IN (":
        cursor.position += 4
        sources = tuple(cursor.parenthesized(lambda: parse_mailbox_filter(cursor)))
    returning = accept_return(cursor)
    cursor.space()
    return _saving(
        returning, cursor, tag, lambda: MultiSearch(tag, sources, returning, parse_program(cursor))
    )


def _cancel_update(cursor: Cursor, tag: str) -> Command:
    tags: list[str] = []
    while not tags or not cursor.at_end():
        cursor.space()
        tags.append(cursor.string().decode("latin-1"))
    return CancelUpdate(tag, tuple(tags))


COMMANDS: Rows = {
    "SEARCH": (State.SELECTED, _search(False)),
    "SORT": (State.SELECTED, _sort(False)),
    "THREAD": (State.SELECTED, _thread(False)),
    "ESEARCH": (LOGGED_IN, _multisearch),
    "CANCELUPDATE": (State.SELECTED, _cancel_update),
}
UID_COMMANDS: dict[str, Reader] = {
    "SEARCH": _search(True),
    "SORT": _sort(True),
    "THREAD": _thread(True),
    "ESEARCH": _multisearch,  # as RFC 7377 §2 has it in an example
}
