"""What reception and submission share: one SMTP session on its way into the queue (RFC 5321 §3, §4.4, §6.1).

The session decides about what the engine asks and takes the content over into a draft of the queue. It says
250 to a message only when the queue has said that it is on disk; whoever differs in what they let in
overrides the three hooks. Local recipients are checked here for everybody: a mailbox that does not exist
is refused at RCPT, so that no bounce has to be made for it later.

So is one that is full, for a while: the sender's host keeps the message until there is room again.

Left out on purpose: the client's name in the DNS (reverse lookups come with the trust layer).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from twisted.internet.interfaces import IReactorTime

from twisted_mta.interfaces import IDirectory, IDraft, IIntake
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.envelope import Envelope
from twisted_mta.message.headers import HeaderCollector, first_value
from twisted_mta.message.received import count_received, protocol_keyword, received_field
from twisted_mta.message.status import MailError
from twisted_mta.protocol.sasl.credentials import PasswordCredentials
from twisted_mta.protocol.smtp.events import (
    Answered,
    Authenticate,
    DataChunk,
    DataEnd,
    DataSpoiled,
    DataStart,
    Event,
    Hello,
    Mail,
    Recipient,
    StartTls,
)
from twisted_mta.protocol.smtp.extensions import Extension, SmtpLimits
from twisted_mta.protocol.smtp.replies import reply
from twisted_mta.protocol.smtp.server import SmtpServer
from twisted_mta.wire.connection import Connection

# One search: a megabyte of lines that are no fields must not cost a step of ours for each.
_FIELD = re.compile(rb"(?:\A|\n)[^\x00-\x20:]++[ \t]*+:")
_LONGEST_ID = 250  # octets of a Message-ID that the journey keeps
OVERLOAD = reply(421, "4.3.2", "Too many connections, try again later")  # for `Listener(overload=…)`


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferPolicy:
    """`hostname` is who we are in the dialog and in Received; `<postmaster>` without a domain is
    the postmaster of `postmaster_domain`; a message that has passed `max_received` hosts is in a loop
    (RFC 5321 §6.3); `idle_limit` is in seconds (RFC 5321 §4.5.3.2.7). `header` is how many octets the
    header block of a message may have, which is kept in memory until the end of the message: the default has
    room for a hundred traces and some thousand addresses."""

    hostname: str
    postmaster_domain: str
    max_received: int = 100
    idle_limit: float = 300.0
    header: int = 256 * 1024
    limits: SmtpLimits = field(default_factory=SmtpLimits)
    extensions: frozenset[Extension] = frozenset()


P = TypeVar("P", bound=TransferPolicy)
IsFull = Callable[[str], Awaitable[bool]]  # by account name: nothing fits any more


async def never_full(account: str) -> bool:
    """Accounts may keep what they like."""
    return False


class TransferSession(Connection[Event], Generic[P]):
    """One connection. Subclasses say who may send from where to where."""

    engine: SmtpServer

    def __init__(
        self,
        *,
        directory: IDirectory,
        intake: IIntake,
        journey: Journey,
        reactor: IReactorTime,
        policy: P,
        is_full: IsFull = never_full,
    ) -> None:
        self.directory = directory
        self.journey = journey
        self.reactor = reactor
        self.idle_limit = policy.idle_limit
        self.policy = policy
        self.account = ""  # who has authenticated
        self._intake = intake
        self._is_full = is_full
        self._draft: IDraft | None = None
        self._headers = HeaderCollector(policy.header)
        self._tls = ""

    # What the roles differ in

    mechanisms: Sequence[str] = ()  # for AUTH
    allow_cleartext = False  # AUTH outside TLS
    lmtp = False

    async def check_sender(self, reverse_path: Address | None) -> None:
        """May this client send as this? Raises MailError."""
        raise NotImplementedError

    def check_relaying(self, forward_path: Address) -> None:
        """May this client send to a domain that is not ours? Raises MailError."""
        raise NotImplementedError

    async def check_credentials(self, credentials: PasswordCredentials) -> None:
        """Answer an authentication."""
        raise NotImplementedError

    async def fields_to_add(self, queue_id: str, header: bytes) -> bytes:
        """What stands between Received and the message's own header. Raises MailError when the message
        must not be sent."""
        return b""

    # Hooks of the connection

    def opened(self) -> None:
        policy = self.policy
        self.engine = SmtpServer(
            hostname=policy.hostname,
            postmaster_domain=policy.postmaster_domain,
            secure=self.secure,
            tls_available=self.listener.tls_context is not None,
            mechanisms=self.mechanisms,
            allow_cleartext=self.allow_cleartext,
            lmtp=self.lmtp,
            extensions=policy.extensions,
            limits=policy.limits,
            seconds=self.reactor.seconds,
        )
        self.engine.greet()

    async def handle(self, event: Event) -> None:
        match event:
            case Recipient():
                await self._check_recipient(event.forward_path)
                self.engine.accept()
            case DataChunk():
                await self._write(event.content)
            case Mail():
                await self.check_sender(event.reverse_path)
                self.engine.accept()
            case DataStart():
                self._draft = self._intake.draft()
                self._headers = HeaderCollector(self.policy.header)
                self.engine.accept()
            case DataEnd():
                await self._take_over()
            case DataSpoiled():
                raise event.error
            case Hello():
                self._forget_draft()
                self.engine.accept()
            case StartTls():
                self._start_tls()
            case Authenticate():
                await self.check_credentials(event.credentials)
            case Answered(verb):
                if verb == "RSET":  # perhaps between two chunks of a content
                    self._forget_draft()

    def refuse(self, event: Event, error: MailError) -> None:
        if isinstance(event, DataChunk) and self._draft is not None:
            self._draft.abort()  # what it holds is of no use; its id is still
        elif isinstance(event, DataEnd | DataSpoiled):
            self._tell_refusal(error, self.engine.reverse_path, self.engine.forward_paths)
            self._forget_draft()
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
        self._forget_draft()

    # Decisions

    def _start_tls(self) -> None:
        self.engine.accept()
        self._forget_draft()  # perhaps between two chunks of a content
        if not self.engine.finished:
            self.account = ""
            self.start_tls()

    async def _check_recipient(self, forward_path: Address) -> None:
        if "@" in forward_path.local:
            # Some hosts read "a@b"@us as a route to a@b.
            raise MailError(553, "5.1.3", f"<{forward_path}> Routed addresses are refused")
        if forward_path.is_literal:
            raise MailError(550, "5.1.2", f"<{forward_path}> Address literals are refused")
        if not self.directory.is_local(forward_path.domain):
            self.check_relaying(forward_path)
        else:
            found = await self.directory.resolve(forward_path)
            if found is None:
                raise MailError(550, "5.1.1", f"<{forward_path}> No such mailbox here")
            if found.account and await self._is_full(found.account):
                raise MailError(452, "4.2.2", f"<{forward_path}> Mailbox is full")

    async def _write(self, content: bytes) -> None:
        if not content:  # skipped by the engine
            return
        assert self._draft is not None
        self._headers.feed(content)
        await self._draft.write(content)

    async def _take_over(self) -> None:
        draft = self._draft
        assert draft is not None
        header = self._headers.block
        if count_received(header) >= self.policy.max_received:
            raise MailError(554, "5.4.6", "Too many Received fields, the message is in a loop")
        added = await self.fields_to_add(draft.queue_id, header)
        if self.gone:  # nobody would hear the 250: the client will send it again
            self._forget_draft()
            return
        envelope = Envelope(
            self.engine.reverse_path, self.engine.recipients, self.engine.parameters, self.account
        )
        head = self._received(draft.queue_id) + added + separator(header)
        self._draft = None
        await draft.commit(envelope, head)
        self.engine.accept(f"Ok, queued as {draft.queue_id}")
        self._tell_acceptance(draft, envelope, message_id(added) or message_id(header))

    def _forget_draft(self) -> None:
        draft, self._draft = self._draft, None
        if draft is not None:
            draft.abort()

    def _received(self, queue_id: str) -> bytes:
        hello = self.engine.hello
        assert hello is not None
        forward_paths = self.engine.forward_paths
        return received_field(
            helo=hello.name,
            client_host="",
            client_address=self.peer_host,
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
            tls=self._tls_once(),
        )

    def _tls_once(self) -> str:
        if not self._tls:
            self._tls = self.tls_description
        return self._tls

    # The journey

    def _tell_acceptance(self, draft: IDraft, envelope: Envelope, name: str) -> None:
        self.journey.tell(
            "accepted",
            draft.queue_id,
            client=self.peer_host,
            reverse_path=_path(envelope.reverse_path),
            to=envelope.forward_paths,
            recipients=len(envelope.recipients),
            size=draft.size,
            tls=self._tls,
            account=self.account,
            message_id=name,
            envid=envelope.parameters.envid,
            certifier=envelope.parameters.tracking,
        )

    def _tell_refusal(
        self, error: MailError, reverse_path: Address | None, forward_paths: Sequence[Address]
    ) -> None:
        self.journey.tell(
            "refused",
            self._draft.queue_id if self._draft else "",
            client=self.peer_host,
            reverse_path=_path(reverse_path),
            forward_path=f"<{forward_paths[0]}>" if len(forward_paths) == 1 else "",
            reply=str(error),
            account=self.account,
        )


def separator(header: bytes) -> bytes:
    """The empty line that a message without any header needs behind the fields put in front of it, so that
    its text does not become a part of them; else b""."""
    if header.startswith((b" ", b"\t")):
        return b"\r\n"
    if not header or header.startswith(b"\r\n") or _FIELD.search(header):
        return b""
    return b"\r\n"


def message_id(header: bytes) -> str:
    """The Message-ID as it stands in a header, for the journey; "" when there is none or a monstrous one."""
    value = first_value(header, b"Message-ID") if header else None
    return value.decode("utf-8", "replace") if value and len(value) <= _LONGEST_ID else ""


def _path(address: Address | None) -> str:
    return f"<{address or ''}>"
