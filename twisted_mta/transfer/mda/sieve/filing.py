"""Which mailbox a script means, and copies of what is sent on an owner's behalf (RFC 5490 §3, RFC 8579,
RFC 8580)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from twisted_mta.journey.bus import Journey
from twisted_mta.message.content import Content
from twisted_mta.sieve.actions import FileCopy
from twisted_mta.store.annotations import SPECIAL_USES
from twisted_mta.store.errors import BadMailboxName, CannotDo, MailboxExists, NoSuchMailbox
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.sieve.decision import INBOX

MOST = 1000  # mailboxes of an account beyond which scripts make none


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was made here and is in the queue under this id."""

    queue_id: str
    octets: bytes


async def mailbox_for(
    store: MessageStore, account: str, name: str, *, create: bool = False, special_use: str = ""
) -> str:
    """The name of the mailbox that is meant: that of the special use, when there is one; made when it is to
    be made. Where there are MOST mailboxes, none is: senders may have a hand in the names. A use that no
    mailbox can have here is none. Raises StoreError."""
    special_use = SPECIAL_USES.get(special_use.lower(), "")
    if not (create or special_use):
        return name
    owner = await store.account(account)
    known = await owner.list_mailboxes()
    used = [info.name for info in known if special_use in info.special_uses]
    if used:
        return used[0]
    if create and name not in {info.name for info in known if info.selectable}:
        if not special_use and len(known) >= MOST:  # of each use there is one
            raise CannotDo(f"there are {MOST} mailboxes, and no more are made by scripts")
        with suppress(MailboxExists):  # another delivery has just made it
            await owner.create(name, frozenset({special_use} if special_use else ()))
    return name


async def file_copy(
    store: MessageStore, journey: Journey, account: str, copy: FileCopy, sent: Sent, now: float
) -> None:
    """Put what was sent where its owner wants it, or else into the INBOX, as mail that is delivered. now:
    seconds since the epoch. Raises StoreError."""
    try:
        name = await mailbox_for(
            store, account, copy.mailbox, create=copy.create, special_use=copy.special_use
        )
        await _put(store, account, sent, now, name, frozenset(copy.flags))
    except (NoSuchMailbox, BadMailboxName, CannotDo) as error:
        journey.tell("sieve-failed", sent.queue_id, account=account, reason=f"{copy.mailbox}: {error}")
        await _put(store, account, sent, now, INBOX, frozenset())


async def _put(
    store: MessageStore, account: str, sent: Sent, now: float, mailbox: str, flags: frozenset[str]
) -> None:
    await store.deliver(
        account,
        Content(b"", sent.octets),
        unique=f"{sent.queue_id}-copy",
        arrived=now,
        mailbox=mailbox,
        flags=flags,
    )
