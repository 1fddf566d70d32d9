"""GETMETADATA and SETMETADATA (RFC 5464 §4). What may be set, and by whom, the store decides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from twisted_mta.access.imap4.command import Rows
from twisted_mta.protocol.imap4.commands.metadata import GetMetadata, SetMetadata
from twisted_mta.protocol.imap4.grammar import CommandError
from twisted_mta.protocol.imap4.responses import NIL, astring, string
from twisted_mta.store.errors import BadAnnotation

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

Pairs = Iterable[tuple[str, bytes | None]]


async def get(session: ImapSession, command: GetMetadata) -> None:
    """GETMETADATA. An entry without a value is NIL when it was asked for by name; when those below it were
    asked for, too, only if there is nothing to tell at all."""
    try:
        values = await session.viewpoint.annotations(command.mailbox or None, command.entries, command.depth)
    except BadAnnotation as error:
        raise CommandError(error.text) from None
    longest = max(map(len, values.values()), default=0)
    pairs: list[tuple[str, bytes | None]] = []
    if command.depth == 0:
        pairs += [(entry, values.get(entry)) for entry in command.entries]
    else:
        pairs += values.items() if values else [(entry, None) for entry in command.entries]
    code = ""
    if command.max_size is not None and longest > command.max_size:
        pairs = [(entry, value) for entry, value in pairs if len(value or b"") <= command.max_size]
        code = f"METADATA LONGENTRIES {longest}"
    if pairs:
        session.engine.write(metadata_line(session, command.mailbox, pairs))
    session.complete(command, "GETMETADATA completed", code)


async def set_values(session: ImapSession, command: SetMetadata) -> None:
    """SETMETADATA: all entries or none."""
    try:
        await session.viewpoint.set_annotations(command.mailbox or None, dict(command.values))
    except BadAnnotation as error:
        raise CommandError(error.text) from None
    if session.metadata_changes is not None:
        session.metadata_changes.forget(command.mailbox, dict(command.values))
    if session.notifications is not None:
        session.notifications.forget_entries(command.mailbox, dict(command.values))
    session.complete(command, "SETMETADATA completed")


def metadata_line(session: ImapSession, mailbox: str, pairs: Pairs) -> bytes:
    """An untagged METADATA with values (RFC 5464 §4.4.1)."""
    words = [b"%b %b" % (astring(entry.encode("ascii")), _value(value)) for entry, value in pairs]
    return b"* METADATA %b (%b)\r\n" % (session.mailbox_name(mailbox), b" ".join(words))


def _value(value: bytes | None) -> bytes:
    if value is None:
        return NIL
    # NUL has no place in any string but a literal8.
    return b"~{%d}\r\n%b" % (len(value), value) if b"\0" in value else string(value)


COMMANDS: Rows = {GetMetadata: get, SetMetadata: set_values}
