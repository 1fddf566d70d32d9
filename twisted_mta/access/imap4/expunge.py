"""EXPUNGE and UID EXPUNGE (RFC 3501 §6.4.3, RFC 4315 §2.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.view import View
from twisted_mta.protocol.imap4.commands.storing import Expunge

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession


async def expunge(session: ImapSession, command: Expunge) -> None:
    """Remove what is marked \\Deleted, of the messages this client knows."""
    view = session.require_view()
    if view.read_only:
        session.refuse_command(command, "The mailbox is read-only", "READ-ONLY")
        return
    among = None if command.uids is None else view.select_uids(command.uids, by_uid=True)
    await view.mailbox.expunge(marked(view, among))
    session.complete(command, "EXPUNGE completed")


def marked(view: View, among: Iterable[int] | None = None) -> list[int]:
    """The UIDs of messages marked \\Deleted that the client knows, of all or `among` some."""
    found = view.known(view.mailbox.having(lambda flags: "\\Deleted" in flags))
    if among is None:
        return found
    chosen = frozenset(among)
    return [uid for uid in found if uid in chosen]


COMMANDS: Rows = {Expunge: expunge}
