"""COPY and MOVE (RFC 3501 §6.4.7, RFC 6851, RFC 4315 §3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_mta.access.imap4.command import Rows
from twisted_mta.protocol.imap4.commands.copying import Copy, Move
from twisted_mta.protocol.imap4.sequence_set import render_uids
from twisted_mta.store.errors import NoSuchMailbox
from twisted_mta.store.mailbox import CopyResult

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession


async def copy(session: ImapSession, command: Copy) -> None:
    """COPY."""
    uids = _chosen(session, command)
    if uids is None:
        return
    try:
        result = await session.require_view().mailbox.copy(uids, command.mailbox)
    except NoSuchMailbox as error:
        session.refuse_command(command, error.text, "TRYCREATE")
        return
    session.complete(command, "COPY completed", _copy_uid(result))


async def move(session: ImapSession, command: Move) -> None:
    """MOVE. COPYUID goes ahead of the EXPUNGEs, in an untagged OK (RFC 6851 §4.3)."""
    view = session.require_view()
    if view.read_only:
        session.refuse_command(command, "The mailbox is read-only", "READ-ONLY")
        return
    uids = _chosen(session, command)
    if uids is None:
        return
    try:
        result = await view.mailbox.move(uids, command.mailbox)
    except NoSuchMailbox as error:
        session.refuse_command(command, error.text, "TRYCREATE")
        return
    code = _copy_uid(result)
    if code:
        session.engine.respond("*", "OK", "Moved", code)
    session.complete(command, "MOVE completed")


def _chosen(session: ImapSession, command: Copy | Move) -> list[int] | None:
    """The UIDs to copy. None, and the command answered, when some of the numbers stand for messages that
    are gone (RFC 2180 §4.4.1), or when there are none to copy."""
    view = session.require_view()
    uids = view.select_uids(command.set, command.by_uid)
    there = [uid for uid in uids if view.exists(uid)]
    if len(there) < len(uids) and not command.by_uid:
        session.refuse_command(command, "Some of the messages no longer exist", "EXPUNGEISSUED")
        return None
    if not there:
        session.complete(command, "No messages were there to copy")
        return None
    return there


def _copy_uid(result: CopyResult) -> str:
    if not result.source_uids:
        return ""
    return (
        f"COPYUID {result.uid_validity} {render_uids(result.source_uids)} {render_uids(result.target_uids)}"
    )


COMMANDS: Rows = {Copy: copy, Move: move}
