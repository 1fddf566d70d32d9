"""Selecting a mailbox and leaving it (RFC 9051 §6.3.2, §6.3.3, §6.4.1, §6.4.2; RFC 3501, 3691, 7162,
8474)."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from twisted_mta.access.imap4 import expunge, idle, listing, synchronize
from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.view import View, highest_modseq_line
from twisted_mta.protocol.imap4.commands.selecting import Check, Close, Select, Unselect
from twisted_mta.protocol.imap4.grammar import CommandError
from twisted_mta.protocol.imap4.responses import status_line
from twisted_mta.store.names import SEPARATOR

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession


async def select(session: ImapSession, command: Select) -> None:
    """SELECT and EXAMINE. Whatever was selected is left first, also when this fails."""
    if command.qresync is not None:
        synchronize.require_qresync(session)
        if command.qresync.sample is not None and "UIDONLY" in session.enabled:
            raise CommandError("Message numbers are not in use", code="UIDREQUIRED")
    if session.view is not None:
        await session.leave_mailbox()
        session.engine.respond("*", "OK", "The mailbox before is closed", "CLOSED")
    opened = await session.viewpoint.open(command.mailbox)
    if command.condstore:
        synchronize.enable_condstore(session)
    mailbox = opened.mailbox
    session.view = view = View(
        mailbox,
        lambda: session.viewpoint.rights_on(mailbox),
        command.read_only,
        session.enabled,
        lambda: idle.notice(session),
    )
    session.engine.select()
    session.engine.write(b"".join(_description(view)))
    if "IMAP4REV2" in session.enabled:
        session.engine.write(await _list_line(session, command.mailbox))
    if command.qresync is not None:
        await synchronize.tell_since(session, view, command.qresync)
    name = "EXAMINE" if command.read_only else "SELECT"
    session.complete(command, f"{name} completed", "READ-ONLY" if view.read_only else "READ-WRITE")


def _description(view: View) -> list[bytes]:
    """What the client is told of a mailbox when it is opened."""
    mailbox = view.mailbox
    lines = [*view.flag_lines(), b"* %d EXISTS\r\n" % view.count]
    if "IMAP4REV2" not in view.enabled:
        lines.append(b"* %d RECENT\r\n" % view.recent_count())
        unseen = mailbox.first_having(lambda flags: "\\Seen" not in flags)
        if unseen is not None and not view.uid_only:
            number = bisect_left(view.uids, unseen) + 1
            lines.append(status_line("*", "OK", "First unseen message", f"UNSEEN {number}"))
    return [
        *lines,
        status_line("*", "OK", "UIDs valid", f"UIDVALIDITY {mailbox.uid_validity}"),
        status_line("*", "OK", "Predicted next UID", f"UIDNEXT {mailbox.uid_next}"),
        highest_modseq_line(mailbox.highest_modseq),
        status_line("*", "OK", "Ok", f"MAILBOXID ({mailbox.object_id})"),
    ]


async def _list_line(session: ImapSession, name: str) -> bytes:
    """LIST of the mailbox, with the attributes that LIST itself would tell (RFC 9051 §6.3.2)."""
    infos = await session.viewpoint.list_mailboxes()
    info = next((each for each in infos if each.name == name), None)
    children = any(each.name.startswith(name + SEPARATOR) for each in infos)
    found = listing.Found(name, info, children, subscribed=False, selected=True, below=False)
    return listing.list_line(session, listing.attributes(found, new_form=True), name)


async def check(session: ImapSession, command: Check) -> None:
    """CHECK: everything is on disk already, so it is a NOOP."""
    await session.require_view().mailbox.refresh()
    session.complete(command, "CHECK completed")


async def close(session: ImapSession, command: Close) -> None:
    """CLOSE: the messages marked \\Deleted go without a word; without the right to do so they stay
    (RFC 4314 §4)."""
    view = session.require_view()
    if view.may("e") and not view.deleted:
        await view.mailbox.expunge(expunge.marked(view))
    await session.leave_mailbox()
    session.complete(command, "CLOSE completed")


async def unselect(session: ImapSession, command: Unselect) -> None:
    """UNSELECT: leave the mailbox as it is."""
    await session.leave_mailbox()
    session.complete(command, "UNSELECT completed")


COMMANDS: Rows = {Select: select, Check: check, Close: close, Unselect: unselect}
