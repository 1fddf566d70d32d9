"""Selecting a mailbox and leaving it (RFC 3501 §6.3.1, §6.3.2, §6.4.1, §6.4.2, RFC 3691)."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from twisted_mta.access.imap4 import expunge, idle
from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.view import View
from twisted_mta.protocol.imap4.commands.selecting import Check, Close, Select, Unselect
from twisted_mta.protocol.imap4.responses import status_line

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession


async def select(session: ImapSession, command: Select) -> None:
    """SELECT and EXAMINE. Whatever was selected is left first, also when this fails."""
    await session.leave_mailbox()
    mailbox = await session.require_account().open(command.mailbox)
    session.view = view = View(mailbox, command.read_only, lambda: idle.notice(session))
    session.engine.select()
    lines = [
        *view.flag_lines(),
        b"* %d EXISTS\r\n" % view.count,
        b"* %d RECENT\r\n" % view.recent_count(),
    ]
    unseen = mailbox.first_having(lambda flags: "\\Seen" not in flags)
    if unseen is not None:
        number = bisect_left(view.uids, unseen) + 1
        lines.append(status_line("*", "OK", "First unseen message", f"UNSEEN {number}"))
    lines += [
        status_line("*", "OK", "UIDs valid", f"UIDVALIDITY {mailbox.uid_validity}"),
        status_line("*", "OK", "Predicted next UID", f"UIDNEXT {mailbox.uid_next}"),
    ]
    session.engine.write(b"".join(lines))
    name, code = ("EXAMINE", "READ-ONLY") if command.read_only else ("SELECT", "READ-WRITE")
    session.complete(command, f"{name} completed", code)


async def check(session: ImapSession, command: Check) -> None:
    """CHECK: everything is on disk already, so it is a NOOP."""
    await session.require_view().mailbox.refresh()
    session.complete(command, "CHECK completed")


async def close(session: ImapSession, command: Close) -> None:
    """CLOSE: the messages marked \\Deleted go without a word."""
    view = session.require_view()
    if not view.read_only and not view.deleted:
        await view.mailbox.expunge(expunge.marked(view))
    await session.leave_mailbox()
    session.complete(command, "CLOSE completed")


async def unselect(session: ImapSession, command: Unselect) -> None:
    """UNSELECT: leave the mailbox as it is."""
    await session.leave_mailbox()
    session.complete(command, "UNSELECT completed")


COMMANDS: Rows = {Select: select, Check: check, Close: close, Unselect: unselect}
