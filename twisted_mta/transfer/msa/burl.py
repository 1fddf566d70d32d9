"""What BURL names: a message or part in a mailbox here, whose owner has allowed it to be sent (RFC 4468).

Only URLs with URLAUTH are taken, of the access identifier `submit+` with the name of the very user who has
logged in here, as RFC 4468 asks of a submission server; the owner of the mailbox may be another user, who has
made the URL for this one. The server in the URL is not looked at: it is part of what was signed.

Left out on purpose: URLs of other mailbox servers, and those without URLAUTH.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial

from twisted.internet.interfaces import IReactorTime

from twisted_mta.message.status import MailError
from twisted_mta.protocol.imap4.imap_url import (
    INTERNAL,
    AuthorizedUrl,
    BadUrl,
    extract,
    parse_authorized,
)
from twisted_mta.store.access_keys import owner_who_allows
from twisted_mta.store.account import Account
from twisted_mta.store.errors import BadMailboxName, NoSuchMailbox, NoSuchMessage
from twisted_mta.store.portions import examined
from twisted_mta.store.store import MessageStore

_PIECE = 64 * 1024  # octets


class MailboxContents:
    """Fetches for submission sessions. `reactor`: the wall clock."""

    def __init__(self, store: MessageStore, reactor: IReactorTime) -> None:
        self._store = store
        self._reactor = reactor

    async def fetch(self, account: str, text: str) -> AsyncGenerator[bytes, None]:
        """The octets that a URL names, CRLF, in pieces of up to 64 KiB, for the account that has logged in.

        Raises MailError: 554 5.7.14 for a URL that proves nothing, 554 5.6.6 for what is not there, or not
        for this account; StorageFault."""
        url = self._parse(text)
        if url.auth.access != "submit" or url.is_expired(self._reactor.seconds()):
            raise _not_available()
        try:
            owner = await owner_who_allows(
                self._store,
                url.accounts(url.owner, account.rpartition("@")[2]),
                url.message.mailbox,
                text=url.auth.rump,
                token=url.auth.token,
                # A user without a domain is one of the owner's: of another domain it would be another user.
                may_use=lambda owner: (
                    account in url.accounts(url.auth.access_user, owner.name.rpartition("@")[2])
                ),
            )
            if owner is None:
                raise _not_available()
            async for piece in self._read(owner, url):
                yield piece
        except (NoSuchMailbox, BadMailboxName, NoSuchMessage):
            raise _not_available() from None

    def _parse(self, text: str) -> AuthorizedUrl:
        try:
            url = parse_authorized(text.encode("ascii", "replace"))
        except BadUrl:
            raise _no_trust() from None
        if url.auth.mechanism != INTERNAL:
            raise _no_trust()
        return url

    async def _read(self, owner: Account, url: AuthorizedUrl) -> AsyncGenerator[bytes, None]:
        mailbox = await owner.open(url.message.mailbox)
        try:
            if url.message.uid_validity not in (None, mailbox.uid_validity):
                raise _not_available()
            see = partial(extract, url=url.message)
            async with examined(self._store.portions, mailbox, url.message.uid, see) as octets:
                if octets is None:
                    raise _not_available()
                for start in range(0, len(octets), _PIECE):
                    yield octets[start : start + _PIECE]
        finally:
            await mailbox.close()


def _not_available() -> MailError:
    return MailError(554, "5.6.6", "No such message, or its owner has not allowed you to send it")


def _no_trust() -> MailError:
    return MailError(554, "5.7.14", "Only URLs with URLAUTH=submit+ can be resolved here")
