"""Annotations that others have changed, told unasked after ENABLE METADATA (RFC 5464 §4.4).

Those of the user's own mailboxes and of the server, by the names of the entries. A session that has asked for
notifications (RFC 5465) hears of annotations as these have it, and not in this way. Left out on purpose: the
mailboxes of others, which NOTIFY can watch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted_mta.access.imap4.command import Rows
from twisted_mta.protocol.imap4.commands.command import Command
from twisted_mta.protocol.imap4.responses import astring
from twisted_mta.store.changes import AccountChange

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_MAX_PENDING = 1000  # mailboxes with annotations that are still to be told of


@dataclass(frozen=True, slots=True)
class Due(Command):
    """No command of the client's: something is to be told, and its turn has come."""


class MetadataChanges:
    """What one session is to be told. What changes while the client does not read is told once."""

    def __init__(self, session: ImapSession) -> None:
        self._session = session
        self._account = session.require_account()
        self._pending: dict[str, dict[str, None]] = {}  # names of entries by mailbox; "" is the server
        self._account.watch(self._changed)

    @property
    def due(self) -> bool:
        """True when there is something to be told."""
        return bool(self._pending)

    def close(self) -> None:
        """Hear of nothing any more."""
        self._account.unwatch(self._changed)

    def forget(self, mailbox: str, entries: Iterable[str]) -> None:
        """The client has set these itself."""
        pending = self._pending.get(mailbox, {})
        for entry in entries:
            pending.pop(entry, None)
        if not pending:
            self._pending.pop(mailbox, None)

    def _changed(self, change: AccountChange) -> None:
        if not change.annotation or self._session.notifications is not None:
            return
        if change.mailbox in self._pending or len(self._pending) < _MAX_PENDING:
            self._pending.setdefault(change.mailbox, {})[change.annotation] = None
            # In a moment: then a command that has made the change itself has said so.
            self._session.access.reactor.callLater(0, self._session.pump)

    def tell(self) -> None:
        """Tell all that is to be told."""
        pending, self._pending = self._pending, {}
        for mailbox, entries in pending.items():
            self._session.engine.write(changed_line(self._session, mailbox, entries))


def changed_line(session: ImapSession, mailbox: str, entries: Iterable[str]) -> bytes:
    """An untagged METADATA without values (RFC 5464 §4.4.2)."""
    words = b"".join([b" " + astring(entry.encode("ascii")) for entry in entries])
    return b"* METADATA %b%b\r\n" % (session.mailbox_name(mailbox), words)


async def tell(session: ImapSession, due: Due) -> None:
    """Something is to be told."""
    await session.drain()
    if session.metadata_changes is not None and not session.gone:
        session.metadata_changes.tell()


COMMANDS: Rows = {Due: tell}
