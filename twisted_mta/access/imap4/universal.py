"""The commands of any state, ENABLE and COMPRESS (RFC 9051 §6.1, §6.3.1; RFC 2971, 4978, 5161)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_mta.access.imap4 import synchronize
from twisted_mta.access.imap4.capabilities import ENABLED_BY_REQUEST, capabilities
from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.metadata_changes import MetadataChanges
from twisted_mta.protocol.imap4.commands.connection import (
    Capability,
    Compress,
    Enable,
    Id,
    Logout,
    Noop,
)

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


async def enable(session: ImapSession, command: Enable) -> None:
    """ENABLE (RFC 5161): what is not known, or needs no enabling, is passed over. QRESYNC brings CONDSTORE
    along (RFC 7162 §3.2.3)."""
    names = [name for name in dict.fromkeys(command.capabilities) if name in ENABLED_BY_REQUEST]
    new = [name for name in names if name not in session.enabled]
    session.enabled.update(name for name in names if name != "CONDSTORE")
    session.engine.utf8 = not session.enabled.isdisjoint({"UTF8=ACCEPT", "IMAP4REV2"})
    spelled = "".join(f" {ENABLED_BY_REQUEST[name]}" for name in new)
    session.engine.write(f"* ENABLED{spelled}\r\n".encode("ascii"))
    if "METADATA" in new:
        session.metadata_changes = MetadataChanges(session)
    if not {"CONDSTORE", "QRESYNC"}.isdisjoint(names):
        synchronize.enable_condstore(session)
    session.complete(command, "ENABLE completed")


async def compress(session: ImapSession, command: Compress) -> None:
    """COMPRESS (RFC 4978)."""
    if session.compressed:
        session.refuse_command(command, "DEFLATE is active already", "COMPRESSIONACTIVE")
        return
    session.complete(command, "DEFLATE active")
    session.start_compression()


COMMANDS: Rows = {
    Capability: capability,
    Noop: noop,
    Logout: logout,
    Id: identify,
    Enable: enable,
    Compress: compress,
}
