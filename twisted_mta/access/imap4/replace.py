"""REPLACE: a new message takes the place of an old one (RFC 8508).

An APPEND which, when it succeeds, removes a message of the selected mailbox in the same step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_mta.access.imap4 import append
from twisted_mta.access.imap4.command import Rows
from twisted_mta.protocol.imap4.commands.appending import Replace

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_RIGHTS = frozenset("te")  # as to mark a message \Deleted and to expunge it (RFC 8508 §4.1)


async def replace(session: ImapSession, command: Replace) -> None:
    """REPLACE and UID REPLACE up to the first part of the message."""
    view = session.require_view()
    if view.read_only:
        session.refuse_command(command, "The mailbox is read-only", "READ-ONLY")
        return
    if not session.viewpoint.rights_on(view.mailbox) >= _RIGHTS:
        session.refuse_command(command, "You may not remove messages here", "NOPERM")
        return
    uids = [uid for uid in view.select_uids(command.set, command.by_uid) if view.exists(uid)]
    if len(uids) != 1:
        session.refuse_command(command, "There is no such message to be replaced", "EXPUNGEISSUED")
        return
    await append.begin(session, command, (view.mailbox, uids[0]))


COMMANDS: Rows = {Replace: replace}
