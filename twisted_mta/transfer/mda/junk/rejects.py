"""Refused mail, put by for a while: for each recipient in a mailbox of the account, with the reason on top.

The sender is told that it was refused, so that nobody waits for an answer; who finds there what should not
have been refused moves it to where mail belongs, and its sender is trusted from then on (`learning.py`). What
is older than some days goes, and so does the oldest when there is too much. What is denied by hand, or
carries a virus, is not put by.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mta.interfaces import IDirectory
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.conversion import Form, NotConvertible
from twisted_mta.message.status import MailError
from twisted_mta.store.errors import NoSuchMailbox
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.sieve.filing import mailbox_for
from twisted_mta.transfer.recoding import Recoding
from twisted_mta.trust.abuse.checks import sender_of
from twisted_mta.trust.abuse.memory import Memory
from twisted_mta.trust.abuse.senders import SERVER, SenderLists
from twisted_mta.trust.check import Incoming
from twisted_mta.trust.finding import Finding
from twisted_mta.trust.judgement import Keep
from twisted_mta.trust.results import value_of

MAILBOX = "Rejects"
MOST_ACCOUNTS = 100_000  # that have something put by
MOST_IN_AN_HOUR = 60  # messages for one account
_EXPIRING = 3600.0  # seconds between two looks for what is too old
_LONGEST_WORDS = 300


@dataclass(frozen=True, slots=True)
class RejectRules:
    """`keep` in seconds; `most` messages of one account."""

    keep: float = 14 * 86400.0
    most: int = 200


class Rejects:
    """`service`: our authserv-id. `reactor`: provides the thread pool and the wall clock. `accounts` are
    those with something put by, to be kept beside it (`trust/abuse/ledger.py`)."""

    log = Logger(namespace="twisted_mta.junk")

    def __init__(
        self,
        store: MessageStore,
        *,
        directory: IDirectory,
        service: str,
        journey: Journey,
        reactor: Any,
        rules: RejectRules = RejectRules(),
    ) -> None:
        self.accounts = Memory(MOST_ACCOUNTS)
        self._store = store
        self._directory = directory
        self._service = service
        self._journey = journey
        self._reactor = reactor
        self._rules = rules
        self._lately: Counter[str] = Counter()  # messages by account, since the last look
        self._recoding = Recoding(self._in_thread)
        self._look = task.LoopingCall(self._expire_all)
        self._look.clock = reactor

    async def start(self) -> None:
        """Look for what is too old, now and then."""
        self._look.start(_EXPIRING, now=False).addErrback(self._failed)

    async def stop(self) -> None:
        """No more. Idempotent."""
        if self._look.running:
            self._look.stop()

    async def keep(self, message: Incoming, why: str) -> None:
        """Put a message by that is about to be refused, and is complete; see `Judge`. Raises OSError."""
        content = message.content
        assert content is not None
        if message.parameters.body != "BINARYMIME":
            await self._put_all(message, content, why)
            return
        try:
            async with self._recoding.converted(content, Form.EIGHT_BIT) as encoded:
                await self._put_all(message, encoded, why)
        except NotConvertible:
            return  # no mailbox could hold it

    async def _put_all(self, message: Incoming, content: Content, why: str) -> None:
        """For each of its recipients."""
        for account, address in (await self._owners(message.forward_paths)).items():
            if self._lately[account] >= MOST_IN_AN_HOUR:
                continue
            self._lately[account] += 1
            try:
                await self._put(account, address, message, content, why)
            except (MailError, OSError, sqlite3.Error) as error:
                self.log.error(
                    "{queue_id}: could not be put by for {account}: {error}",
                    queue_id=message.queue_id,
                    account=account,
                    error=error,
                )

    async def _owners(self, forward_paths: Sequence[Address]) -> dict[str, Address]:
        """The accounts that are recipients under a name of their own, each with one of its addresses."""
        found: dict[str, Address] = {}
        for address in forward_paths:
            if not self._directory.is_local(address.domain):
                continue
            resolution = await self._directory.resolve(address)
            if resolution is not None and resolution.account:
                found.setdefault(resolution.account, address)
        return found

    async def _put(
        self, account: str, address: Address, message: Incoming, content: Content, why: str
    ) -> None:
        now = self._reactor.seconds()
        reason = Finding("x-refused", "fail", {}, why[:_LONGEST_WORDS])
        results = value_of(self._service, (reason, *message.findings))
        head = (
            f"Return-Path: <{message.reverse_path or ''}>\r\nDelivered-To: {address}\r\n"
            f"Authentication-Results: {results}\r\n"
        )
        mailbox = await mailbox_for(self._store, account, MAILBOX, create=True)
        await self._store.deliver(
            account,
            content.with_head(head.encode()),
            unique=f"{message.queue_id}-refused",
            arrived=now,
            mailbox=mailbox,
        )
        self.accounts.put(account, now, now + 2 * self._rules.keep)
        self._journey.tell("put-by", message.queue_id, account=account, mailbox=mailbox, reason=why)
        await self._expire(account)

    # What goes

    def _expire_all(self) -> Deferred[None]:
        self._lately.clear()
        return Deferred.fromCoroutine(self._each()).addErrback(self._failed)

    async def _each(self) -> None:
        for account in self.accounts.keys(self._reactor.seconds()):
            try:
                await self._expire(account)
            except (MailError, OSError, sqlite3.Error) as error:
                self.log.error("{account}: {error}", account=account, error=error)

    async def _expire(self, account: str) -> None:
        """Remove what is too old or too much."""
        known = await self._store.known_account(account)
        if known is None:
            return
        try:
            mailbox = await known.open(MAILBOX)
        except NoSuchMailbox:
            return
        try:
            before = self._reactor.seconds() - self._rules.keep
            uids = list(mailbox.uids)
            beyond = uids[: max(0, len(uids) - self._rules.most)]
            old = {uid for uid in uids if mailbox.internal_date(uid) < before}
            if gone := sorted(old.union(beyond)):
                await mailbox.expunge(gone)
        finally:
            await mailbox.close()

    def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)

    def _failed(self, failure: Failure) -> None:
        self.log.error("refused mail cannot be looked through: {error}", error=failure.getErrorMessage())


async def keep_what_is_wanted(
    message: Incoming,
    why: str,
    *,
    keep: Keep,
    lists: SenderLists,
    octets: int,
    in_thread: Callable[..., Awaitable[int]],
) -> None:
    """Give `keep` what is refused for that reason if somebody might want to have it, and it has no more than
    `octets`. lists: who is denied by hand. Decided where mail is refused, before it is handed to the process
    with the mailboxes. Raises OSError, and what `keep` raises."""
    content = message.content
    if content is None or "virus" in why.lower():
        return
    if lists.word(SERVER, sender_of(message))[0] != "deny" and await in_thread(content.__len__) <= octets:
        await keep(message, why)
