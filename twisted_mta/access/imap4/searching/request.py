"""A search command before it is carried out: what the session's extensions forbid, and its filters put in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_mta.protocol.imap4.grammar import CommandError
from twisted_mta.protocol.imap4.search_grammar import MAX_DEPTH, MAX_KEYS, parse_filter
from twisted_mta.protocol.imap4.search_keys import (
    AllText,
    And,
    BodyText,
    Envelope,
    Filter,
    Fuzzy,
    Header,
    Key,
    Not,
    Numbers,
    Or,
    Program,
    walk,
)

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_MAX_LEVELS = 10  # of filters within one another; RFC 5466 §3.1 asks for 3
_MAX_FILTERS = 100  # of one command
_UNICODE = frozenset({"", "UTF-8", "US-ASCII"})


async def requested_key(session: ImapSession, program: Program, *, by_uid: bool) -> Key:
    """The criteria to be carried out. Raises CommandError."""
    key = program.key
    if "UIDONLY" in session.enabled and (not by_uid or _has(key, Numbers)):
        raise CommandError("Message numbers are not in use", code="UIDREQUIRED")  # RFC 9586 §3
    if not _has(key, Filter):
        _require_simple(key)
        return key
    if program.charset.upper() not in _UNICODE:
        raise CommandError("A filter is in UTF-8", code="BADCHARSET (US-ASCII UTF-8)")  # RFC 5466 §3.1
    key = await _Filters(session).put_into(key)
    _require_simple(key)
    if "UIDONLY" in session.enabled and _has(key, Numbers):
        raise CommandError("Message numbers are not in use", code="UIDREQUIRED")
    return key


def forbid_charset(session: ImapSession, program: Program) -> None:
    """With UTF8=ACCEPT SEARCH has no CHARSET any more (RFC 6855 §3). Raises CommandError."""
    if program.charset and "UTF8=ACCEPT" in session.enabled:
        raise CommandError("There is no CHARSET with UTF8=ACCEPT")


def _has(key: Key, kind: type[Key]) -> bool:
    return any(isinstance(each, kind) for each in walk(key))


def _require_simple(key: Key) -> None:
    """Raises CommandError for too many keys; with FUZZY, which looks for words, each of them is one."""
    count = sum(1 for _ in walk(key))
    if _has(key, Fuzzy):
        texts = (each.text for each in walk(key) if isinstance(each, Envelope | Header | BodyText | AllText))
        count += sum(len(text.split()) for text in texts)
    if count > MAX_KEYS:
        raise CommandError("Search too complex")


class _Filters:
    """The filters of one command, which may refer to others (RFC 5466 §3.1)."""

    def __init__(self, session: ImapSession) -> None:
        self._session = session
        self._used = 0

    async def put_into(self, key: Key, within: tuple[str, ...] = (), depth: int = 0) -> Key:
        """The key with the criteria of filters in their place; `within`: the filters that it is part of;
        `depth`: the levels of keys above it."""
        if depth > MAX_DEPTH:
            raise CommandError("Search too complex")
        below = within, depth + 1
        match key:
            case Filter(name):
                return await self._filter(name, within, depth)
            case Not(inner):
                return Not(await self.put_into(inner, *below))
            case Fuzzy(inner):
                return Fuzzy(await self.put_into(inner, *below))
            case And(keys):
                return And(tuple([await self.put_into(each, *below) for each in keys]))
            case Or(first, second):
                return Or(await self.put_into(first, *below), await self.put_into(second, *below))
            case _:
                return key

    async def _filter(self, name: str, within: tuple[str, ...], depth: int) -> Key:
        undefined = CommandError("No such filter", condition="NO", code=f"UNDEFINED-FILTER {name}")
        self._used += 1
        if name.lower() in within or len(within) == _MAX_LEVELS or self._used > _MAX_FILTERS:
            raise undefined
        entries = [f"/{whose}/filters/values/{name}" for whose in ("private", "shared")]
        values = list((await self._session.viewpoint.annotations(None, entries)).values())
        if not values:
            raise undefined
        try:
            key = parse_filter(values[0])
        except CommandError:
            raise undefined from None
        return await self.put_into(key, (*within, name.lower()), depth)
