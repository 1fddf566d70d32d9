r"""What people teach by moving mail over IMAP.

    into \Junk                                 it is junk
    out of \Junk or Rejects, but for \Trash    it is none
    into a mailbox to be kept (not INBOX,      it is none
    \Trash, \Drafts, \Sent, \Junk, Rejects)

Out of Rejects, its sender, if proven, is moreover put on the account's list of those who are allowed: else
the next message would be refused again. A copy counts as a move: programs without MOVE copy and then delete.
Only what the owner does counts. Nothing is learned from flags, from what is left lying, or from what the
server itself has filed, which would only confirm its own errors. Events wait their turn, one account's after
the other; of a large move the newest count, and what is too much is passed over.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from twisted_mta.interfaces import IMailboxEvents, MailboxEvent
from twisted_mta.journey.bus import Journey
from twisted_mta.message.headers import header_end
from twisted_mta.message.status import MailError
from twisted_mta.store.errors import NoSuchMessage
from twisted_mta.store.mailbox import Mailbox
from twisted_mta.store.names import INBOX
from twisted_mta.store.portions import examined
from twisted_mta.store.store import MessageStore
from twisted_mta.trust.abuse.proven import verified_authors, verified_domains
from twisted_mta.trust.abuse.reputation import Lesson, Reputation
from twisted_mta.trust.abuse.senders import SenderEntry
from twisted_mta.trust.abuse.tokens import READ, tokens

MOST_WAITING = 5000  # messages of one account
MOST_OF_ONE = 200  # messages of one move, the newest: each costs some milliseconds, and they are alike
_LESSONS = 25  # in one transaction

_NO_USE: frozenset[str] = frozenset()
_JUNK, _TRASH = "\\Junk", "\\Trash"
_NOT_KEPT = frozenset((_JUNK, _TRASH, "\\Drafts", "\\Sent"))
_OWN = frozenset(("\\Drafts", "\\Sent"))  # what lies there its owner has written


def lesson_of(source: str, target: str, uses: Mapping[str, frozenset[str]], rejects: str) -> bool | None:
    """Whether a move teaches that something is junk; None: nothing at all. `uses`: special uses by mailbox,
    `rejects` the name of that mailbox."""
    before, after = uses.get(source, _NO_USE), uses.get(target, _NO_USE)
    if before & _OWN or target == rejects:
        return None
    if _JUNK in after:
        return None if _JUNK in before else True
    if _JUNK in before or (source and source == rejects):
        return None if _TRASH in after else False
    if not source or target == INBOX or after & _NOT_KEPT:
        return None
    return False


@implementer(IMailboxEvents)
class Learning:
    """`following` is told everything as well. `service`: our authserv-id; `rejects`: the mailbox with refused
    mail; `allow` takes the entry of a sender that was rescued from there. reactor: provides the thread pool
    and the wall clock."""

    log = Logger(namespace="twisted_mta.junk")

    def __init__(
        self,
        store: MessageStore,
        *,
        following: IMailboxEvents,
        service: str,
        journey: Journey,
        reactor: Any,
        rejects: str = "",
        allow: Callable[[SenderEntry], Awaitable[None]] | None = None,
    ) -> None:
        self.url = following.url
        self._store = store
        self._following = following
        self._service = service
        self._journey = journey
        self._reactor = reactor
        self._rejects = rejects
        self._allow = allow
        self._waiting: dict[str, deque[MailboxEvent]] = {}  # by account; there is one while it learns
        self._count: Counter[str] = Counter()

    def happened(self, event: MailboxEvent) -> None:
        """See IMailboxEvents."""
        self._following.happened(event)
        account = event.account
        if event.cause != "COPY" or event.user != account:
            return
        if self._count[account] + len(event.uids) > MOST_WAITING:
            self.log.info("{account} moves more than can be learned from", account=account)
            return
        self._count[account] += len(event.uids)
        if (waiting := self._waiting.get(account)) is not None:
            waiting.append(event)
            return
        self._waiting[account] = deque([event])
        Deferred.fromCoroutine(self._work(account)).addErrback(
            lambda failure: self.log.failure("learning failed", failure=failure)
        )

    async def _work(self, account: str) -> None:
        waiting = self._waiting[account]
        try:
            while waiting:
                event = waiting.popleft()
                try:
                    await self._learn(event)
                except (MailError, OSError, sqlite3.Error) as error:
                    self.log.error(
                        "{account} could not be learned from: {error}", account=account, error=error
                    )
                self._count[account] -= len(event.uids)
        finally:
            del self._waiting[account], self._count[account]

    async def _learn(self, event: MailboxEvent) -> None:
        account = await self._store.account(event.account)
        uses = {info.name: info.special_uses for info in await account.list_mailboxes()}
        junk = lesson_of(event.source, event.mailbox, uses, self._rejects)
        if junk is None:
            return
        new = 0
        mailbox = await account.open(event.mailbox)
        try:
            newest = event.uids[-MOST_OF_ONE:]
            for start in range(0, len(newest), _LESSONS):
                lessons = await self._lessons(mailbox, newest[start : start + _LESSONS], junk)
                if lessons:
                    new += await self._in_thread(self._teach, event.account, lessons)
                if not junk and event.source == self._rejects:
                    await self._rescue(event.account, lessons)
        finally:
            await mailbox.close()
        if new:
            kind = "junk" if junk else "no junk"
            self._journey.tell("junk-learned", account=event.account, messages=new, kind=kind)

    async def _lessons(self, mailbox: Mailbox, uids: Sequence[int], junk: bool) -> list[Lesson]:
        found = []
        for uid in uids:
            try:
                async with examined(
                    self._store.portions, mailbox, uid, lambda data: lesson(data, junk, self._service)
                ) as each:
                    if each is not None:
                        found.append(each)
            except NoSuchMessage:
                continue
        return found

    async def _rescue(self, account: str, lessons: Sequence[Lesson]) -> None:
        for sender in dict.fromkeys(sender for each in lessons for sender in each.senders):
            if self._allow is not None:
                now = self._reactor.seconds()
                await self._allow(SenderEntry(account, sender, "allow", now, f"rescued from {self._rejects}"))

    def _teach(self, account: str, lessons: Sequence[Lesson]) -> int:
        return Reputation(self._store.home(account)).learn(lessons, now=self._reactor.seconds())

    async def _in_thread(self, function: Any, *arguments: object) -> Any:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)


def lesson(data: bytes, junk: bool, service: str) -> Lesson:
    """What a message, CRLF, teaches."""
    some = data[:READ]
    end = header_end(some)
    header = some[:end] if end >= 0 else some
    verified = verified_domains(header, service)
    name = blake2b(data, digest_size=16).digest()
    return Lesson(name, tokens(some, verified), verified_authors(header, verified), junk)
