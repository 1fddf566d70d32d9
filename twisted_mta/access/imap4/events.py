"""What IMAP commands did, told to whoever runs scripts at that (RFC 6785 §2.1). What the scripts themselves
do is not told, so nothing goes round."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from twisted_mta.interfaces import MailboxEvent
from twisted_mta.store.viewpoint import Place

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession
    from twisted_mta.access.imap4.view import View

_AT_A_GLANCE = 1000  # messages whose flags are looked at before they change


def appended(session: ImapSession, place: Place, uids: Sequence[int]) -> None:
    """Messages are in the mailbox now."""
    _tell(session, "APPEND", place.account.name, place.name, uids)


async def copied(session: ImapSession, view: View, mailbox: str, uids: Sequence[int]) -> None:
    """Messages in view were copied, or moved, to the mailbox that the user calls so: these, there."""
    if session.access.events is not None and uids:
        place, source = await session.viewpoint.place(mailbox, "i"), view.mailbox
        own = source.account is place.account
        _tell(session, "COPY", place.account.name, place.name, uids, source=source.name if own else "")


def touched(session: ImapSession, view: View, uids: Sequence[int], flags: frozenset[str]) -> frozenset[str]:
    """The flags that change, for some message or other, when messages get these instead of their own."""
    if session.access.events is None:
        return frozenset()
    there = {view.mailbox.flags(uid) for uid in uids[:_AT_A_GLANCE] if view.exists(uid)}
    return frozenset().union(*(flags ^ before for before in there))


def flagged(session: ImapSession, view: View, uids: Sequence[int], flags: Iterable[str]) -> None:
    """Messages have other flags now."""
    mailbox = view.mailbox
    _tell(session, "FLAG", mailbox.account.name, mailbox.name, uids, tuple(sorted(flags)))


def _tell(
    session: ImapSession,
    cause: str,
    account: str,
    mailbox: str,
    uids: Sequence[int],
    flags: tuple[str, ...] = (),
    source: str = "",
) -> None:
    events = session.access.events
    if events is not None and uids:
        user = session.viewpoint.name
        events.happened(MailboxEvent(cause, account, mailbox, tuple(uids), user, flags, source))
