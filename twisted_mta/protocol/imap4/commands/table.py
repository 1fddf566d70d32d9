"""Every command by its name (RFC 3501 §9, RFC 9051 §9), put together from the groups."""

from __future__ import annotations

from twisted_mta.protocol.imap4.commands import (
    appending,
    authorizing,
    connection,
    copying,
    fetching,
    idling,
    listing,
    mailboxes,
    metadata,
    notifying,
    quota,
    rights,
    searching,
    selecting,
    storing,
)
from twisted_mta.protocol.imap4.commands.command import BEFORE_LOGIN, Command, Reader, State
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor

COMMANDS: dict[str, tuple[State, Reader]] = {
    **connection.COMMANDS,
    **mailboxes.COMMANDS,
    **listing.COMMANDS,
    **rights.COMMANDS,
    **metadata.COMMANDS,
    **notifying.COMMANDS,
    **quota.COMMANDS,
    **selecting.COMMANDS,
    **appending.COMMANDS,
    **authorizing.COMMANDS,
    **idling.COMMANDS,
    **searching.COMMANDS,
    **fetching.COMMANDS,
    **storing.COMMANDS,
    **copying.COMMANDS,
}

UID_COMMANDS: dict[str, Reader] = {
    **appending.UID_COMMANDS,
    **searching.UID_COMMANDS,
    **fetching.UID_COMMANDS,
    **storing.UID_COMMANDS,
    **copying.UID_COMMANDS,
}


def _uid(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    reader = UID_COMMANDS.get(cursor.keyword())
    if reader is None:
        cursor.fail("a command that has a UID form")
    return reader(cursor, tag)


COMMANDS["UID"] = (State.SELECTED, _uid)


def find_reader(cursor: Cursor, state: State) -> tuple[str, Reader]:
    """The name at the cursor and the reader of its arguments. Raises CommandError for an unknown command
    and for one that has no place in this state."""
    name = cursor.keyword()
    row = COMMANDS.get(name)
    if row is None:
        raise CommandError("No such command")
    allowed, reader = row
    if state not in allowed:
        if allowed is BEFORE_LOGIN:
            raise CommandError("Already logged in")
        raise CommandError("Log in first" if state is BEFORE_LOGIN else "Select a mailbox first")
    return name, reader
