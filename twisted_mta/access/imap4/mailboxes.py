"""Mailboxes by name: CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 9051 §6.3.4 to §6.3.8, RFC 3501
§6.3.3 to §6.3.7; special uses of RFC 6154 §3, MAILBOXID of RFC 8474 §4.1).

A client of IMAP4rev2 whose name was put into Unicode's form C is told the name that the mailbox has
(RFC 9051 §6.3.9.7).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.listing import list_line, oldname
from twisted_mta.protocol.imap4.commands.mailboxes import Create, Delete, Rename, Subscribe, Unsubscribe
from twisted_mta.store.annotations import SPECIAL_USES
from twisted_mta.store.errors import BadSpecialUse, CannotDo, NoSuchMailbox
from twisted_mta.store.names import INBOX, canonical_name

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession


async def create(session: ImapSession, command: Create) -> None:
    """CREATE. Raises BadSpecialUse before anything is made."""
    uses = [SPECIAL_USES.get(use.lower(), "") for use in command.uses or ()]
    if not all(uses):
        raise BadSpecialUse()
    await session.viewpoint.create(command.mailbox, frozenset(uses))
    _made_itself(session, command.mailbox)
    _tell_normalized(session, command.mailbox, command.mailbox)
    place = await session.viewpoint.require(command.mailbox, "k")  # as on the mailbox above: it is inherited
    status = await place.account.status(place.name)
    session.complete(command, "CREATE completed", f"MAILBOXID ({status.object_id})")


async def delete(session: ImapSession, command: Delete) -> None:
    """DELETE. Whoever deletes the mailbox they have selected has nothing selected after."""
    try:
        await session.viewpoint.delete(command.mailbox)
    except CannotDo as error:
        code = "CANNOT" if command.mailbox.endswith(INBOX) else "HASCHILDREN"  # what else cannot be deleted
        session.refuse_command(command, error.text, code)
        return
    _made_itself(session, command.mailbox)
    if session.view is not None and session.view.deleted:
        await session.leave_mailbox()
    _tell_normalized(session, command.mailbox, command.mailbox, "\\NonExistent")
    session.complete(command, "DELETE completed")


async def rename(session: ImapSession, command: Rename) -> None:
    """RENAME. Subscriptions stay as they are."""
    await session.viewpoint.rename(command.mailbox, command.new)
    _made_itself(session, command.mailbox, command.new)
    _tell_normalized(session, command.mailbox, command.new)
    session.complete(command, "RENAME completed")


async def subscribe(session: ImapSession, command: Subscribe) -> None:
    """SUBSCRIBE."""
    await session.viewpoint.subscribe(command.mailbox)
    _made_itself(session, command.mailbox)
    session.complete(command, "SUBSCRIBE completed")


async def unsubscribe(session: ImapSession, command: Unsubscribe) -> None:
    """UNSUBSCRIBE, which is no failure for a name that is not subscribed (RFC 9051 §6.3.8)."""
    with suppress(NoSuchMailbox):
        await session.viewpoint.unsubscribe(command.mailbox)
    _made_itself(session, command.mailbox)
    session.complete(command, "UNSUBSCRIBE completed")


def _made_itself(session: ImapSession, *names: str) -> None:
    """A client that has asked for notifications is not told of its own changes (RFC 5465 §5)."""
    if session.notifications is not None:
        session.notifications.forget(*map(canonical_name, names))


def _tell_normalized(session: ImapSession, supplied: str, new: str, attribute: str = "") -> None:
    """LIST with OLDNAME when one of the names is not what the store made of it (RFC 9051 §6.3.6)."""
    if "IMAP4REV2" not in session.enabled:
        return
    normalized = canonical_name(new)
    if normalized != new or canonical_name(supplied) != supplied:
        words = (attribute,) if attribute else ()
        session.engine.write(list_line(session, words, normalized, oldname(session, supplied)))


COMMANDS: Rows = {
    Create: create,
    Delete: delete,
    Rename: rename,
    Subscribe: subscribe,
    Unsubscribe: unsubscribe,
}
