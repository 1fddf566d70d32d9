"""STATUS (RFC 9051 §6.3.11, RFC 3501 §6.3.10; items of RFC 7162 §3.1.7, RFC 7889 §3.1, RFC 8438, RFC 8474
§4.3 and RFC 9208 §4.1.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.synchronize import enable_condstore
from twisted_mta.protocol.imap4.commands.mailboxes import Status
from twisted_mta.store.mailbox import MailboxStatus

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_ITEMS: dict[str, Callable[[MailboxStatus], int]] = {
    "MESSAGES": lambda status: status.messages,
    "UIDNEXT": lambda status: status.uid_next,
    "UIDVALIDITY": lambda status: status.uid_validity,
    "UNSEEN": lambda status: status.unseen,
    "DELETED": lambda status: status.deleted,
    "SIZE": lambda status: status.size,
    "HIGHESTMODSEQ": lambda status: status.highest_modseq,
}


async def status(session: ImapSession, command: Status) -> None:
    """STATUS."""
    prepare_status(session, command.items)
    found = await session.viewpoint.status(command.mailbox)
    session.engine.write(await status_line(session, command.mailbox, command.items, found))
    session.complete(command, "STATUS completed")


def prepare_status(session: ImapSession, items: Iterable[str]) -> None:
    """Whoever asks for HIGHESTMODSEQ wants to hear of mod-sequences from now on (RFC 7162 §3.1)."""
    if "HIGHESTMODSEQ" in items:
        enable_condstore(session)


async def status_line(session: ImapSession, name: str, items: Iterable[str], found: MailboxStatus) -> bytes:
    """An untagged STATUS. Raises StoreError when a mailbox that has to be opened for it is gone."""
    words = [
        f"{item} {count(found)}" if (count := _ITEMS.get(item)) else await _other(session, name, item, found)
        for item in items
    ]
    return b"* STATUS %b (%b)\r\n" % (session.mailbox_name(name), " ".join(words).encode("ascii"))


async def _other(session: ImapSession, name: str, item: str, found: MailboxStatus) -> str:
    match item:
        case "RECENT":
            return f"RECENT {_recent(session, found)}"
        case "MAILBOXID":
            return f"MAILBOXID ({found.object_id})"
        case "APPENDLIMIT":
            return f"APPENDLIMIT {session.access.limits.message}"
    assert item == "DELETED-STORAGE"
    return f"DELETED-STORAGE {await _deleted_octets(session, name) if found.deleted else 0}"


def _recent(session: ImapSession, found: MailboxStatus) -> int:
    """Recent messages are those of the session that has taken them, in the mailbox that it has selected."""
    view = session.view
    if view is not None and view.mailbox.object_id == found.object_id:
        return view.recent_count()
    return found.recent


async def _deleted_octets(session: ImapSession, name: str) -> int:
    mailbox = (await session.viewpoint.open(name)).mailbox
    try:
        return sum(map(mailbox.size, mailbox.having(lambda flags: "\\Deleted" in flags)))
    finally:
        await mailbox.close()


COMMANDS: Rows = {Status: status}
