"""URLs that let others read a message: GENURLAUTH, RESETKEY, URLFETCH (RFC 4467 §7), the last of them with
the parameters of RFC 5524."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import LOGGED_IN, Command, Rows
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor

MAX_URLS = 100  # in one command
_DATA = frozenset({"BODY", "BINARY", "BODYPARTSTRUCTURE"})


@dataclass(frozen=True, slots=True)
class GenUrlAuth(Command):
    """GENURLAUTH: each URL with the mechanism, in upper case, that is to authorize it."""

    urls: tuple[tuple[bytes, str], ...]


@dataclass(frozen=True, slots=True)
class ResetKey(Command):
    """RESETKEY for one mailbox, or for all when that is None; mechanisms in upper case."""

    mailbox: str | None
    mechanisms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UrlFetch(Command):
    """URLFETCH: each URL with what is asked for in the extended form, None in the simple one."""

    urls: tuple[tuple[bytes, tuple[str, ...] | None], ...]


def _gen_url_auth(cursor: Cursor, tag: str) -> Command:
    urls: list[tuple[bytes, str]] = []
    while not urls or not cursor.at_end():
        _bound(urls)
        cursor.space()
        url = cursor.astring()
        cursor.space()
        urls.append((url, cursor.keyword()))
    return GenUrlAuth(tag, tuple(urls))


def _reset_key(cursor: Cursor, tag: str) -> Command:
    if cursor.at_end():
        return ResetKey(tag, None, ())
    cursor.space()
    mailbox = cursor.mailbox()
    mechanisms: list[str] = []
    while not cursor.at_end():
        _bound(mechanisms)
        cursor.space()
        mechanisms.append(cursor.keyword())
    return ResetKey(tag, mailbox, tuple(mechanisms))


def _url_fetch(cursor: Cursor, tag: str) -> Command:
    urls: list[tuple[bytes, tuple[str, ...] | None]] = []
    while not urls or not cursor.at_end():
        _bound(urls)
        cursor.space()
        if not cursor.accept(b"("):
            urls.append((cursor.astring(), None))
            continue
        url = cursor.astring()
        wanted: list[str] = []
        while not cursor.accept(b")"):
            cursor.space()
            word = cursor.keyword()
            if word not in _DATA or word in wanted:
                cursor.fail("BODY, BINARY or BODYPARTSTRUCTURE, each once")
            wanted.append(word)
        urls.append((url, tuple(wanted)))
    return UrlFetch(tag, tuple(urls))


def _bound(found: Sized) -> None:
    if len(found) == MAX_URLS:
        raise CommandError(f"More than {MAX_URLS} URLs", condition="NO", code="LIMIT")


COMMANDS: Rows = {
    "GENURLAUTH": (LOGGED_IN, _gen_url_auth),
    "RESETKEY": (LOGGED_IN, _reset_key),
    "URLFETCH": (LOGGED_IN, _url_fetch),
}
