"""APPEND: a message streamed into a mailbox (RFC 3501 §6.3.11, RFC 4315 §3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.response_codes import code_of
from twisted_mta.message.status import MailError
from twisted_mta.protocol.imap4.commands.appending import Append
from twisted_mta.protocol.imap4.server import AppendEnd, LiteralChunk
from twisted_mta.store.draft import MessageDraft
from twisted_mta.store.errors import NoSuchMailbox

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession


@dataclass(slots=True)
class Appending:
    """An APPEND whose message is coming in. After an `error` the rest of it is read and thrown away."""

    command: Append
    draft: MessageDraft
    error: MailError | None = None

    @property
    def tag(self) -> str:
        """The tag of the command."""
        return self.command.tag


async def append(session: ImapSession, command: Append) -> None:
    """The command up to its literal: decide whether that is worth sending. Where it is not, the engine
    sees to the literal."""
    limit = session.access.limits.message
    if command.size > limit:
        session.refuse_command(command, f"Messages may have {limit} octets at most", "LIMIT")
        return
    if not command.size:
        session.refuse_command(command, "An empty message cannot be appended", "CANNOT")
        return
    account = session.require_account()
    try:
        await account.require(command.mailbox)
    except NoSuchMailbox as error:
        session.refuse_command(command, error.text, "TRYCREATE")
        return
    session.appending = Appending(command, await session.access.store.draft(account.name))
    session.engine.accept_message()


async def take(session: ImapSession, chunk: LiteralChunk) -> None:
    """More of the message."""
    appending = session.appending
    assert appending is not None
    if appending.error is None:
        try:
            await appending.draft.write(chunk.data)
        except MailError as error:
            fail(session, error)


def fail(session: ImapSession, error: MailError) -> None:
    """The message cannot be stored; its end is awaited to say so."""
    assert session.appending is not None
    session.appending.error = error
    session.appending.draft.abort()


async def end(session: ImapSession, event: AppendEnd) -> None:
    """The message is complete."""
    appending = session.appending
    assert appending is not None
    command = appending.command
    try:
        if appending.error is not None:
            session.refuse_command(command, appending.error.text, code_of(appending.error))
        elif event.fault is not None:
            session.engine.respond(command.tag, "BAD", event.fault.text)
        else:
            uid_validity, uid = await appending.draft.commit(
                command.mailbox, command.flags, command.internal_date
            )
            session.complete(command, "APPEND completed", f"APPENDUID {uid_validity} {uid}")
    except NoSuchMailbox as error:  # deleted while the message came in
        session.refuse_command(command, error.text, "TRYCREATE")
    finally:
        abandon(session)


def abandon(session: ImapSession) -> None:
    """The APPEND is over."""
    appending, session.appending = session.appending, None
    if appending is not None:
        appending.draft.abort()


COMMANDS: Rows = {Append: append}
