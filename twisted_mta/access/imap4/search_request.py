"""A search command before it is carried out: what the session's extensions forbid, and its filters put in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_mta.protocol.imap4.grammar import CommandError
from twisted_mta.protocol.imap4.search_grammar import MAX_KEYS, parse_filter
from twisted_mta.protocol.imap4.search_keys import (
    And,
    Filter,
    Fuzzy,
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
        return key
    if program.charset.upper() not in _UNICODE:
        raise CommandError("A filter is in UTF-8", code="BADCHARSET (US-ASCII UTF-8)")  # RFC 5466 §3.1
    key = await _Filters(session).put_into(key)
    if sum(1 for _ in walk(key)) > MAX_KEYS:
        raise CommandError("Search too complex")
    if "UIDONLY" in session.enabled and _has(key, Numbers):
        raise CommandError("Message numbers are not in use", code="UIDREQUIRED")
    return key


def forbid_charset(session: ImapSession, program: Program) -> None:
    """With UTF8=ACCEPT SEARCH has no CHARSET any more (RFC 6855 §3). Raises CommandError."""
    if program.charset and "UTF8=ACCEPT" in session.enabled:
        raise CommandError("There is no CHARSET with UTF8=ACCEPT")


def _has(key: Key, kind: type[Key]) -> bool:
    return any(isinstance(each, kind) for each in walk(key))


class _Filters:
    """The filters of one command, which may refer to others (RFC 5466 §3.1)."""

    def __init__(self, session: ImapSession) -> None:
        self._session = session
        self._used = 0

    async def put_into(self, key: Key, within: tuple[str, ...] = ()) -> Key:
        """The key with the criteria of filters in their place; `within`: the filters that it is part of."""
        match key:
            case Filter(name):
                return await self._filter(name, within)
            case Not(inner):
                return Not(await self.put_into(inner, within))
            case Fuzzy(inner):
                return Fuzzy(await self.put_into(inner, within))
            case And(keys):
                return And(tuple([await self.put_into(each, within) for each in keys]))
            case Or(first, second):
                return Or(await self.put_into(first, within), await self.put_into(second, within))
            case _:
                return key

    async def _filter(self, name: str, within: tuple[str, ...]) -> Key:
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
        return await self.put_into(key, (*within, name.lower()))
