"""MESSAGELIMIT: how many messages one command may be about (RFC 9738).

FETCH, STORE, SEARCH, MOVE and UID EXPUNGE of more do the newest of them, and say in the tagged OK, or in an
untagged NO when that has a code already, down to which UID they came. COPY, APPEND, SORT and THREAD of more,
and FETCH with a PARTIAL range of more, are refused: of these, a part is of no use. EXPUNGE and CLOSE are
without limit, and so is ESEARCH of several mailboxes, whose one answer could not tell it of each of them.

The limit is far above what a mailbox holds, on purpose. A client that does not know the extension takes an
answer that was cut for the whole, and forgets the rest of its mail; and work is done in slices here, so that
a command about very many messages makes nobody else wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

from twisted_mta.access.imap4.searching.searched import Searched
from twisted_mta.protocol.imap4.grammar import CommandError
from twisted_mta.protocol.imap4.search_keys import And, Key, Numbers, Uids
from twisted_mta.protocol.imap4.sequence_set import MAX_NUMBER, SequenceSet

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession


def newest_positions(session: ImapSession, positions: Sequence[int]) -> tuple[Sequence[int], str]:
    """Those of ascending positions in the selected mailbox that a command may be about, and the response code
    for the rest: "" when there is none."""
    limit = session.access.limits.messages
    if len(positions) <= limit:
        return positions, ""
    positions = positions[-limit:]
    return positions, _code(limit, session.require_view().uids[positions[0]])


def newest_uids(session: ImapSession, uids: list[int]) -> tuple[list[int], str]:
    """As `newest_positions`, of ascending UIDs."""
    limit = session.access.limits.messages
    if len(uids) <= limit:
        return uids, ""
    return uids[-limit:], _code(limit, uids[-limit])


def newest_searched(session: ImapSession, key: Key) -> tuple[Key, str]:
    """Criteria for the newest of the messages that a search in the selected mailbox looks at, and the
    response code for the rest."""
    if session.require_view().count <= session.access.limits.messages:
        return key, ""
    positions, code = newest_positions(session, _looked_at(session, key))
    if code:
        lowest = session.require_view().uids[positions[0]]
        key = And((Uids(SequenceSet(((lowest, MAX_NUMBER),))), key))
    return key, code


def require_within(session: ImapSession, key: Key) -> None:
    """Raises CommandError when a search in the selected mailbox looks at more messages than a command may be
    about."""
    limit = session.access.limits.messages
    if session.require_view().count > limit:
        refuse_more(session, len(_looked_at(session, key)))


def refuse_more(session: ImapSession, count: int) -> None:
    """Raises CommandError for so many messages when a command may not be about them."""
    limit = session.access.limits.messages
    if count > limit:
        raise CommandError("Too many messages", condition="NO", code=f"MESSAGELIMIT {limit}")


def code_beside(session: ImapSession, code: str, limited: str) -> str:
    """The code for the tagged OK of a command that would have `code`, and may have been `limited`. If there
    are both, the limit is told of in an untagged response."""
    if code and limited:
        session.engine.respond("*", "NO", "Only the newest messages", limited)
        return code
    return code or limited


def _looked_at(session: ImapSession, key: Key) -> Sequence[int]:
    """The positions, ascending, that the sets among the criteria leave to be searched."""
    view = session.require_view()
    searched = Searched(view.mailbox, view)
    looked_at: set[int] | None = None
    for each in key.keys if isinstance(key, And) else (key,):
        if isinstance(each, Numbers | Uids):
            named = chain.from_iterable(searched.ranges(each.set, isinstance(each, Uids)))
            looked_at = set(named) if looked_at is None else looked_at.intersection(named)
    return range(view.count) if looked_at is None else sorted(looked_at)


def _code(limit: int, lowest: int) -> str:
    return f"MESSAGELIMIT {limit} {lowest}"
