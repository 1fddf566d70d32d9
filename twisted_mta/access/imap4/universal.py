"""The commands of any state, and NAMESPACE (RFC 3501 §6.1, RFC 2342, RFC 2971)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_mta.access.imap4.capabilities import capabilities
from twisted_mta.access.imap4.command import Rows
from twisted_mta.protocol.imap4.commands.connection import Capability, Id, Logout, Noop
from twisted_mta.protocol.imap4.commands.mailboxes import Namespace

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession


async def capability(session: ImapSession, command: Capability) -> None:
    """CAPABILITY (RFC 3501 §6.1.1)."""
    session.engine.write(f"* CAPABILITY {capabilities(session)}\r\n".encode("ascii"))
    session.complete(command, "CAPABILITY completed")


async def noop(session: ImapSession, command: Noop) -> None:
    """NOOP (RFC 3501 §6.1.2), which is also when changes by other programs are looked for."""
    if session.view is not None:
        await session.view.mailbox.refresh()
    session.complete(command, "NOOP completed")


async def logout(session: ImapSession, command: Logout) -> None:
    """LOGOUT (RFC 3501 §6.1.3)."""
    session.engine.respond("*", "BYE", "Logging out")
    session.engine.respond(command.tag, "OK", "LOGOUT completed")
    session.engine.finish()


async def identify(session: ImapSession, command: Id) -> None:
    """ID (RFC 2971). The version stays our secret."""
    session.engine.write(b'* ID ("name" "twisted_mta")\r\n')
    session.complete(command, "ID completed")


async def namespace(session: ImapSession, command: Namespace) -> None:
    """NAMESPACE (RFC 2342): everybody has their own mailboxes and sees no others."""
    session.engine.write(b'* NAMESPACE (("" "/")) NIL NIL\r\n')
    session.complete(command, "NAMESPACE completed")


COMMANDS: Rows = {Capability: capability, Noop: noop, Logout: logout, Id: identify, Namespace: namespace}
