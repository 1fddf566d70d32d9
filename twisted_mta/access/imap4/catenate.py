"""Parts of a new message that are on the server already (CATENATE, RFC 4469), and what their URLs name.

Only what the session's user may read is there; every other URL is a bad one, whatever is wrong with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from twisted_mta.protocol.imap4.imap_url import BadUrl, MessageUrl, extract, parse_relative
from twisted_mta.store.errors import BadMailboxName, NoPermission, NoSuchMailbox, NoSuchMessage
from twisted_mta.store.mailbox import Mailbox
from twisted_mta.store.portions import Portions, examined
from twisted_mta.store.viewpoint import PREFIX

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

T = TypeVar("T")


@asynccontextmanager
async def section(session: ImapSession, url: bytes) -> AsyncIterator[bytes]:
    """The octets that a relative URL names, and room for them among the large messages in hand.

    Raises BadUrl, StorageFault."""
    found = parse_relative(url, _selected(session))
    try:
        opened = await session.viewpoint.open(found.mailbox, "r")
    except (NoSuchMailbox, NoPermission, BadMailboxName) as error:
        raise BadUrl(error.text) from None
    try:
        async with read(session.access.store.portions, opened.mailbox, found, extract) as octets:
            yield octets
    finally:
        await opened.mailbox.close()


@asynccontextmanager
async def read(
    portions: Portions, mailbox: Mailbox, url: MessageUrl, see: Callable[[bytes, MessageUrl], T | None]
) -> AsyncIterator[T]:
    """What `see` makes of the message of a URL, in a thread, with room for it. Raises BadUrl, also when that
    is None; StorageFault."""
    if url.uid_validity not in (None, mailbox.uid_validity):
        raise BadUrl("The mailbox has another UIDVALIDITY")
    async with AsyncExitStack() as stack:
        try:
            seen = await stack.enter_async_context(
                examined(portions, mailbox, url.uid, lambda data: see(data, url))
            )
        except (NoSuchMailbox, NoSuchMessage) as error:
            raise BadUrl(error.text) from None
        if seen is None:
            raise BadUrl("No such message or part")
        yield seen


def _selected(session: ImapSession) -> str | None:
    """The name of the selected mailbox, as the user knows it."""
    if session.view is None:
        return None
    mailbox = session.view.mailbox
    if mailbox.account is session.account:
        return mailbox.name
    return f"{PREFIX}{mailbox.account.name}/{mailbox.name}"
