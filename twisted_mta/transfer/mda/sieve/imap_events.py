"""Scripts at what is done to mailboxes over IMAP (RFC 6785).

A mailbox names the script in its annotation `/shared/imapsieve/script`: one of its owner's. Where it names
none, the operator's script for all mailboxes runs, if there is one; an empty name means none at all. Scripts
run after the command has been answered, one event of an account after the other, in the name of the owner.

A script's actions on the message:

    keep        it stays, with the flags that the script has given it
    fileinto    a copy; without :copy and keep, the one here is marked as deleted, and so it is by discard
    redirect    sent to others, within an hour no more than so many of one account
    notify      as at delivery

What a script has changed in the message (RFC 5293, RFC 5703) is in what it files and sends elsewhere; here
the message stays what it was, as IMAP wants it. reject, ereject and vacation are errors: then, as after every
error, nothing is done. What a script does starts no other script. What still waits when the server stops is
not made up for.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from twisted_mta.interfaces import IMailboxEvents, MailboxEvent
from twisted_mta.journey.bus import Journey
from twisted_mta.message.content import Content
from twisted_mta.message.status import MailError
from twisted_mta.sieve.errors import SieveError
from twisted_mta.sieve.imapsieve import out_of_place
from twisted_mta.sieve.mail import SieveEnvelope
from twisted_mta.sieve.ready import Ready
from twisted_mta.sieve.script import Script
from twisted_mta.store.annotations import event_scripts
from twisted_mta.store.errors import NoSuchMessage
from twisted_mta.store.home import Home
from twisted_mta.store.mailbox import Mailbox
from twisted_mta.store.script_memory import ScriptMemory
from twisted_mta.store.scripts import ScriptError, Scripts
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.sieve.carrying_out import CarryingOut
from twisted_mta.transfer.mda.sieve.filtering import Filters, run

MOST_WAITING = 10_000  # messages of one account; what comes beyond is passed over, and said
_COMPILED = 32 << 20  # octets of scripts that are kept ready


@implementer(IMailboxEvents)
class ImapEvents:
    """common, script: the operator's scripts, and the name of the one for all mailboxes, "" for none.
    reactor: provides the thread pool. url: see IMailboxEvents."""

    log = Logger(namespace="twisted_mta.sieve")

    def __init__(
        self,
        store: MessageStore,
        *,
        filters: Filters,
        carrying_out: CarryingOut,
        journey: Journey,
        reactor: Any,
        common: Scripts | None = None,
        script: str = "",
        url: str = "",
    ) -> None:
        self.url = url
        self._store = store
        self._filters = filters
        self._carrying_out = carrying_out
        self._journey = journey
        self._reactor = reactor
        self._common = common
        self._script = script
        self._compiled: Ready[tuple[str, str, bytes], Script] = Ready(_COMPILED)
        self._waiting: dict[str, deque[MailboxEvent]] = {}  # by account; there is one while its events run
        self._count: Counter[str] = Counter()

    def happened(self, event: MailboxEvent) -> None:
        """See IMailboxEvents."""
        account = self._store.at_hand(event.account)
        known = account.home.event_scripts if account is not None else None
        if not self._script and known is not None and not known[1]:
            return
        if self._count[event.account] + len(event.uids) > MOST_WAITING:
            self._fail(event.account, f"too much happens in {event.mailbox} for its script to follow")
            return
        self._count[event.account] += len(event.uids)
        waiting = self._waiting.get(event.account)
        if waiting is not None:
            waiting.append(event)
            return
        self._waiting[event.account] = deque([event])
        Deferred.fromCoroutine(self._work(event.account)).addErrback(self._unexpected)

    def _unexpected(self, failure: Any) -> None:
        self.log.failure("unexpected error at an event", failure=failure)

    def _fail(self, account: str, reason: str) -> None:
        self._journey.tell("sieve-failed", account=account, reason=reason)

    async def _work(self, account: str) -> None:
        waiting = self._waiting[account]
        try:
            while waiting:
                event = waiting.popleft()
                self._count[account] -= len(event.uids)
                try:
                    await self._take(event)
                except (MailError, ScriptError, SieveError, OSError, sqlite3.Error) as error:
                    self._fail(account, f"{event.mailbox}: {error}")
        finally:
            del self._waiting[account], self._count[account]

    async def _take(self, event: MailboxEvent) -> None:
        account = await self._store.account(event.account)

        def named(home: Home) -> str | None:
            return event_scripts(home).get(home.row(event.mailbox).id)

        name = await account.visit(named)
        script = await self._in_thread(self._read, event.account, name)
        if script is None:
            return
        mailbox = await account.open(event.mailbox)
        try:
            for uid in event.uids:
                try:
                    await self._run(script, event, mailbox, uid)
                except MailError as error:
                    self._fail(event.account, f"{event.mailbox}: {error}")
        finally:
            await mailbox.close()

    def _read(self, account: str, name: str | None) -> Script | None:
        """In a thread. None when there is nothing to run. Raises ScriptError, SieveError, OSError."""
        if name is not None:
            text = Scripts(self._store.home(account)).read(name) if name else b""
            key = ("personal", name, text)
        else:
            text = self._common.read(self._script) if self._common is not None and self._script else b""
            key = ("global", self._script, text)
        if not text:
            return None
        script = self._compiled.get(key)
        if script is None:
            script = Script(text, key[1], key[0])
            self._compiled.put(key, script, script.weight)
        return script

    async def _run(self, script: Script, event: MailboxEvent, mailbox: Mailbox, uid: int) -> None:
        try:
            flags = tuple(sorted(mailbox.flags(uid)))
            octets = mailbox.size(uid)
        except NoSuchMessage:
            return  # gone again
        async with self._store.portions.portion(event.account, octets):
            (data,) = await mailbox.read([uid])
            if data is None:
                return
            content = Content(b"", data)
            envelope = SieveEnvelope("", event.account)
            house = partial(await self._filters.house_for(event.account, script), items=_items(event))
            result, edited, around = await self._in_thread(run, script, content, envelope, house, flags)
            wrong = str(result.error) if result.error else out_of_place(result.actions)
            if wrong:
                self._fail(event.account, f"{event.mailbox}: {wrong}")
                return
            changed = edited is not None
            await self._carrying_out.carry_out(
                event, mailbox, uid, flags, result.actions, edited if changed else content, changed
            )
            if around.seen:
                memory = ScriptMemory(self._store.home(event.account))
                await self._in_thread(memory.remember, around.seen, self._reactor.seconds())

    async def _in_thread(self, function: Callable[..., Any], *arguments: object) -> Any:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)


def _items(event: MailboxEvent) -> dict[str, str]:
    """RFC 6785 §4.2 to §4.4, RFC 5183 §4.1."""
    return {
        "location": "MS",
        "phase": "post",
        "imap.user": event.user,
        "imap.email": event.user,
        "imap.cause": event.cause,
        "imap.mailbox": event.mailbox,
        "imap.changedflags": " ".join(event.flags),
    }
