"""What reception and submission share: one SMTP session on its way into the queue (RFC 5321 §3, §4.4, §6.1).

The session decides about what the engine asks and takes the content over into a draft of the queue. It says
250 to a message only when the queue has said that it is on disk; whoever differs in what they let in
overrides the three hooks. Local recipients are checked here for everybody: a mailbox that does not exist
is refused at RCPT, so that no bounce has to be made for it later.

So is one that is full, for a while: the sender's host keeps the message until there is room again.

The client itself is the other half of the session (`client_dialog.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from twisted.internet.interfaces import IReactorTime

from twisted_mta.interfaces import IDirectory, IDraft, IIntake
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.conversion import Form, NotConvertible
from twisted_mta.message.envelope import Envelope
from twisted_mta.message.received import protocol_keyword, received_field
from twisted_mta.message.status import MailError
from twisted_mta.protocol.smtp.events import (
    Answered,
    Burl,
    DataChunk,
    DataEnd,
    DataSpoiled,
    DataStart,
    Event,
    Mail,
    Recipient,
)
from twisted_mta.protocol.smtp.replies import reply
from twisted_mta.transfer.client_dialog import ClientDialog, P
from twisted_mta.transfer.content import (
    ContentReader,
    IncomingContent,
    Unclaimed,
    check_header,
    check_is_text,
    message_id,
    separator,
)
from twisted_mta.transfer.recipient import IsFull, Returns, check_recipient, never_full, require_room
from twisted_mta.transfer.recoding import Recoding
from twisted_mta.transfer.screening.crowd import SHARE, crowded
from twisted_mta.transfer.screening.screening import UNSCREENED, Screening

OVERLOAD = reply(421, "4.3.2", "Too many connections, try again later")  # for `Listener(overload=…)`


class TransferSession(ClientDialog[P]):
    """One connection. Subclasses say who may send from where to where."""

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
        recoding: Recoding | None = None,
    ) -> None:
        super().__init__(
            directory=directory, journey=journey, reactor=reactor, policy=policy, screening=screening
        )
        self._intake = intake
        self._is_full = is_full
        self._returns = returns
        self._recoding = recoding
        self._announced = 0  # octets, by MAIL
        self.content: IncomingContent | None = None

    # What the roles differ in

    async def check_sender(self, reverse_path: Address | None) -> None:
        """May this client send as this? Raises MailError."""
        raise NotImplementedError

    def check_relaying(self, forward_path: Address) -> None:
        """May this client send to a domain that is not ours? Raises MailError."""
        raise NotImplementedError

    def intake(self) -> IIntake:
        """Where this client's messages enter the queue."""
        return self._intake

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

    async def handle(self, event: Event) -> None:
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
            case Answered(verb):
                if verb == "RSET":  # perhaps between two chunks of a content
                    self.forget_content()
                elif not verb:
                    await self.slow_down()
            case _:
                await super().handle(event)

    def refuse(self, event: Event, error: MailError) -> None:
        if isinstance(event, DataChunk) and self.content is not None:
            self.content.draft.abort()  # what it holds is of no use; its id is still
        elif isinstance(event, DataEnd | DataSpoiled | Burl):
            self.tell_refusal(error, self.engine.reverse_path, self.engine.forward_paths)
            self.forget_content()
        elif isinstance(event, Recipient):
            self.tell_refusal(error, self.engine.reverse_path, (event.forward_path,))
        elif isinstance(event, Mail):
            self.tell_refusal(error, event.reverse_path)
        self.engine.refuse(error)

    # The content

    @property
    def receiving(self) -> bool:
        """Is content on its way?"""
        return self.content is not None

    @property
    def queue_id(self) -> str:
        return self.content.draft.queue_id if self.content is not None else ""

    def forget_content(self) -> None:
        content, self.content = self.content, None
        if content is not None:
            content.draft.abort()

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
        if self.engine.parameters.body == "BINARYMIME":
            check_is_text(header)
            await self._check_encodable(draft)
        check_header(header, max_received=self.policy.max_received, limits=self.policy.limits)
        if draft.size > self._announced:
            await require_room(
                self.engine.forward_paths, draft.size, directory=self.directory, is_full=self._is_full
            )
        added = await self.fields_to_add(draft.queue_id, header)
        if self.gone:  # nobody would hear the 250: the client will send it again
            self.forget_content()
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

    async def _check_encodable(self, draft: IDraft) -> None:
        """What no mailbox can keep is refused now; later, only a report could tell whoever stands in MAIL.
        Raises MailError."""
        domains = {path.domain for path in self.engine.forward_paths}
        if self._recoding is None or not any(map(self.directory.is_local, domains)):
            return
        try:
            await self._recoding.check(await draft.content(), Form.EIGHT_BIT)
        except NotConvertible as refused:
            raise MailError(550, refused.status, f"No mailbox keeps binary content: {refused}") from refused

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

    def _tell_acceptance(self, draft: IDraft, envelope: Envelope, name: str) -> None:
        self.journey.tell(
            "accepted",
            draft.queue_id,
            client=self.client.address,
            reverse_path=f"<{envelope.reverse_path or ''}>",
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
