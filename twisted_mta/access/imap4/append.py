"""APPEND: messages streamed into a mailbox, all or none (RFC 9051 §6.3.12; RFC 3502, 3516, 4469, 6855).

What the client sends or names as parts of a message goes into a draft of the account whose mailbox it is.
What speaks against the command is said as early as can be: before the first literal, before the next one,
at the latest at its end. The engine sees to the literals of a command that is refused.

8-bit headers are taken as they are whether UTF8=ACCEPT is enabled or not: clients send them, and a message
that is refused is lost to its user.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted_mta.access.imap4 import catenate, events, message_limit, outbox
from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.response_codes import code_of
from twisted_mta.message.binary_body import NotKept, encoded_pieces
from twisted_mta.message.status import MailError
from twisted_mta.protocol.imap4.commands.appending import Append, Appending, AppendOptions, Part, TextPart
from twisted_mta.protocol.imap4.imap_url import BadUrl, in_response_code
from twisted_mta.protocol.imap4.sequence_set import render_uids
from twisted_mta.protocol.imap4.server import AppendEnd, LiteralChunk
from twisted_mta.store.draft import IN_MEMORY, MessageDraft
from twisted_mta.store.errors import NoSuchMailbox, NoSuchMessage
from twisted_mta.store.mailbox import Mailbox
from twisted_mta.store.viewpoint import Place

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

OCTETS = 2**30  # of all messages that one command may bring
_PIECE = 128 * 1024  # octets of a section that are written at a time


class UnknownEncoding(MailError):
    """Octets that no mailbox can keep (UNKNOWN-CTE of RFC 3516)."""

    def __init__(self) -> None:
        super().__init__(550, "5.6.1", "NUL is not allowed outside of bodies")


@dataclass(slots=True)
class Incoming:
    """An APPEND or REPLACE whose messages are coming in. `options`: those of the message at hand; `octets` of
    the messages before it; `messages`: with that one. After an `error` the rest of a literal is read and
    thrown away."""

    command: Appending
    place: Place
    draft: MessageDraft
    options: AppendOptions
    replaced: tuple[Mailbox, int] | None = None
    octets: int = 0
    messages: int = 1
    error: MailError | None = None

    @property
    def tag(self) -> str:
        """The tag of the command."""
        return self.command.tag


async def append(session: ImapSession, command: Append) -> None:
    """APPEND up to its first part."""
    await begin(session, command, None)


async def begin(session: ImapSession, command: Appending, replaced: tuple[Mailbox, int] | None) -> None:
    """The command up to its first part: decide whether that is worth sending."""
    part = command.part
    assert part is not None and part.options is not None
    if isinstance(part, TextPart) and not _fits(session, command, part, 0):
        return
    try:
        place = await _find(session, command.mailbox, part)
    except NoSuchMailbox as error:
        session.refuse_command(command, error.text, "TRYCREATE")
        return
    await outbox.check_may_submit(session, place)
    store = session.access.store
    await store.renew_limits()
    draft = await store.draft(place.account.name)
    session.appending = Incoming(command, place, draft, part.options, replaced)
    with _abandoning(session):
        await _take(session, session.appending, part)


async def _find(session: ImapSession, mailbox: str, part: Part) -> Place:
    """Where the messages go. A mailbox that was there is not looked for again, and a small literal that comes
    anyhow is not worth a look: that there is no such mailbox, is then said at the end."""
    place = await session.viewpoint.place(mailbox, "i")
    if isinstance(part, TextPart) and not part.waits and part.size <= IN_MEMORY:
        return place
    if not place.account.home.knows(place.name):
        await place.account.require(place.name)
    return place


async def take_part(session: ImapSession, part: Part) -> None:
    """The next part of a message, or the first one of the next message."""
    incoming = session.appending
    assert incoming is not None
    if incoming.error is not None:
        _refuse(session, incoming, incoming.error.text, code_of(incoming.error))
        return
    with _abandoning(session):
        if part.options is not None:
            message_limit.refuse_more(session, incoming.messages + 1)
            outbox.refuse_more(session, incoming.place)
            if not await _end_message(session, incoming):
                return
            incoming.messages += 1
            incoming.options = part.options
        if isinstance(part, TextPart) and not _fits(session, incoming.command, part, incoming.draft.size):
            abandon(session)
            return
        await _take(session, incoming, part)


@contextmanager
def _abandoning(session: ImapSession) -> Iterator[None]:
    """After an error, which the session answers, the command is over."""
    try:
        yield
    except BaseException:
        abandon(session)
        raise


async def _take(session: ImapSession, incoming: Incoming, part: Part) -> None:
    if isinstance(part, TextPart):
        await _take_text(session, incoming, part)
    else:
        await _take_url(session, incoming, part.url)


async def _take_text(session: ImapSession, incoming: Incoming, part: TextPart) -> None:
    if _is_too_much(session, incoming, part.size):
        return
    if part.size > IN_MEMORY:
        await session.viewpoint.require_room(incoming.place, incoming.octets + part.size - _freed(incoming))
    if part.binary:
        incoming.draft.begin_verbatim(_without_binary)
    session.engine.accept_part()


def _freed(incoming: Incoming) -> int:
    """The octets that removing the message that is replaced sets free."""
    if incoming.replaced is None:
        return 0
    mailbox, uid = incoming.replaced
    try:
        return mailbox.size(uid)
    except NoSuchMessage:
        return 0


async def _take_url(session: ImapSession, incoming: Incoming, url: bytes) -> None:
    """A part that is here already (RFC 4469)."""
    draft = incoming.draft
    try:
        async with catenate.section(session, url) as octets:
            if draft.size + len(octets) > session.access.limits.message:
                _refuse(session, incoming, _too_big(session), "TOOBIG")
                return
            if _is_too_much(session, incoming, len(octets)):
                return
            with memoryview(octets) as view:
                for start in range(0, len(view), _PIECE):
                    await draft.write(bytes(view[start : start + _PIECE]))
    except BadUrl as error:
        _refuse(session, incoming, str(error), f"BADURL {in_response_code(url)}")
        return
    session.engine.accept_part()


def _fits(session: ImapSession, command: Appending, part: TextPart, before: int) -> bool:
    """Whether a literal is fit for a message that has `before` octets. If not, the command is refused."""
    if before + part.size > session.access.limits.message:
        session.refuse_command(command, _too_big(session), "TOOBIG")
    elif not part.size and not part.catenated:
        session.refuse_command(command, "An empty message cannot be appended", "CANNOT")
    elif part.utf8 and "UTF8=ACCEPT" not in session.enabled:
        session.refuse_command(command, "Enable UTF8=ACCEPT first", "CANNOT")
    else:
        return True
    return False


def _is_too_much(session: ImapSession, incoming: Incoming, more: int) -> bool:
    """Whether the command brings more than one may. If so, it is refused."""
    if incoming.octets + incoming.draft.size + more <= OCTETS:
        return False
    _refuse(session, incoming, f"A command may bring {OCTETS} octets at most", "TOOBIG")
    return True


def _too_big(session: ImapSession) -> str:
    return f"Messages may have {session.access.limits.message} octets at most"


async def take(session: ImapSession, chunk: LiteralChunk) -> None:
    """More of a literal."""
    incoming = session.appending
    assert incoming is not None
    if incoming.error is None:
        try:
            await incoming.draft.write(chunk.data)
        except MailError as error:
            fail(session, error)


def fail(session: ImapSession, error: MailError) -> None:
    """The message cannot be stored; the end of its literal is awaited to say so."""
    assert session.appending is not None
    session.appending.error = error
    session.appending.draft.abort()


async def _end_message(session: ImapSession, incoming: Incoming) -> bool:
    """The message at hand is complete. False when it cannot be kept: then the command has been refused."""
    draft, options = incoming.draft, incoming.options
    if not draft.size:
        _refuse(session, incoming, "An empty message cannot be appended", "CANNOT")
        return False
    incoming.octets += draft.size
    flags = incoming.place.storable(options.flags)
    try:
        if draft.is_verbatim:
            portions, name = session.access.store.portions, incoming.place.account.name
            async with portions.portion(name, draft.size):
                await draft.end_message(flags, options.internal_date)
        else:
            await draft.end_message(flags, options.internal_date)
    except UnknownEncoding as error:
        _refuse(session, incoming, error.text, "UNKNOWN-CTE")
        return False
    return True


def _without_binary(data: bytes) -> Iterator[bytes]:
    """In a thread: the message in a form that a mailbox keeps."""
    try:
        yield from encoded_pieces(data)
    except NotKept:
        raise UnknownEncoding from None


async def end(session: ImapSession, event: AppendEnd) -> None:
    """All messages have come."""
    incoming = session.appending
    assert incoming is not None
    try:
        if incoming.error is not None:
            session.refuse_command(incoming.command, incoming.error.text, code_of(incoming.error))
        elif event.fault is not None:
            session.fault(event.fault)
        elif await _end_message(session, incoming):
            await _commit(session, incoming)
    finally:
        abandon(session)


async def _commit(session: ImapSession, incoming: Incoming) -> None:
    place, command = incoming.place, incoming.command
    async with outbox.expecting_append(session, place):
        try:
            uid_validity, uids = await incoming.draft.commit(place.name, incoming.replaced)
        except NoSuchMailbox as error:
            session.refuse_command(command, error.text, "TRYCREATE")
            return
        await outbox.appended(session, place, uid_validity, uids, replacing=incoming.replaced is not None)
    if session.notifications is not None:
        session.notifications.stored(place.account, place.name, uids)
    events.appended(session, place, uids)
    # Who may not read the mailbox learns nothing of it (RFC 9051 §6.3.12).
    code = f"APPENDUID {uid_validity} {render_uids(uids)}" if "r" in place.rights else ""
    if incoming.replaced is None:
        session.complete(command, "APPEND completed", code)
    else:
        if code:
            session.engine.respond("*", "OK", "The new message is there", code)
        if session.view is not None and not session.view.deleted:
            session.tell_updates(expunges=True, result=True, exists_first=True)
        session.complete(command, "REPLACE completed")


def _refuse(session: ImapSession, incoming: Incoming, text: str, code: str) -> None:
    session.refuse_command(incoming.command, text, code)
    abandon(session)


def abandon(session: ImapSession) -> None:
    """The command is over."""
    incoming, session.appending = session.appending, None
    if incoming is not None:
        incoming.draft.abort()


COMMANDS: Rows = {Append: append}
