"""What a user puts into the Outbox is sent, by whom the service has for that (`ISubmitter`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING

from twisted_mta.access.imap4.response_codes import code_of
from twisted_mta.interfaces import ISubmitter
from twisted_mta.message.status import MailError
from twisted_mta.protocol.imap4.grammar import CommandError
from twisted_mta.store.errors import BadMailboxName, StoreError
from twisted_mta.store.mailbox import CopyResult
from twisted_mta.store.names import canonical_name
from twisted_mta.store.viewpoint import PREFIX, Place

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession


MOST = 50  # messages that are copied or moved there at a time


def _submitter(session: ImapSession, place: Place) -> ISubmitter | None:
    """Who sends what the user puts there; None when it is not to be sent."""
    submitter = session.access.submitter
    return submitter if submitter is not None and place.own and submitter.is_outbox(place.name) else None


async def check_may_submit(session: ImapSession, place: Place) -> None:
    """Before a message comes in. Raises CommandError."""
    submitter = _submitter(session, place)
    if submitter is not None:
        try:
            await submitter.may_submit(place.account.name)
        except MailError as error:
            raise _refusal(error) from None


def refuse_more(session: ImapSession, place: Place) -> None:
    """One command sends one message: of several, some might be sent already when another one cannot be.
    Raises CommandError."""
    if _submitter(session, place) is not None:
        raise CommandError("Messages are sent one by one", condition="NO", code="CANNOT")


async def appended(
    session: ImapSession, place: Place, uid_validity: int, uids: Sequence[int], *, replacing: bool
) -> None:
    """Messages were appended. One that cannot be sent is taken out again, unless it has taken the place of
    another one, which is gone. Raises CommandError, MailError."""
    submitter = _submitter(session, place)
    if submitter is None:
        if session.access.submitter is not None and place.own:
            with suppress(StoreError):  # then there are two copies
                await session.access.submitter.appended(place.account.name, place.name, uids)
        return
    if replacing:
        await submitter.submit_later(place.account.name, uid_validity, uids)
        return
    for uid in uids:
        try:
            await submitter.submit(place.account.name, uid_validity, uid)
        except MailError as error:
            mailbox = await place.account.open(place.name)
            try:
                await mailbox.expunge([uid])
            finally:
                await mailbox.close()
            raise _refusal(error) from None


def refuse_many(session: ImapSession, target: str, messages: int) -> None:
    """Before messages are copied or moved: each that cannot be sent is told in a mail of its own. Raises
    CommandError, BadMailboxName."""
    if messages > MOST and _at(session, target):
        raise CommandError(f"No more than {MOST} messages are sent at a time", condition="NO", code="LIMIT")


@asynccontextmanager
async def expecting(session: ImapSession, target: str) -> AsyncIterator[None]:
    """While messages are copied or moved, until they are submitted. Raises MailError."""
    try:
        submitter = _at(session, target)
    except BadMailboxName:
        submitter = None
    async with _expecting(submitter, session.viewpoint.name):
        yield


def expecting_append(session: ImapSession, place: Place) -> AbstractAsyncContextManager[None]:
    """While messages are appended, until they are submitted. Raises MailError."""
    return _expecting(_submitter(session, place), place.account.name)


@asynccontextmanager
async def _expecting(submitter: ISubmitter | None, account: str) -> AsyncIterator[None]:
    token = await submitter.expect(account) if submitter is not None else 0
    try:
        yield
    finally:
        if submitter is not None:
            await submitter.came(token)


async def copied(session: ImapSession, target: str, result: CopyResult) -> None:
    """Messages were copied or moved. Raises MailError."""
    if (submitter := _at(session, target)) and result.target_uids:
        await submitter.submit_later(session.viewpoint.name, result.uid_validity, result.target_uids)


def _at(session: ImapSession, mailbox: str) -> ISubmitter | None:
    """As `_submitter`, for a name that the user has given."""
    submitter = session.access.submitter
    if submitter is None or mailbox.startswith(PREFIX):
        return None
    return submitter if submitter.is_outbox(canonical_name(mailbox)) else None


def _refusal(error: MailError) -> CommandError:
    otherwise = "CANNOT" if error.permanent else "UNAVAILABLE"
    code = code_of(error) if isinstance(error, StoreError) else otherwise
    return CommandError(f"Not sent: {error.text}", condition="NO", code=code)
