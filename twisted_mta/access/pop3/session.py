"""A POP3 session: the engine's questions answered from the directory and the store (RFC 1939).

Left out on purpose: a lock on the maildrop (see `inbox.py`) and LOGIN-DELAY.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from twisted_mta.access.pop3.inbox import Inbox
from twisted_mta.interfaces import IDirectory
from twisted_mta.journey.bus import Journey
from twisted_mta.message.status import MailError
from twisted_mta.protocol.pop3.events import Event, Listing, Login, Retrieve, StartTls, Update
from twisted_mta.protocol.pop3.server import Pop3Limits, Pop3Server
from twisted_mta.store.store import MessageStore
from twisted_mta.wire.connection import Connection
from twisted_mta.wire.login import LoginAttempts, LoginLimits

OVERLOAD = b"-ERR [SYS/TEMP] Too many connections, try again later\r\n"  # for Listener


@dataclass(frozen=True, slots=True)
class Pop3Settings:
    """`idle_limit` is the autologout, in seconds; RFC 1939 §3 asks for ten minutes at least."""

    hostname: str
    allow_cleartext: bool = False
    idle_limit: float = 600.0
    limits: Pop3Limits = field(default_factory=Pop3Limits)
    login: LoginLimits = field(default_factory=LoginLimits)


class Pop3Session(Connection[Event]):
    """One client."""

    engine: Pop3Server

    def __init__(
        self,
        settings: Pop3Settings,
        *,
        directory: IDirectory,
        store: MessageStore,
        journey: Journey,
        reactor: IReactorTime,
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._store = store
        self._journey = journey
        self._reactor = reactor
        self.idle_limit = settings.idle_limit
        self._account = ""
        self._inbox: Inbox | None = None
        self._retrieved = self._removed = 0
        self._handling = False

    def opened(self) -> None:
        self.engine = Pop3Server(
            hostname=self._settings.hostname,
            secure=self.secure,
            tls_available=self.listener.tls_context is not None,
            allow_cleartext=self._settings.allow_cleartext,
            limits=self._settings.limits,
        )
        self._attempts = LoginAttempts(
            self._directory,
            reactor=self._reactor,
            journey=self._journey,
            service="pop3",
            peer=self.peer_host,
            limits=self._settings.login,
        )
        self.engine.greet()

    async def handle(self, event: Event) -> None:
        self._handling = True
        try:
            await self._answer(event)
        finally:
            self._handling = False
            if self.gone:
                self._leave()

    async def _answer(self, event: Event) -> None:
        match event:
            case Login():
                await self._log_in(event)
            case StartTls():
                self.start_tls()
                self.engine.secured()
            case Retrieve():
                await self._retrieve(event)
            case Listing():
                await self._send(self.engine.listing(event))
            case Update():
                await self._update(event)

    async def _log_in(self, event: Login) -> None:
        self.flush()  # what came before need not wait for this
        account = await self._attempts.check(event.credentials)
        if account is None:
            self.engine.login_failed(last=self._attempts.exhausted)
            return
        self._account = account
        self._inbox = await Inbox.open(self._store, account)
        self.engine.logged_in(self._inbox.maildrop)

    async def _retrieve(self, event: Retrieve) -> None:
        assert self._inbox is not None
        octets = self._inbox.maildrop.size(event.number)
        async with self._store.portions.portion(self._account, octets):
            if not self.gone:
                await self._send_message(event, self._inbox)

    async def _send_message(self, event: Retrieve, inbox: Inbox) -> None:
        content = await inbox.read(event.number)
        if content is None:
            self.engine.message_gone()
            return
        if event.lines is None:
            self._retrieved += 1
        await self._send(self.engine.message(content, event.lines))

    async def _send(self, steps: Iterator[None]) -> None:
        """A long answer, as fast as the peer takes it."""
        for _ in steps:
            await self.drain()
            if self.gone:
                return

    async def _update(self, event: Update) -> None:
        assert self._inbox is not None
        if event.deleted:
            await self._inbox.remove(event.deleted)
            self._removed = len(event.deleted)
        self.engine.goodbye()

    def refuse(self, event: Event, error: MailError) -> None:
        # The connection ends with QUIT, whether the messages could be removed or not (RFC 1939 §6).
        self.engine.fail(error.text, permanent=error.permanent, finish=isinstance(event, Update))

    def timed_out(self) -> None:
        """Nothing is removed and nothing is said (RFC 1939 §3)."""

    def shutting_down(self) -> None:
        self.engine.fail("Server is stopping", finish=True)

    def closed(self) -> None:
        if not self._handling:
            self._leave()

    def _leave(self) -> None:
        inbox, self._inbox = self._inbox, None
        if inbox is None:
            return
        self._journey.tell(
            "logout",
            service="pop3",
            peer=self.peer_host,
            account=self._account,
            retrieved=self._retrieved,
            removed=self._removed,
        )
        closing = Deferred.fromCoroutine(inbox.close())
        closing.addErrback(lambda failure: self.log.failure("could not close a mailbox", failure=failure))
