"""What all IMAP sessions of a server share: the services they use and the limits they keep."""

from __future__ import annotations

from dataclasses import dataclass, field

from twisted.internet.interfaces import IReactorTime

from twisted_mta.access.imap4.message_cache import MessageCache
from twisted_mta.access.imap4.progress import Reminders
from twisted_mta.access.imap4.session import ImapSession
from twisted_mta.interfaces import IDirectory, IMailboxEvents, ISubmitter
from twisted_mta.journey.bus import Journey
from twisted_mta.protocol.imap4.sections import Sections
from twisted_mta.store.store import MessageStore
from twisted_mta.wire.login import LoginLimits, LoginMeans
from twisted_mta.wire.turn import breathe


@dataclass(frozen=True, slots=True)
class ImapLimits:
    """Times in seconds, sizes in octets.

    login_time: from the connection to the end of a successful login; idle_time: between two commands, and
    for one IDLE (RFC 3501 §5.4 asks for at least 30 minutes); faults: BAD commands in a row until BYE;
    message: the largest message APPEND takes; messages: how many one command may be about (RFC 9738);
    partial_cache: messages kept at hand for clients that fetch them in pieces.
    """

    login_time: float = 120.0
    idle_time: float = 31 * 60.0
    faults: int = 50
    message: int = 50 * 1024 * 1024
    messages: int = 1_000_000
    partial_cache: int = 64 * 1024 * 1024
    login: LoginLimits = field(default_factory=LoginLimits)


class ImapAccess:
    """Makes the sessions: `Listener(access.session, …)`.

    allow_cleartext: login without TLS is allowed (LOGINDISABLED is not announced). submitters: accounts of
    servers that submit mail for others, and may fetch what is authorized for that (RFC 4467 §3.1).
    submitter: for the Outbox, where there is one. events: who runs scripts when messages come or change
    (RFC 6785).
    """

    def __init__(
        self,
        *,
        directory: IDirectory,
        store: MessageStore,
        journey: Journey,
        reactor: IReactorTime,
        allow_cleartext: bool = False,
        limits: ImapLimits = ImapLimits(),
        submitters: frozenset[str] = frozenset(),
        means: LoginMeans = LoginMeans(),
        submitter: ISubmitter | None = None,
        events: IMailboxEvents | None = None,
    ) -> None:
        self.directory = directory
        self.store = store
        self.journey = journey
        self.reactor = reactor
        self.allow_cleartext = allow_cleartext
        self.limits = limits
        self.submitters = submitters
        self.means = means
        self.submitter = submitter
        self.events = events
        self.reminders = Reminders(reactor)
        self.messages: MessageCache[Sections] = MessageCache(limits.partial_cache // 2)
        self.headers: MessageCache[bytes] = MessageCache(limits.partial_cache // 4)
        self.structures: MessageCache[bytes] = MessageCache(limits.partial_cache // 4)

    def session(self) -> ImapSession:
        """A session for a new connection."""
        return ImapSession(self)

    async def breathe(self) -> None:
        """Let the reactor serve everybody else, then go on."""
        await breathe(self.reactor)
