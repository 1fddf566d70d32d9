"""What reception and submission share: one SMTP session on its way into the queue (RFC 5321 §3, §4.4, §6.1).

The session decides about what the engine asks and takes the content over into a draft of the queue. It says
250 to a message only when the queue has said that it is on disk; whoever differs in what they let in
overrides the three hooks. Local recipients are checked here for everybody: a mailbox that does not exist
is refused at RCPT, so that no bounce has to be made for it later.

So is one that is full, for a while: the sender's host keeps the message until there is room again.

Who the client is, what it may ask for and how long it is kept waiting, `screening` knows.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_mta.interfaces import IDirectory, IDraft, IIntake
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.envelope import Envelope
from twisted_mta.message.networks import Network, within
from twisted_mta.message.received import protocol_keyword, received_field
from twisted_mta.message.status import MailError
from twisted_mta.protocol.sasl.credentials import Credentials, KeysWanted
from twisted_mta.protocol.sasl.offer import Offer
from twisted_mta.protocol.sasl.scram import Keys
from twisted_mta.protocol.smtp.events import (
    Answered,
    Authenticate,
    Burl,
    DataChunk,
    DataEnd,
    DataSpoiled,
    DataStart,
    Event,
    Hello,
    Mail,
    Recipient,
    StartTls,
    Xclient,
)
from twisted_mta.protocol.smtp.extensions import Extension, SmtpLimits
from twisted_mta.protocol.smtp.replies import reply
from twisted_mta.protocol.smtp.server import SmtpServer
from twisted_mta.protocol.smtp.xclient import Client
from twisted_mta.transfer.client_identity import ClientIdentity, named_by_proxy
from twisted_mta.transfer.content import (
    ContentReader,
    IncomingContent,
    Unclaimed,
    check_header,
    message_id,
    separator,
)
from twisted_mta.transfer.recipient import IsFull, Returns, check_recipient, never_full, require_room
from twisted_mta.transfer.screening.crowd import SHARE, crowded
from twisted_mta.transfer.screening.screening import UNSCREENED, Screening, Visit
from twisted_mta.wire.connection import STRANGERS_PATIENCE, Connection

OVERLOAD = reply(421, "4.3.2", "Too many connections, try again later")  # for `Listener(overload=…)`


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferPolicy:
    """`hostname` is who we are in the dialog and in Received; `<postmaster>` without a domain is the
    postmaster of `postmaster_domain`; a message that has passed `max_received` hosts is in a loop (RFC 5321
    §6.3); `idle_limit` is in seconds (RFC 5321 §4.5.3.2.7). `header` is how many octets the header block of a
    message may have, which is kept in memory until the end of the message: the default has room for a hundred
    traces and some thousand addresses. `receiving`: messages that come in at the same
    time, 0 for any number. `contact` is whom HELP names, a URL or an address. Clients in
    `xclient_networks` may speak for others (XCLIENT); those in `normalise_networks` may end lines in a bare
    LF."""

    hostname: str
    postmaster_domain: str
    max_received: int = 100
    idle_limit: float = 300.0
    header: int = 256 * 1024
    limits: SmtpLimits = field(default_factory=SmtpLimits)
    extensions: frozenset[Extension] = frozenset()
    receiving: int = 0
    contact: str = ""
    xclient_networks: tuple[Network, ...] = ()
    normalise_networks: tuple[Network, ...] = ()


P = TypeVar("P", bound=TransferPolicy)


class TransferSession(Connection[Event], Generic[P]):
    """One connection. Subclasses say who may send from where to where."""

    engine: SmtpServer
    client: ClientIdentity
    _visit: Visit

    def __init__(
        self,
        *,
        directory: IDirectory,
        intake: IIntake,
        journey: Journey,
        reactor: IReactorTime,
        policy: P,
        is_full: IsFull = never_full,
        returns: Returns | None = None,
        screening: Screening = UNSCREENED,
    ) -> None:
        self.directory = directory
        self.journey = journey
        self.reactor = reactor
        self.idle_limit = policy.idle_limit
        self.policy = policy
        self.account = ""  # who has authenticated
        self._intake = intake
        self._is_full = is_full
        self._returns = returns
        self._announced = 0  # octets, by MAIL
        self.content: IncomingContent | None = None
        self._tls = ""
        self._screening = screening
        self._greeting: IDelayedCall | None = None  # until a stranger is greeted
        self._waiting: Deferred[None] | None = None  # while an answer is held back

    # What the roles differ in

    patience = STRANGERS_PATIENCE
    offer: Callable[[], Offer] | None = None  # what a client may log in with now
    lmtp = False

    async def check_sender(self, reverse_path: Address | None) -> None:
        """May this client send as this? Raises MailError."""
        raise NotImplementedError

    def check_relaying(self, forward_path: Address) -> None:
        """May this client send to a domain that is not ours? Raises MailError."""
        raise NotImplementedError

    def intake(self) -> IIntake:
        """Where this client's messages enter the queue."""
        return self._intake

    async def check_credentials(self, credentials: Credentials) -> None:
        """Answer an authentication."""
        raise NotImplementedError

    async def find_keys(self, wanted: KeysWanted) -> Sequence[Keys]:
        """What SCRAM is to be spoken with."""
        raise NotImplementedError

    def read_content(self) -> ContentReader:
        """Who reads the next content as it comes in."""
        return Unclaimed(self.policy.hostname)

    async def fields_to_add(self, queue_id: str, header: bytes) -> bytes:
        """What stands between Received and the message's own header. Raises MailError when the message
        must not be sent."""
        return b""

    def fetch(self, url: str) -> AsyncGenerator[bytes, None]:
        """What BURL names, with CRLF, in pieces of up to 64 KiB (RFC 4468 §3.3). Raises MailError."""
        raise MailError(554, "5.7.14", "No mailbox server is trusted here")

    async def put_into_queue(self, draft: IDraft, envelope: Envelope, head: bytes) -> None:
        """Have the message on disk, or raise MailError and leave nothing."""
        await draft.commit(envelope, head)

    # Hooks of the connection

    def opened(self) -> None:
        policy = self.policy
        self.engine = SmtpServer(
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
        try:
            await self._decide(event)
        except MailError as error:
            if error.permanent or error.status.startswith("4.7."):  # and is no trouble of ours
                await self._visit.slow_down(self._hold_back)
            raise

    async def _decide(self, event: Event) -> None:
        match event:
            case Recipient():
                await self._visit.recipient(event.forward_path, authenticated=bool(self.account))
                self.client = self._visit.client
                await self.check_recipient(event.forward_path)
                self.engine.accept()
            case DataChunk():
                await self._take_content(event.content)
            case Mail():
                self._require_place()
                self._visit.mail(event.reverse_path, authenticated=bool(self.account))
                self._announced = event.size
                await self.check_sender(event.reverse_path)
                self.engine.accept()
            case DataStart():
                self._begin_content()
                self.engine.accept()
            case Burl():
                await self._include(event)
            case DataEnd():
                await self._take_over()
            case DataSpoiled():
                raise event.error
            case Hello():
                self._forget_content()
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
            case Answered(verb):
                if verb == "RSET":  # perhaps between two chunks of a content
                    self._forget_content()
                elif not verb:
                    await self._visit.slow_down(self._hold_back)

    def refuse(self, event: Event, error: MailError) -> None:
        if isinstance(event, DataChunk) and self.content is not None:
            self.content.draft.abort()  # what it holds is of no use; its id is still
        elif isinstance(event, DataEnd | DataSpoiled | Burl):
            self._tell_refusal(error, self.engine.reverse_path, self.engine.forward_paths)
            self._forget_content()
        elif isinstance(event, Recipient):
            self._tell_refusal(error, self.engine.reverse_path, (event.forward_path,))
        elif isinstance(event, Mail):
            self._tell_refusal(error, event.reverse_path, ())
        self.engine.refuse(error)

    def timed_out(self) -> None:
        self.engine.shut(MailError(421, "4.4.2", f"{self.policy.hostname} Timeout, closing"))

    def shutting_down(self) -> None:
        self.engine.shut(MailError(421, "4.3.2", f"{self.policy.hostname} Shutting down, closing"))

    def closed(self) -> None:
        self._forget_content()
        self._visit.leave()
        self._hurry()

    def end(self) -> None:
        self._hurry()
        super().end()

    def dataReceived(self, data: bytes) -> None:
        if self._greeting is not None and self._greeting.active():
            self._send_away_talker()
        else:
            super().dataReceived(data)

    # The client

    @property
    def receiving(self) -> bool:
        """Is content on its way?"""
        return self.content is not None

    @property
    def trusted(self) -> bool:
        """Is this a client that is neither screened nor judged?"""
        return self._visit.trusted

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
        self._tell_refusal(error, None, ())
        self.engine.shut(error)
        self.flush()

    def _hold_back(self, waiting: Deferred[None]) -> None:
        self._waiting = waiting

    def _hurry(self) -> None:
        """Nothing is worth waiting for any more."""
        if self._greeting is not None and self._greeting.active():
            self._greeting.cancel()
        if self._waiting is not None:
            self._waiting.cancel()

    # Decisions

    def _start_tls(self) -> None:
        self.engine.accept()
        self._forget_content()  # perhaps between two chunks of a content
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

    def _require_place(self) -> None:
        """For a content: asked at MAIL, before anything is done, and when it begins, when it counts."""
        share = 1 if self._visit.trusted else SHARE
        if crowded(self, self.listener.connections, self.policy.receiving, share=share):
            raise MailError(451, "4.3.2", "Too many messages are coming in, try again later")

    def _begin_content(self) -> None:
        self._require_place()
        self.content = IncomingContent(
            self.intake().draft(), limit=self.policy.header, reader=self.read_content()
        )

    async def _include(self, chunk: Burl) -> None:
        """BURL: a chunk that is not sent but fetched (RFC 4468 §3.2)."""
        if self.content is None:
            self._begin_content()
        async with aclosing(self.fetch(chunk.url)) as pieces:
            async for piece in pieces:
                if self.gone:  # and the draft with it
                    return
                self.engine.include(piece)
                await self._take_content(piece)
        if chunk.last:
            self.engine.complete()
            await self._take_over()
        else:
            self.engine.accept()

    async def check_recipient(self, forward_path: Address) -> None:
        """May the message go there, as far as we can know? Raises MailError."""
        await check_recipient(
            forward_path,
            directory=self.directory,
            is_full=self._is_full,
            check_relaying=self.check_relaying,
            reverse_path=self.engine.reverse_path,
            octets=self._announced,
            returns=self._returns,
        )

    async def _take_content(self, octets: bytes) -> None:
        """A piece of the content, nothing when the engine skips it. Raises MailError."""
        assert self.content is not None or not octets
        if self.content is not None:
            await self.content.take(octets)

    async def _take_over(self) -> None:
        content = self.content
        assert content is not None
        await content.complete()
        draft, header = content.draft, content.header
        check_header(header, max_received=self.policy.max_received, limits=self.policy.limits)
        if draft.size > self._announced:
            await require_room(
                self.engine.forward_paths, draft.size, directory=self.directory, is_full=self._is_full
            )
        added = await self.fields_to_add(draft.queue_id, header)
        if self.gone:  # nobody would hear the 250: the client will send it again
            self._forget_content()
            return
        envelope = Envelope(
            self.engine.reverse_path, self.engine.recipients, self.engine.parameters, self.account
        )
        head = self._received(draft.queue_id) + added + separator(header)
        self.content = None
        await self.put_into_queue(draft, envelope, head)
        self.engine.accept(f"Ok, queued as {draft.queue_id}")
        self._visit.accepted()
        self._tell_acceptance(draft, envelope, message_id(added) or message_id(header))

    def _forget_content(self) -> None:
        content, self.content = self.content, None
        if content is not None:
            content.draft.abort()

    def _received(self, queue_id: str) -> bytes:
        hello = self.engine.hello
        assert hello is not None
        forward_paths = self.engine.forward_paths
        return received_field(
            helo=self.client.helo or hello.name,
            client_host=self.client.name,
            client_address=self.client.address,
            by=self.policy.hostname,
            protocol=protocol_keyword(
                extended=hello.extended,
                tls=self.secure,
                authenticated=bool(self.account),
                utf8=self.engine.parameters.smtputf8,
                lmtp=self.lmtp,
            ),
            queue_id=queue_id,
            for_path=forward_paths[0] if len(forward_paths) == 1 else None,
            date=self.reactor.seconds(),
            tls=self.tls_once,
        )

    @property
    def tls_once(self) -> str:
        """How the connection is encrypted, found out once."""
        if not self._tls:
            self._tls = self.tls_description
        return self._tls

    # The journey

    def _tell_acceptance(self, draft: IDraft, envelope: Envelope, name: str) -> None:
        self.journey.tell(
            "accepted",
            draft.queue_id,
            client=self.client.address,
            reverse_path=_path(envelope.reverse_path),
            to=envelope.forward_paths,
            recipients=len(envelope.recipients),
            size=draft.size,
            tls=self._tls,
            account=self.account,
            message_id=name,
            envid=envelope.parameters.envid,
            certifier=envelope.parameters.tracking,
            client_name=self.client.name,
            doubts=self._visit.doubts,
        )

    def _tell_refusal(
        self, error: MailError, reverse_path: Address | None, forward_paths: Sequence[Address]
    ) -> None:
        self.journey.tell(
            "refused",
            self.content.draft.queue_id if self.content else "",
            client=self.client.address,
            reverse_path=_path(reverse_path),
            forward_path=f"<{forward_paths[0]}>" if len(forward_paths) == 1 else "",
            reply=str(error),
            account=self.account,
        )


def _path(address: Address | None) -> str:
    return f"<{address or ''}>"
