"""A POP3 session: the engine's questions answered from the directory and the store (RFC 1939).

Left out on purpose: a lock on the maildrop (see `inbox.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from twisted_mta.access.pop3.counted import CountedPop3Server
from twisted_mta.access.pop3.inbox import Inbox, See
from twisted_mta.access.pop3.login_delay import LoginDelay
from twisted_mta.interfaces import IDirectory
from twisted_mta.journey.bus import Journey
from twisted_mta.message.status import MailError
from twisted_mta.message.surrogate import surrogate
from twisted_mta.protocol.pop3.events import (
    Event,
    Listing,
    Login,
    Retrieve,
    StartTls,
    UniqueIdsWanted,
    Update,
)
from twisted_mta.protocol.pop3.maildrop import UniqueIds
from twisted_mta.protocol.pop3.multiline import LongMessage
from twisted_mta.protocol.pop3.server import Pop3Limits, Pop3Server
from twisted_mta.protocol.sasl.credentials import KeysWanted
from twisted_mta.store.store import MessageStore
from twisted_mta.store.streaming import MessageStream
from twisted_mta.wire.connection import STRANGERS_PATIENCE, Connection
from twisted_mta.wire.login import LoginAttempts, LoginLimits, LoginMeans

_STEPS = 4  # of a long answer until the others have their turn
OVERLOAD = b"-ERR [SYS/TEMP] Too many connections, try again later\r\n"  # for Listener


@dataclass(frozen=True, slots=True)
class Pop3Settings:
    """`idle_limit` is the autologout, in seconds; RFC 1939 §3 asks for ten minutes at least. `login_limit`:
    so long a client may take until it is logged in, or tries to; nobody types in what takes longer.
    `unique_ids`: see Maildrop."""

    hostname: str
    allow_cleartext: bool = False
    idle_limit: float = 600.0
    login_limit: float = 60.0
    unique_ids: UniqueIds = "name"
    limits: Pop3Limits = field(default_factory=Pop3Limits)
    login: LoginLimits = field(default_factory=LoginLimits)
    means: LoginMeans = field(default_factory=LoginMeans)


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
        login_delay: LoginDelay | None = None,
    ) -> None:
        self._settings = settings
        self._login_delay = login_delay or LoginDelay(reactor.seconds, 0)
        self._directory = directory
        self._store = store
        self._journey = journey
        self._reactor = reactor
        self.idle_limit = settings.login_limit
        self.patience = STRANGERS_PATIENCE
        self._account = ""
        self._inbox: Inbox | None = None
        self._retrieved = self._removed = 0
        self._handling = False
        self._commands = 0  # that have come when the idle clock was set

    def opened(self) -> None:
        self._attempts = LoginAttempts(
            self,
            self._directory,
            reactor=self._reactor,
            journey=self._journey,
            service="pop3",
            allow_cleartext=self._settings.allow_cleartext,
            limits=self._settings.login,
            means=self._settings.means,
        )
        self.engine = CountedPop3Server(
            self.listener.tally,
            hostname=self._settings.hostname,
            secure=self.secure,
            tls_available=self.listener.tls_context is not None,
            offer=self._attempts.offer,
            login_delay=self._login_delay.delay,
            limits=self._settings.limits,
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
            case KeysWanted():
                self.engine.provide(await self._attempts.keys(event))
            case StartTls():
                self.start_tls()
                self.engine.secured()
            case Retrieve():
                await self._retrieve(event)
            case UniqueIdsWanted():
                assert self._inbox is not None
                await self._send(self.engine.identified(event, await self._inbox.unique_ids()))
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
        if not self._login_delay.allows(account):
            self.engine.login_too_soon()
            return
        self._account = account
        self._inbox = await Inbox.open(self._store, account, self._settings.unique_ids)
        self.idle_limit = self._settings.idle_limit
        self.patience = inf
        self.engine.logged_in(self._inbox.maildrop)

    async def _retrieve(self, event: Retrieve) -> None:
        inbox = self._inbox
        assert inbox is not None
        if inbox.is_long(event.number):
            await self._stream(event, inbox)
            return
        content = await inbox.read(event.number, _see(event))
        if content is None:
            self.engine.message_gone()
            return
        if event.lines is None:
            self._retrieved += 1
        await self._send(self.engine.message(content, event.lines))

    async def _stream(self, event: Retrieve, inbox: Inbox) -> None:
        """A long message, read as fast as the peer takes it."""
        found = await inbox.stream(event.number, _see(event))
        if found is None:
            self.engine.message_gone()
            return
        stream, first = found
        try:
            answer = self.engine.long_message(first, stream.size, event.lines)
            self._retrieved += event.lines is None
            try:
                await self._pass_on(stream, inbox, answer)
            except MailError:
                self.abort()  # the rest cannot be had, and what was sent must not be taken for all of it
        finally:
            stream.close()

    async def _pass_on(self, stream: MessageStream, inbox: Inbox, answer: LongMessage) -> None:
        while not answer.finished:
            await self.drain()
            if self.gone:
                return
            piece = await inbox.more(stream)
            if not piece:
                break
            answer.add(piece)
        answer.end()

    async def _send(self, steps: Iterator[None]) -> None:
        """A long answer, as fast as the peer takes it, and with turns for the others."""
        for count, _ in enumerate(steps, 1):
            await self.drain()
            if not count % _STEPS:
                await self.listener.breathe()
            if self.gone:
                return

    async def _update(self, event: Update) -> None:
        assert self._inbox is not None
        if event.deleted:
            await self._inbox.remove(event.deleted)
            self._removed = len(event.deleted)
        self.engine.goodbye()

    def pump(self) -> None:
        """Whoever is logged in stays so with any command (RFC 1939 §3). Before, only an attempt counts."""
        super().pump()
        if self._inbox is not None and self.engine.commands != self._commands and not self._handling:
            self._commands = self.engine.commands
            self.touch()

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


def _see(event: Retrieve) -> See:
    """What becomes of a message before it is sent."""
    return bytes if event.utf8 else surrogate
