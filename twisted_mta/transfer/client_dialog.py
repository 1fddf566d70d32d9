"""The half of an SMTP session that is about its client: the greeting, the names it gives itself, TLS, login,
XCLIENT, and how long it is kept waiting (RFC 5321 §3.1, §3.2, §4.3.1; RFC 3207; RFC 4954).

Its mail is the other half (`session.py`). Who the client is, what it may ask for and what it costs it to be
refused, `screening` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_mta.interfaces import IDirectory
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.networks import within
from twisted_mta.message.status import MailError
from twisted_mta.protocol.sasl.credentials import Credentials, KeysWanted
from twisted_mta.protocol.sasl.offer import Offer
from twisted_mta.protocol.sasl.scram import Keys
from twisted_mta.protocol.smtp.events import Authenticate, Event, Hello, StartTls, Xclient
from twisted_mta.protocol.smtp.server import SmtpServer
from twisted_mta.protocol.smtp.xclient import Client
from twisted_mta.transfer.client_identity import ClientIdentity, named_by_proxy
from twisted_mta.transfer.counted import CountedSmtpServer
from twisted_mta.transfer.policy import TransferPolicy
from twisted_mta.transfer.screening.screening import Screening, Visit
from twisted_mta.wire.connection import STRANGERS_PATIENCE, Connection

P = TypeVar("P", bound=TransferPolicy)


class ClientDialog(Connection[Event], Generic[P]):
    """One connection, and who is at its other end. `account`: who has logged in, else ""."""

    engine: SmtpServer
    client: ClientIdentity
    _visit: Visit

    def __init__(
        self,
        *,
        directory: IDirectory,
        journey: Journey,
        reactor: IReactorTime,
        policy: P,
        screening: Screening,
    ) -> None:
        self.directory = directory
        self.journey = journey
        self.reactor = reactor
        self.idle_limit = policy.idle_limit
        self.policy = policy
        self.account = ""
        self.checked = ""  # what checks have said of what is being refused, each with its time
        self._tls = ""
        self._screening = screening
        self._greeting: IDelayedCall | None = None  # until a stranger is greeted
        self._waiting: Deferred[None] | None = None  # while an answer is held back

    # What the roles differ in

    patience = STRANGERS_PATIENCE
    offer: Callable[[], Offer] | None = None  # what a client may log in with now
    lmtp = False

    async def check_credentials(self, credentials: Credentials) -> None:
        """Answer an authentication."""
        raise NotImplementedError

    async def find_keys(self, wanted: KeysWanted) -> Sequence[Keys]:
        """What SCRAM is to be spoken with."""
        raise NotImplementedError

    def forget_content(self) -> None:
        """There is nobody any more who would say the rest of it."""

    @property
    def queue_id(self) -> str:
        """Of the content that is on its way, else ""."""
        return ""

    # Hooks of the connection

    def opened(self) -> None:
        policy = self.policy
        self.engine = CountedSmtpServer(
            self.listener.tally,
            hostname=policy.hostname,
            postmaster_domain=policy.postmaster_domain,
            secure=self.secure,
            tls_available=self.listener.tls_context is not None,
            offer=self.offer,
            lmtp=self.lmtp,
            extensions=policy.extensions,
            limits=policy.limits,
            seconds=self.reactor.seconds,
            contact=policy.contact,
            trusted=within(self.peer_host, policy.xclient_networks),
            normalise=within(self.peer_host, policy.normalise_networks),
        )
        self._meet(ClientIdentity(self.peer_host))
        if self._visit.greeting_delay:
            self._greeting = self.reactor.callLater(self._visit.greeting_delay, self._greet_at_last)
        else:
            self.engine.greet()

    async def handle(self, event: Event) -> None:
        """Answer an event that is about the client. Raises MailError."""
        match event:
            case Hello():
                self.forget_content()
                self._visit.hello(self.client.helo or event.name)
                self.engine.accept()
            case StartTls():
                self._start_tls()
            case Xclient():
                await self._speak_for(event.client)
            case Authenticate():
                await self.check_credentials(event.credentials)
            case KeysWanted():
                self.engine.provide(await self.find_keys(event))

    async def hold_back(self, error: MailError) -> None:
        if error.permanent or error.status.startswith("4.7."):  # and is no trouble of ours
            await self.slow_down()

    def timed_out(self) -> None:
        self.engine.shut(MailError(421, "4.4.2", f"{self.policy.hostname} Timeout, closing"))

    def shutting_down(self) -> None:
        self.engine.shut(MailError(421, "4.3.2", f"{self.policy.hostname} Shutting down, closing"))

    def closed(self) -> None:
        self.forget_content()
        self._visit.leave()
        self._hurry()

    def end(self) -> None:
        super().end()
        self._hurry()  # only now: the commands that wait behind a refusal are not to be held back in turn

    def dataReceived(self, data: bytes) -> None:
        if self._greeting is not None and self._greeting.active():
            self._send_away_talker()
        else:
            super().dataReceived(data)

    # The client

    @property
    def trusted(self) -> bool:
        """Is this a client that is neither screened nor judged?"""
        return self._visit.trusted

    @property
    def tls_once(self) -> str:
        """How the connection is encrypted, found out once."""
        if not self._tls:
            self._tls = self.tls_description
        return self._tls

    async def slow_down(self) -> None:
        """The client has been refused something: it may have to wait."""
        await self._visit.slow_down(self._begin_to_wait)

    def tell_refusal(
        self, error: MailError, reverse_path: Address | None, forward_paths: Sequence[Address] = ()
    ) -> None:
        """The journey hears of it."""
        self.journey.tell(
            "refused",
            self.queue_id,
            client=self.client.address,
            reverse_path=f"<{reverse_path or ''}>",
            forward_path=f"<{forward_paths[0]}>" if len(forward_paths) == 1 else "",
            reply=str(error),
            account=self.account,
            checks=self.checked,
        )

    def _meet(self, client: ClientIdentity) -> None:
        """This is the client from now on."""
        self.client = client
        self._visit = Visit(self._screening, client, reactor=self.reactor)

    def _greet_at_last(self) -> None:
        if not self.engine.finished:
            self.engine.greet()
            self.flush()

    def _send_away_talker(self) -> None:
        """RFC 5321 §4.3.1: a client waits for the greeting."""
        self._hurry()
        error = MailError(554, "5.5.0", f"{self.policy.hostname} You spoke before the greeting; closing")
        self.tell_refusal(error, None)
        self.engine.shut(error)
        self.flush()

    def _begin_to_wait(self, waiting: Deferred[None]) -> None:
        self._waiting = waiting

    def _hurry(self) -> None:
        """Nothing is worth waiting for any more."""
        if self._greeting is not None and self._greeting.active():
            self._greeting.cancel()
        if self._waiting is not None:
            self._waiting.cancel()

    def _start_tls(self) -> None:
        self.engine.accept()
        self.forget_content()  # perhaps between two chunks of a content
        if not self.engine.finished:
            self.account = ""
            self.start_tls()

    async def _speak_for(self, client: Client) -> None:
        """XCLIENT: the session begins anew for another client."""
        account = await self.directory.account_of_login(client.login) if client.login else ""
        if account is None:
            raise MailError(550, "5.7.1", "LOGIN names no account here")
        if client.address is not None and not self.represent(client.address):
            self.engine.shut(MailError(421, "4.3.2", f"{self.policy.hostname} Too many connections, closing"))
            return
        self.account = account
        self._visit.leave()
        self._meet(named_by_proxy(client, self.peer_host))
        self.engine.accept()
