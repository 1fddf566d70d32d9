"""SEARCH (RFC 9051 §6.4.4), and CANCELUPDATE (RFC 5267 §4.3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_mta.access.imap4 import message_limit
from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.progress import Progress
from twisted_mta.access.imap4.searching import context
from twisted_mta.access.imap4.searching.request import forbid_charset
from twisted_mta.access.imap4.searching.result import answer, find, forget_saved, requested, saving
from twisted_mta.protocol.imap4.commands.searching import CancelUpdate, Search, UnsearchableSave

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession


async def search(session: ImapSession, command: Search) -> None:
    """SEARCH and UID SEARCH."""
    forbid_charset(session, command.program)
    with saving(session, command.returning):
        since = session.require_view().mailbox.highest_modseq
        key, limited = message_limit.newest_searched(session, await requested(session, command))
        found = await Progress(session, command.tag).during(find(session, key))
        await answer(session, command, key, found, since)
    session.complete(command, "SEARCH completed", limited, expunges=command.by_uid)


async def refuse_saving(session: ImapSession, command: UnsearchableSave) -> None:
    """A search with SAVE that failed before it began."""
    forget_saved(session)
    raise command.error


async def cancel_update(session: ImapSession, command: CancelUpdate) -> None:
    """CANCELUPDATE (RFC 5267 §4.3.5)."""
    context.cancel(session.require_view(), command.tags)
    session.complete(command, "No further updates")


COMMANDS: Rows = {Search: search, UnsearchableSave: refuse_saving, CancelUpdate: cancel_update}
