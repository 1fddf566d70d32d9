"""EXPUNGE and UID EXPUNGE (RFC 9051 §6.4.3, §6.4.9; RFC 7162 §3.2.7)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from twisted_mta.access.imap4 import message_limit
from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.progress import Progress
from twisted_mta.access.imap4.view import View
from twisted_mta.protocol.imap4.commands.storing import Expunge

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession


async def expunge(session: ImapSession, command: Expunge) -> None:
    """Remove what is marked \\Deleted, of the messages this client knows."""
    view = session.require_view()
    if not view.may("e"):
        text, code = (
            ("The mailbox is read-only", "READ-ONLY")
            if view.read_only
            else ("No right to remove messages", "NOPERM")
        )
        session.refuse_command(command, text, code)
        return
    among = None if command.uids is None else view.select_uids(command.uids, by_uid=True)
    chosen, limited = marked(view, among), ""
    if command.uids is not None:
        chosen, limited = message_limit.newest_uids(session, chosen)
    gone = await Progress(session, command.tag).during(view.mailbox.expunge(chosen))
    code = message_limit.code_beside(session, modseq_code(view) if gone else "", limited)
    session.complete(command, "EXPUNGE completed", code)


def marked(view: View, among: Iterable[int] | None = None) -> list[int]:
    """The UIDs of messages marked \\Deleted that the client knows, of all or `among` some."""
    found = view.known(view.mailbox.having(lambda flags: "\\Deleted" in flags))
    if among is None:
        return found
    chosen = frozenset(among)
    return [uid for uid in found if uid in chosen]


def modseq_code(view: View) -> str:
    """HIGHESTMODSEQ for the tagged OK of a command that has removed messages and tells of it."""
    return f"HIGHESTMODSEQ {view.mailbox.highest_modseq}" if view.tells_modseqs else ""


COMMANDS: Rows = {Expunge: expunge}
