"""SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS (RFC 4314 §3). Who may ask and change what, the store
decides; for a mailbox that the user may not know of, its answer is the one for a name that there is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_mta.access.imap4.command import Rows
from twisted_mta.directory.passwords import BadPassword, prepare
from twisted_mta.protocol.imap4.commands.rights import (
    ORDER,
    DeleteAcl,
    GetAcl,
    ListRights,
    MyRights,
    SetAcl,
    expand_rights,
    spell_rights,
)
from twisted_mta.protocol.imap4.grammar import CommandError
from twisted_mta.protocol.imap4.responses import astring
from twisted_mta.store.viewpoint import HowRights

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_HOW: dict[str, HowRights] = {"": "replace", "+": "add", "-": "remove"}


async def set_acl(session: ImapSession, command: SetAcl) -> None:
    """SETACL."""
    identifier = _prepared(command.identifier)
    await session.viewpoint.set_acl(command.mailbox, identifier, command.rights, _HOW[command.sign])
    session.complete(command, "SETACL completed")


async def delete_acl(session: ImapSession, command: DeleteAcl) -> None:
    """DELETEACL; of an identifier that has nothing as well."""
    await session.viewpoint.delete_acl(command.mailbox, _prepared(command.identifier))
    session.complete(command, "DELETEACL completed")


async def get_acl(session: ImapSession, command: GetAcl) -> None:
    """GETACL."""
    acl = await session.viewpoint.acl(command.mailbox)
    pairs = [b" %b %b" % (astring(who.encode()), spell_rights(rights)) for who, rights in acl.items()]
    session.engine.write(b"* ACL %b%b\r\n" % (session.mailbox_name(command.mailbox), b"".join(pairs)))
    session.complete(command, "GETACL completed")


async def list_rights(session: ImapSession, command: ListRights) -> None:
    """LISTRIGHTS. No right is tied to another here, so each stands alone (RFC 4314 §2.1.1). The identifier
    goes back as the client wrote it."""
    required, optional = await session.viewpoint.list_rights(command.mailbox, _prepared(command.identifier))
    words = [
        session.mailbox_name(command.mailbox),
        astring(command.identifier.encode()),
        spell_rights(required),
    ]
    words += [letter.encode("ascii") for letter in ORDER if expand_rights(letter) & optional]
    session.engine.write(b"* LISTRIGHTS %b\r\n" % b" ".join(words))
    session.complete(command, "LISTRIGHTS completed")


async def my_rights(session: ImapSession, command: MyRights) -> None:
    """MYRIGHTS."""
    rights = await session.viewpoint.rights(command.mailbox)
    session.engine.write(rights_line(session, command.mailbox, rights))
    session.complete(command, "MYRIGHTS completed")


def rights_line(session: ImapSession, mailbox: str, rights: frozenset[str]) -> bytes:
    """An untagged MYRIGHTS (RFC 4314 §3.8)."""
    return b"* MYRIGHTS %b %b\r\n" % (session.mailbox_name(mailbox), spell_rights(rights))


def _prepared(identifier: str) -> str:
    """An identifier in the form in which users give their names (RFC 4314 §3). Raises CommandError."""
    try:
        return prepare(identifier)
    except BadPassword:
        raise CommandError("Not an identifier") from None


COMMANDS: Rows = {
    SetAcl: set_acl,
    DeleteAcl: delete_acl,
    GetAcl: get_acl,
    ListRights: list_rights,
    MyRights: my_rights,
}
