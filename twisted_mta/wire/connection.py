"""One connection drives one engine: bytes in, events to the session, replies out.

The discipline is the same for SMTP, IMAP and POP3. The engine buffers and frames; `handle` is awaited
for one event at a time, so a pipelined command never overtakes a pending one; while it is pending, and
while the peer does not take what it is sent, the transport is paused, so input is bounded by what one
read brought and output by what it can provoke. Replies to a burst of pipelined commands leave in one
write. Time is counted per event, not per octet: a peer that drips makes no progress. A burst that takes
long is handled a little at a time, between others, and no faster than its answers are taken.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Coroutine
from contextlib import suppress
from math import inf
from typing import Any, Generic, Protocol, TypeVar

from cryptography.x509 import Certificate
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IHandshakeListener, ITCPTransport, ITLSTransport
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection as TcpConnection
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_mta.message.status import MailError, unexpected
from twisted_mta.wire.client_certificates import UNREADABLE
from twisted_mta.wire.compression import Compression
from twisted_mta.wire.listener import Listener
from twisted_mta.wire.outflow import Outflow

_Running = Coroutine[Deferred[Any], None, None]
Event = TypeVar("Event")
Event_co = TypeVar("Event_co", covariant=True)

CLOSING_LIMIT = 10.0  # seconds a peer has to take the last words of a connection
STRANGERS_PATIENCE = 10.0  # seconds without progress that a client who has not logged in has in a crowd
STALL_LIMIT = 300.0  # seconds a peer has to take a piece of a large answer, which occupies memory until then
QUIET_PIECES = 32  # of inflated input without a whole command, until the others have their turn
AT_A_STRETCH = 0.001  # seconds that a client's commands are handled for, until the others have their turn
AT_ONCE = 64 * 1024  # octets of answers that are sent between two readings without the reactor's help
_BINDING_LABEL = b"EXPORTER-Channel-Binding"  # RFC 9266 §4.2
_BINDING_OCTETS = 32
PARTING_LIMIT = 2.0  # seconds a peer that took everything has, when the server stops, to end TLS on its side


class Engine(Protocol[Event_co]):
    """What `Connection` needs of a protocol engine."""

    def receive(self, data: bytes) -> None:
        """Octets from the peer. Never raises."""

    def next_event(self) -> Event_co | None:
        """The next thing the session must decide, or None when more octets are needed. An engine that answers
        much by itself returns None now and then and is `behind`: call it again."""

    def take_output(self) -> bytes:
        """Octets that are ready for the peer; empties the engine's own output."""

    @property
    def finished(self) -> bool:
        """True when the connection is to be closed once the output has been written."""


