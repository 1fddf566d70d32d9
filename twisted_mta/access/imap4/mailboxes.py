"""Mailboxes by name: CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, LIST, LSUB, STATUS (RFC 3501 §6.3;
attributes of RFC 3348 and RFC 6154)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from twisted_mta.access.imap4.command import Rows
from twisted_mta.protocol.imap4.commands.command import Command
from twisted_mta.protocol.imap4.commands.listing import List, Lsub
from twisted_mta.protocol.imap4.commands.mailboxes import (
    Create,
    Delete,
    Rename,
    Status,
    Subscribe,
    Unsubscribe,
)
from twisted_mta.protocol.imap4.mailbox_name import SEPARATOR, list_matcher
from twisted_mta.store.account import MailboxInfo, MailboxStatus

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_INBOX = "INBOX"
_SLICE = 500  # names tried between two turns of the others


async def create(session: ImapSession, command: Create) -> None:
    """CREATE (RFC 3501 §6.3.3)."""
    await session.require_account().create(command.mailbox)
    session.complete(command, "CREATE completed")


async def delete(session: ImapSession, command: Delete) -> None:
    """DELETE (RFC 3501 §6.3.4). Whoever deletes the mailbox they have selected has nothing selected after."""
    await session.require_account().delete(command.mailbox)
    if session.view is not None and session.view.deleted:
        await session.leave_mailbox()
    session.complete(command, "DELETE completed")


async def rename(session: ImapSession, command: Rename) -> None:
    """RENAME (RFC 3501 §6.3.5)."""
    await session.require_account().rename(command.mailbox, command.new)
    session.complete(command, "RENAME completed")


async def subscribe(session: ImapSession, command: Subscribe) -> None:
    """SUBSCRIBE (RFC 3501 §6.3.6)."""
    await session.require_account().subscribe(command.mailbox)
    session.complete(command, "SUBSCRIBE completed")


async def unsubscribe(session: ImapSession, command: Unsubscribe) -> None:
    """UNSUBSCRIBE (RFC 3501 §6.3.7)."""
    await session.require_account().unsubscribe(command.mailbox)
    session.complete(command, "UNSUBSCRIBE completed")


async def list_mailboxes(session: ImapSession, command: List) -> None:
    """LIST (RFC 3501 §6.3.8)."""
    if not command.pattern:
        _list_root(session, command)
        return
    mailboxes = await session.require_account().list_mailboxes()
    parents = {above for mailbox in mailboxes for above in _levels_above(mailbox.name)}
    matches = _matcher(command.reference, command.pattern)
    for number, mailbox in enumerate(mailboxes, 1):
        if not number % _SLICE:
            await session.drain()
            await session.access.breathe()
        if matches(mailbox.name):
            attributes = _attributes(mailbox, mailbox.name in parents)
            session.engine.write(_line(session, b"LIST", attributes, mailbox.name))
    session.complete(command, "LIST completed")


def _list_root(session: ImapSession, command: Command) -> None:
    """The special case of an empty pattern: the separator and the root, which is ""."""
    session.engine.write(b'* LIST (\\Noselect) "/" ""\r\n')
    session.complete(command, "LIST completed")


async def list_subscribed(session: ImapSession, command: Lsub) -> None:
    """LSUB (RFC 3501 §6.3.9). A level that is not subscribed itself is told of, as \\Noselect, when a `%`
    hides subscriptions below it."""
    names = set(await session.require_account().subscriptions())
    matches = _matcher(command.reference, command.pattern)
    found = {name for name in names if matches(name)}
    above = set()
    if command.pattern.endswith("%"):
        above = {level for name in names - found for level in _levels_above(name) if matches(level)} - found
    for name in sorted(found | above):
        session.engine.write(_line(session, b"LSUB", "\\Noselect" if name in above else "", name))
    session.complete(command, "LSUB completed")


def _levels_above(name: str) -> Iterable[str]:
    position = name.find(SEPARATOR)
    while position >= 0:
        yield name[:position]
        position = name.find(SEPARATOR, position + 1)


def _matcher(reference: str, pattern: str) -> Callable[[str], bool]:
    """A test for names. INBOX matches in whatever case the pattern has it (RFC 3501 §6.3.8)."""
    whole = reference + pattern
    matches, matches_inbox = list_matcher(whole), list_matcher(whole.upper())
    inbox_first = whole[: len(_INBOX)].upper() == _INBOX
    matches_below = list_matcher(_INBOX + whole[len(_INBOX) :]) if inbox_first else matches

    def test(name: str) -> bool:
        if name == _INBOX:
            return matches_inbox(name)
        return matches_below(name) if name.startswith(_INBOX + SEPARATOR) else matches(name)

    return test


def _attributes(mailbox: MailboxInfo, has_children: bool) -> str:
    words = [
        "" if mailbox.selectable else "\\Noselect",
        "\\HasChildren" if has_children else "\\HasNoChildren",
        mailbox.special_use,
    ]
    return " ".join(filter(None, words))


def _line(session: ImapSession, kind: bytes, attributes: str, name: str) -> bytes:
    return b'* %b (%b) "/" %b\r\n' % (kind, attributes.encode("ascii"), session.mailbox_name(name))


_STATUS: dict[str, Callable[[MailboxStatus], int]] = {
    "MESSAGES": lambda status: status.messages,
    "RECENT": lambda status: status.recent,
    "UIDNEXT": lambda status: status.uid_next,
    "UIDVALIDITY": lambda status: status.uid_validity,
    "UNSEEN": lambda status: status.unseen,
}


async def status(session: ImapSession, command: Status) -> None:
    """STATUS (RFC 3501 §6.3.10)."""
    found = await session.require_account().status(command.mailbox)
    items = " ".join(f"{item} {_STATUS[item](found)}" for item in command.items)
    name = session.mailbox_name(command.mailbox)
    session.engine.write(b"* STATUS %b (%b)\r\n" % (name, items.encode("ascii")))
    session.complete(command, "STATUS completed")


COMMANDS: Rows = {
    Create: create,
    Delete: delete,
    Rename: rename,
    Subscribe: subscribe,
    Unsubscribe: unsubscribe,
    List: list_mailboxes,
    Lsub: list_subscribed,
    Status: status,
}
