"""STORE (RFC 3501 §6.4.6, RFC 2180 §4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.view import View
from twisted_mta.protocol.imap4.commands.storing import Store
from twisted_mta.store.errors import NoSuchMessage

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_SLICE = 2000  # responses between two looks at whether the client reads


async def store(session: ImapSession, command: Store) -> None:
    """STORE. Answers with the new flags of every message, or only with what others changed (.SILENT)."""
    view = session.require_view()
    if view.read_only:
        session.refuse_command(command, "The mailbox is read-only", "READ-ONLY", expunges=command.by_uid)
        return
    uids = view.select_uids(command.set, command.by_uid)
    there = [uid for uid in uids if view.exists(uid)]
    how = cast(Literal["add", "remove", "replace"], command.how)
    view.told_flags(await view.mailbox.set_flags(there, how, command.flags))
    for line in view.flag_names():
        session.engine.write(line)
    if not command.silent:
        await _tell(session, view, command)
    if len(there) < len(uids) and not (command.silent or command.by_uid):
        session.refuse_command(
            command, "Some of the messages no longer exist", "EXPUNGEISSUED", expunges=False
        )
        return
    session.complete(command, "STORE completed", expunges=command.by_uid)


async def _tell(session: ImapSession, view: View, command: Store) -> None:
    lines: list[bytes] = []
    for positions in view.positions(command.set, command.by_uid):
        for position in positions:
            uid = view.uids[position]
            extra = b"UID %d " % uid if command.by_uid else b""
            try:
                lines.append(b"* %d FETCH (%bFLAGS %b)\r\n" % (position + 1, extra, view.flags(uid)))
            except NoSuchMessage:
                continue
            if len(lines) == _SLICE:
                session.engine.write(b"".join(lines))
                lines.clear()
                await session.drain()
                await session.access.breathe()
    session.engine.write(b"".join(lines))


COMMANDS: Rows = {Store: store}
