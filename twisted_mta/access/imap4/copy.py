"""COPY and MOVE (RFC 9051 §6.4.7, §6.4.8; RFC 6851, RFC 4315 §3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_mta.access.imap4 import events, message_limit, outbox
from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.expunge import modseq_code
from twisted_mta.access.imap4.progress import Progress
from twisted_mta.protocol.imap4.commands.copying import Copy, Move
from twisted_mta.protocol.imap4.sequence_set import render_uids
from twisted_mta.store.errors import NoSuchMailbox
from twisted_mta.store.mailbox import CopyResult
from twisted_mta.store.viewpoint import PREFIX

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession


async def copy(session: ImapSession, command: Copy) -> None:
    """COPY."""
    async with outbox.expecting(session, command.mailbox):
        result = await _transfer(session, command, move=False)
        if result is not None:
            await outbox.copied(session, command.mailbox, result[0])
    if result is not None:
        session.complete(command, "COPY completed", await _copy_uid(session, command, result[0]))


async def move(session: ImapSession, command: Move) -> None:
    """MOVE. COPYUID goes ahead of the EXPUNGEs, in an untagged OK (RFC 6851 §4.3)."""
    view = session.require_view()
    if view.read_only:
        session.refuse_command(command, "The mailbox is read-only", "READ-ONLY")
        return
    if not (view.may("t") and view.may("e")):
        session.refuse_command(command, "No right to remove messages", "NOPERM")
        return
    async with outbox.expecting(session, command.mailbox):
        moved = await _transfer(session, command, move=True)
        if moved is None:
            return
        result, limited = moved
        await outbox.copied(session, command.mailbox, result)
    code = await _copy_uid(session, command, result)
    if code:
        session.engine.respond("*", "OK", "Moved", code)
    code = modseq_code(view) if result.source_uids else ""
    session.complete(command, "MOVE completed", message_limit.code_beside(session, code, limited))


async def _transfer(session: ImapSession, command: Copy | Move, move: bool) -> tuple[CopyResult, str] | None:
    """Copy or move; with the response code for what is more than one command may move. None, and the command
    answered, when some of the numbers stand for messages that are
    gone (RFC 2180 §4.4.1), when there is nothing to copy, or no mailbox of that name."""
    view = session.require_view()
    uids = view.select_uids(command.set, command.by_uid)
    there = [uid for uid in uids if view.exists(uid)]
    if len(there) < len(uids) and not command.by_uid:
        session.refuse_command(command, "Some of the messages no longer exist", "EXPUNGEISSUED")
        return None
    if not there:
        session.complete(command, "No messages were there to copy")
        return None
    there, limited = message_limit.newest_uids(session, there)
    if limited and not move:
        session.refuse_command(command, "Too many messages to copy", limited)
        return None
    outbox.refuse_many(session, command.mailbox, len(there))
    work = session.viewpoint.copy(view.mailbox, there, command.mailbox, move)
    try:
        result = await Progress(session, command.tag).during(work)
        await events.copied(session, view, command.mailbox, result.target_uids)
        return result, limited
    except NoSuchMailbox as error:
        session.refuse_command(command, error.text, "TRYCREATE")
        return None


async def _copy_uid(session: ImapSession, command: Copy | Move, result: CopyResult) -> str:
    """COPYUID; "" when nothing was copied, and for who may not read the target (RFC 9051 §6.4.7)."""
    if not result.source_uids:
        return ""
    if command.mailbox.startswith(PREFIX) and "r" not in await session.viewpoint.rights(command.mailbox):
        return ""
    return (
        f"COPYUID {result.uid_validity} {render_uids(result.source_uids)} {render_uids(result.target_uids)}"
    )


COMMANDS: Rows = {Copy: copy, Move: move}
