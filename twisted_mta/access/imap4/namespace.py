"""NAMESPACE (RFC 2342, RFC 9051 §6.3.10): one's own mailboxes, and below "Other Users/" those that others
share. There are none that belong to nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_mta.access.imap4.command import Rows
from twisted_mta.protocol.imap4.commands.mailboxes import Namespace
from twisted_mta.protocol.imap4.responses import string
from twisted_mta.store.viewpoint import PREFIX

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession


async def namespace(session: ImapSession, command: Namespace) -> None:
    """NAMESPACE."""
    session.engine.write(b'* NAMESPACE (("" "/")) ((%b "/")) NIL\r\n' % string(PREFIX.encode()))
    session.complete(command, "NAMESPACE completed")


COMMANDS: Rows = {Namespace: namespace}
