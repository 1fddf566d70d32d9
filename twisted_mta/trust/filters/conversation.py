"""A connection to a daemon, as a coroutine uses it: write, read, close.

Both ends are bounded: what the daemon does not take is not written on, and what is not asked for is not read
on. How long things may take is the caller's to say; whoever is cancelled while waiting closes in its
`finally`.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_mta.trust.filters.unavailable import Unavailable

PARTING = 5.0  # seconds that a daemon has to take the last words
MOST_UNREAD = 256 * 1024  # octets that wait for `read`, besides one reading of the socket


@implementer(IPushProducer)
class Conversation(Protocol):
    """One coroutine at a time uses it. `heard`: the daemon has said something since it was last asked;
    `begun`: it was asked before; `reusable`: it may be asked again;
    `why` it was lost."""

    transport: Any

    def __init__(self) -> None:
        self._unread = bytearray()
        self._news: Deferred[None] | None = None
        self._full: Deferred[None] | None = None  # until the daemon has taken more
        self.lost = False
        self._parting: IDelayedCall | None = None  # until it is closed by force
        self._closed = False  # by the daemon, in good order
        self.heard = False
        self.begun = False
        self.reusable = False
        self.why = "the connection was lost"

    async def write(self, data: bytes) -> None:
        """Returns when more may follow. Raises Unavailable when the connection is lost."""
        if not self.lost:
            self.transport.write(data)
            if self._full is not None:
                await self._full
        if self.lost:
            raise Unavailable(self.why)

    def end(self) -> None:
        """Nothing more will be written; there may be an answer yet. Not over TLS."""
        if not self.lost:
            self.transport.loseWriteConnection()

    async def read(self) -> bytes:
        """The next octets, however few; b"" when the daemon has closed. Raises Unavailable when the
        connection was lost in another way."""
        while not (self._unread or self.lost):
            self._news = Deferred()
            await self._news
        if not self._unread and not self._closed:
            raise Unavailable(self.why)
        data = bytes(self._unread)
        self._unread.clear()
        if not self.lost:
            self.transport.resumeProducing()
        return data

    @property
    def quiet(self) -> bool:
        """The daemon is there and has said nothing that nobody has read."""
        return not (self.lost or self._unread)

    def part(self, last_words: bytes, clock: IReactorTime) -> None:
        """Close in good order; at once when the daemon does not take the last words."""
        if self.lost or self._parting is not None:
            return
        self._parting = clock.callLater(PARTING, self.transport.abortConnection)
        self.transport.write(last_words)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def close(self) -> None:
        """At once, unless it is parting: nobody waits for what is on its way. Idempotent."""
        if not self.lost and self._parting is None:
            self.transport.abortConnection()

    # What the transport does

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self.heard = True
        self._unread += data
        if len(self._unread) > MOST_UNREAD:
            self.transport.pauseProducing()
        self._tell()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost, self._closed = True, bool(reason.check(ConnectionDone))
        if self._parting is not None and self._parting.active():
            self._parting.cancel()
        if isinstance(reason.value, SSL.Error | VerificationError):
            self.why = "the daemon has no certificate that could be believed, or no TLS"
        self._tell()
        self.resumeProducing()

    def pauseProducing(self) -> None:
        """See IPushProducer: the daemon does not take what is written."""
        if self._full is None:
            self._full = Deferred()

    def resumeProducing(self) -> None:
        """See IPushProducer."""
        full, self._full = self._full, None
        if full is not None and not full.called:
            full.callback(None)

    def stopProducing(self) -> None:
        """See IPushProducer: the connection is over."""
        self.resumeProducing()

    def _tell(self) -> None:
        news, self._news = self._news, None
        if news is not None and not news.called:
            news.callback(None)