@implementer(IHandshakeListener)
class Connection(TwistedProtocol, Generic[Event]):
    """Base of every server session. Subclasses set `engine` in `opened` and implement the hooks below."""

    log = Logger(namespace="twisted_mta.session")
    engine: Engine[Event]
    listener: Listener
    idle_limit: float = 300.0  # seconds without an event until `timed_out`
    patience: float = inf  # the same while others find no room; infinity: this session waits for good reason

    # Hooks of the session

    def opened(self) -> None:
        """The connection is there: make the engine, greet."""
        raise NotImplementedError

    async def handle(self, event: Event) -> None:
        """Decide about one event and answer through the engine. MailError goes to `refuse`."""
        raise NotImplementedError

    def unasked(self) -> Event | None:
        """What is to be handled of our own accord, when the peer has nothing more to say."""
        return None

    async def hold_back(self, error: MailError) -> None:
        """`handle` ended with this error; the answer may be held back for a while."""

    def refuse(self, event: Event, error: MailError) -> None:
        """Answer it."""
        raise NotImplementedError

    def timed_out(self) -> None:
        """No progress for `idle_limit` seconds: say so through the engine. The connection closes after."""

    def shutting_down(self) -> None:
        """The server stops: say so through the engine (421, BYE). The connection closes after."""

    def closed(self) -> None:
        """The connection is gone: let go of everything. Called once."""

    # Services to the session

    @property
    def peer_host(self) -> str:
        """The client's address as text; "" for what has none."""
        return self._peer_host

    def comes_from(self, host: str) -> None:
        """Who the client is, where that is not the other end of the connection; before there is a
        connection."""
        self._peer_host = host

    def represent(self, host: str) -> bool:
        """The client at the other end speaks for `host` from now on; False when that one has too many
        connections."""
        if not self.listener.recount(self, host):
            return False
        self._peer_host = host
        return True

    def flush(self) -> None:
        """Write what the engine has ready; close when it has finished."""
        if self._gone:
            return
        output = self.engine.take_output()
        if output:
            if self._compression is not None:
                output = self._compression.deflate(output)
            self._transmit(output)
        if self.engine.finished:
            self.close()

    async def drain(self) -> None:
        """Flush, then wait until the peer has taken enough: the back-pressure for large answers."""
        self.flush()
        if self._outflow.full:
            self.deadline = self.listener.seconds() + min(self.idle_limit, STALL_LIMIT)
            await self._outflow.drained()
            self.touch()

    def close(self) -> None:
        """Close once everything written has been sent; a peer that does not read is cut off later."""
        if not self._gone and not self._closing:
            self._closing = True
            self._behind = self._outflow.full and self._heard
            transport = self._require_transport()
            transport.unregisterProducer()
            transport.loseConnection()
            self._outflow.resumeProducing()

    def start_tls(self) -> None:
        """Write the go-ahead, then begin the handshake (RFC 3207, RFC 2595)."""
        self.flush()
        transport = self._require_transport()
        assert self.listener.tls_context is not None
        self._heard = False
        self._socket = None
        self._shaking_hands = isinstance(transport, TcpConnection)
        ITLSTransport(transport).startTLS(self.listener.tls_context)

    def start_compression(self) -> None:
        """Write the go-ahead; all that follows is compressed, in both directions (RFC 4978)."""
        self.flush()
        self._compression = Compression()

    def end_compression(self) -> None:
        """Write what is ready; all that follows is plain (RFC 8437 §4.1). A no-op without compression."""
        self.flush()
        compression, self._compression = self._compression, None
        if compression is not None and not self._gone:
            self._transmit(compression.finish())
            self.engine.receive(compression.left_over)

    @property
    def compressed(self) -> bool:
        """True when COMPRESS is on."""
        return self._compression is not None

    @property
    def secure(self) -> bool:
        """True inside TLS."""
        return bool(getattr(self.transport, "TLS", False)) or self.listener.implicit_tls

    @property
    def gone(self) -> bool:
        """True when the peer is no longer there."""
        return self._gone

    @property
    def clogged(self) -> bool:
        """True while the peer does not take what it is sent."""
        return self._outflow.full

    @property
    def tls_description(self) -> str:
        """Version and cipher, such as "TLSv1.3 TLS_AES_256_GCM_SHA384"; "" without TLS."""
        if not self.secure:
            return ""
        handle = self._require_transport().getHandle()
        return f"{handle.get_protocol_version_name()} {handle.get_cipher_name()}"

    @property
    def exported(self) -> bytes | None:
        """What binds a login to this connection, of TLS 1.3 (RFC 9266 §2); None without it."""
        handle = self._tls_handle
        if handle is None or handle.get_protocol_version_name() != "TLSv1.3":
            return None
        return handle.export_keying_material(_BINDING_LABEL, _BINDING_OCTETS, b"")

    @property
    def client_certificate(self) -> Certificate | None:
        """What the client has shown in the handshake, if anything that can be read; whether it counts is
        another question."""
        handle = self._tls_handle
        shown = None if handle is None else handle.get_peer_certificate()
        with suppress(*UNREADABLE):
            return None if shown is None else shown.to_cryptography()
        return None

    def after_handshake(self, say: Callable[[], None]) -> None:
        """Do this now, or once the TLS handshake is over that has begun: what TLS is worth is known then."""
        if self._shaking_hands:
            self._afterwards = say
        else:
            say()

    def touch(self) -> None:
        """Progress was made: the idle clock starts anew."""
        self.deadline = self.listener.seconds() + self.idle_limit

    @property
    def leaving(self) -> bool:
        """True when all has been said, and the rest is up to the peer."""
        return self._closing

    def quiet(self, now: float) -> float:
        """Seconds without progress."""
        return now - self.deadline + self.idle_limit

    # Twisted's side

    _shaking_hands = False
    _afterwards: Callable[[], None] | None = None
    _gone = True
    _closing = False
    _behind = False  # when it was closed, the peer had not taken what was written
    _busy = False
    _ending = False
    _input_paused = False
    _heard = False  # something has been received: whatever handshake there was is over
    _peer_host = ""
    _compression: Compression | None = None
    _stretch = 0.0  # when the events began that are handled without a pause
    _inflating = False  # something of what has been received was inflated already
    _socket: TcpConnection | None = None  # when there is nothing between it and this connection
    _queued = False  # the transport may have something that is still to be sent
    _at_once = AT_ONCE  # what is left of it

    def connectionMade(self) -> None:
        self._gone = False
        transport = self._require_transport()
        self._peer_host = self._peer_host or str(getattr(transport.getPeer(), "host", ""))
        if ITCPTransport.providedBy(transport):
            # The last segment of an answer must not wait until the peer acknowledges those before.
            transport.setTcpNoDelay(True)
        if isinstance(transport, TcpConnection):
            self._socket = transport
        self._shaking_hands = isinstance(transport, TLSMemoryBIOProtocol)
        self._outflow = Outflow(self._flow_changed)
        IConsumer(transport).registerProducer(self._outflow, True)
        if not self.listener.admit(self):
            return
        self.touch()
        self.opened()
        self.flush()

    def handshakeCompleted(self) -> None:
        """See IHandshakeListener."""
        self._shaking_hands = False
        say, self._afterwards = self._afterwards, None
        if say is not None and not self._closing:
            say()
            self.flush()

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        self._heard = True
        self._at_once = AT_ONCE
        if self._compression is not None:
            self._compression.receive(data)
        else:
            self.engine.receive(data)
        if self._busy:
            self._settle_input()
        else:
            self.pump()

    def pump(self) -> None:
        """Handle what the engine has, unless an event is pending already."""
        if self._busy or self._gone:
            return
        self._busy = True
        running = self._run()
        awaited = self._advance(running)
        if awaited is not None:
            self.flush()
            awaited.addBoth(self._go_on, running)

    def _go_on(self, result: object, running: _Running) -> None:
        """What `running` waits for has come; only a failure has to be brought to it."""
        awaited = self._advance(running, result.value if isinstance(result, Failure) else None)
        if awaited is not None:
            awaited.addBoth(self._go_on, running)

    def _advance(self, running: _Running, error: BaseException | None = None) -> Deferred[Any] | None:
        """Handle events up to the next one that has to wait, and for what; None: this is over. Most events
        are over at once, and a coroutine of Twisted's would cost as much as handling them."""
        self._stretch = self.listener.seconds()
        try:
            return running.send(None) if error is None else running.throw(error)
        except StopIteration:
            pass
        except Exception:
            self._crashed(Failure())
        return None

    async def _run(self) -> None:
        try:
            while not (self._closing or self._gone or self._ending):
                event = self.engine.next_event()
                if event is None and self._compression is not None:
                    event = await self._inflated(self._compression)
                if event is None:
                    event = self.unasked()
                if event is not None:
                    try:
                        await self.handle(event)
                    except MailError as error:
                        if not (self._gone or self._ending):
                            await self.hold_back(error)
                        self.refuse(event, error)
                    except Exception:
                        self.log.failure("unexpected error in a session")
                        self.refuse(event, unexpected())
                    self.touch()
                elif not getattr(self.engine, "behind", False):
                    break
                if self.listener.seconds() - self._stretch > AT_A_STRETCH:
                    await self.drain()
                    await self.listener.breathe()
        finally:
            self._busy = False
            self.flush()
            if self._ending:
                self._say_goodbye()
            self._settle_input()

    async def _inflated(self, compression: Compression) -> Event | None:
        """What the engine has once something more is inflated: as it is needed, and not all in one breath."""
        event = None
        pieces = 0
        while event is None:
            # A piece may have been many commands, whose answers are to be taken before there are more.
            if self._inflating and compression.waiting and not pieces % QUIET_PIECES:
                await self.drain()
                await self.listener.breathe()
                if self._gone or self._closing:
                    break
            try:
                piece = compression.next_piece()
            except zlib.error:
                self.log.info("{peer} sent what is not DEFLATE; it is cut off", peer=self._peer_host)
                self.abort()
                break
            self._inflating = bool(piece)
            if not piece:
                break
            self.engine.receive(piece)
            event = self.engine.next_event()
            pieces += 1
        return event

    def _crashed(self, failure: Failure) -> None:
        """Not even a refusal was possible: without an answer the dialog cannot go on."""
        self.log.failure("session ended", failure=failure)
        if not self._gone:
            self.abort()

    def _transmit(self, data: bytes) -> None:
        """Send an answer, or have the transport do so. Small ones are sent at once: to wait until the socket
        can be written to costs three system calls and a turn of the reactor. Once the transport has got
        something, nothing may overtake it; that it has sent all is known only after it has been full."""
        socket = self._socket
        if socket is not None and not (self._queued or self._closing) and len(data) <= self._at_once:
            self._at_once -= len(data)
            sent = socket.writeSomeData(data)
            if isinstance(sent, int):  # otherwise the peer is gone, as the transport will find out
                data = data[sent:]
                if not data:
                    return
        self._queued = True
        self._require_transport().write(data)

    def _flow_changed(self) -> None:
        if not self._outflow.full:
            self._queued = False
        self._settle_input()

    def _settle_input(self) -> None:
        """Read only while no event is pending and the peer takes what it is sent.

        Called when something arrives while an event is pending, not for every event that has to wait: most
        are over before the peer says more, and pausing and resuming would cost two system calls each.
        Output does not pause the input before the peer was heard: a greeting that waits for the TLS
        handshake makes the outflow full, and the handshake needs the input.
        """
        pause = self._busy or (self._outflow.full and self._heard)
        if self._gone or self._closing or pause == self._input_paused:
            return
        self._input_paused = pause
        transport = self._require_transport()
        if pause:
            transport.pauseProducing()
        else:
            transport.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._gone:
            return
        self._gone = True
        self._outflow.resumeProducing()
        if self.listener.release(self):
            self.closed()

    def expire(self) -> None:
        """The idle sweep found this connection past its deadline."""
        if self._closing or self._outflow.full:
            self.abort()
        elif self._busy:
            self.touch()
        else:
            self.timed_out()
            self.flush()
            self.close()
            self.deadline = self.listener.seconds() + CLOSING_LIMIT

    def end(self) -> None:
        """The server stops. What is being handled is finished first, so that its answer still counts."""
        if self._busy:
            self._ending = True
        else:
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        if self._gone:
            return
        if not self._closing:
            self.shutting_down()
            self.flush()
            self.close()
        if not self._behind:
            self.deadline = self.listener.seconds() + PARTING_LIMIT

    def abort(self) -> None:
        """Cut the connection at once, whatever is unsent."""
        self._require_transport().abortConnection()

    @property
    def _tls_handle(self) -> SSL.Connection | None:
        """Of TLS whose handshake is over."""
        handle = getattr(self.transport, "getHandle", lambda: None)()
        return handle if isinstance(handle, SSL.Connection) and not self._shaking_hands else None

    def _require_transport(self) -> Any:
        assert self.transport is not None
        return self.transport
