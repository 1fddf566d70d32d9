"""One connection to another mail server: the client engine over a Twisted transport (RFC 5321, RFC 3207).

The session asks, waits and tells; what to make of an answer is the relay's. Every wait has the limit of
its stage, counted from the last whole reply, so that a server that drips makes no progress. Whatever ends
a conversation out of turn is one exception, `Trouble`, which knows the stage.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from math import inf
from typing import Any

from OpenSSL import SSL
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection as TcpConnection
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_mta.message.conversion import Form
from twisted_mta.protocol.sasl.client import ClientMechanism
from twisted_mta.protocol.sasl.error import SaslError
from twisted_mta.protocol.smtp import outgoing
from twisted_mta.protocol.smtp.client import ClientEngine
from twisted_mta.protocol.smtp.client_events import (
    Broken,
    Challenged,
    EnvelopeReplied,
    Event,
    RecipientsReplied,
    Replied,
    Stage,
)
from twisted_mta.protocol.smtp.transaction import Transaction, is_binary
from twisted_mta.transfer.mta.relay import obstacle
from twisted_mta.transfer.mta.relay.login import choose_mechanism, exported
from twisted_mta.transfer.mta.relay.verdict import Trouble, Verdict, trouble
from twisted_mta.transfer.mta.route import Credentials, Host
from twisted_mta.transfer.mta.tls.level import TlsLevel
from twisted_mta.wire.connection import AT_ONCE
from twisted_mta.wire.outflow import Outflow

Encoding = Callable[[Iterable[bytes]], Iterator[bytes]]


@implementer(IHandshakeListener)
class ClientSession(Protocol):
    """hostname: our name in EHLO. host: the server. timeouts: seconds, by stage. seconds: the clock, since
    the epoch. steady: one that nobody sets. on_end: called once, when the connection is gone.

    deadline: when `expire` is due, by the steady clock. messages: transactions begun so far.
    tls_version: "TLSv1.3" and the like, "" in the clear.
    """

    transport: Any

    def __init__(
        self,
        hostname: str,
        host: Host,
        *,
        timeouts: Mapping[Stage, float],
        seconds: Callable[[], float],
        steady: Callable[[], float],
        on_end: Callable[[ClientSession], None],
    ) -> None:
        self.engine = ClientEngine(hostname, lmtp=host.lmtp)
        self._host = host
        self.deadline = inf
        self.messages = 0
        self.tls_version = ""
        self._timeouts = timeouts
        self._seconds = seconds
        self._steady = steady
        self._on_end = on_end
        self._outflow = Outflow()
        self._waiting: Deferred[Event] | None = None
        self._shaking: Deferred[None] | None = None
        self._queued = False  # the transport may have something that is still to be sent
        self._making_room: Deferred[None] | None = None  # for the next chunk
        self._sending = False  # content is on its way
        self._arrived: Event | None = None  # a verdict on it before its end
        self._end: Trouble | None = None
        self._negotiating = False  # between STARTTLS and the first answer inside TLS
        self._leaving = False  # by QUIT or without

    # The conversation

    async def open(
        self,
        level: TlsLevel,
        creator: IOpenSSLClientConnectionCreator,
        *,
        tls_first: bool,
        credentials: Credentials | None,
    ) -> None:
        """From the greeting to where mail may be sent. Raises Trouble; the connection is closed then."""
        try:
            if tls_first:
                await self._shake_hands(creator)
            self._require(await self._reply())
            await self._hello()
            if level is not TlsLevel.CLEAR and not tls_first:
                await self._start_tls(level, creator)
            if credentials is not None:
                await self._log_in(credentials)
        except Trouble:
            self.quit()
            raise

    def obstacle(self, transaction: Transaction) -> Verdict | None:
        """Why this server must not get the message, a permanent verdict of ours; None when it may."""
        tls = bool(self.tls_version)
        return obstacle.obstacle(self.engine, transaction, tls=tls, now=self._seconds())

    def other_form(self, transaction: Transaction) -> Form | None:
        """What the content has to become for this server; None: it may go as it is."""
        return obstacle.other_form(self.engine, transaction)

    def encoding(self, transaction: Transaction) -> Encoding:
        """What makes of the content the pieces that `send` wants."""
        if "CHUNKING" not in self.engine.extensions:
            return outgoing.data
        return outgoing.binary if is_binary(transaction, self.engine.extensions) else outgoing.lines

    async def send(
        self, transaction: Transaction, pieces: AsyncGenerator[bytes, None], *, reset: bool
    ) -> list[Verdict]:
        """Send one message; one verdict per recipient, in order. `pieces` is the content as it travels
        (`encoding`).

        Raises Trouble when the conversation ended before the server said anything about this message, as
        happens on a connection that was kept for too long; and whatever `pieces` raises.
        """
        self.messages += 1
        count = len(transaction.recipients)
        if not self.usable:  # it has ended, or we are leaving, while the message was prepared
            await pieces.aclose()
            raise self._end or trouble(Stage.MAIL, "4.4.2", "Connection closed before the message was sent")
        try:
            self.engine.envelope(transaction, now=self._seconds(), reset=reset)
            event = await self._next()
            assert isinstance(event, EnvelopeReplied)
            decisions = await self._content(pieces) if event.go_ahead else []
        except Trouble as end:
            if self.engine.mail_reply is None:
                raise
            return self._known(count, end)
        finally:
            await pieces.aclose()
        if not event.mail.positive:
            return self._mail_refused(count, retriable=reset)
        if not event.go_ahead and event.data is not None:
            decisions = [Verdict.of(Stage.DATA, event.data)]
        return self._verdicts(decisions)

    @property
    def usable(self) -> bool:
        """True while another message may be sent here."""
        return self._end is None and not self._leaving and not self.engine.finished

    def rest(self) -> None:
        """Nothing to do for now: when the idle time is over, or the server speaks, the connection ends."""
        self._await(Stage.IDLE)

    def wake(self) -> None:
        """There is a message: it may take as long as it likes to be made ready."""
        self.deadline = inf

    def quit(self) -> None:
        """Say goodbye and close. What comes of that is of no interest any more (RFC 5321 §4.1.1.10)."""
        if not self.usable or self.engine.waiting_for is not Stage.IDLE:
            self.abort()
            return
        self._leaving = True
        self.engine.quit()
        self._flush()
        self._await(Stage.QUIT)

    def abort(self) -> None:
        """Cut the connection."""
        self._leaving = True
        self.transport.abortConnection()

    def expire(self) -> None:
        """The deadline has passed."""
        stage = self._stage
        if stage is Stage.IDLE:
            self.quit()
            return
        self._end = trouble(stage, "4.4.2", f"Timed out waiting for {stage.value}", tls=self._negotiating)
        self.deadline = inf
        self.abort()

    # Steps

    async def _hello(self) -> None:
        self.engine.hello()
        self._require(await self._reply())

    async def _start_tls(self, level: TlsLevel, creator: IOpenSSLClientConnectionCreator) -> None:
        if "STARTTLS" in self.engine.extensions:
            self._negotiating = True
            self.engine.start_tls()
            answer = await self._reply()
            if answer.reply.positive:
                await self._shake_hands(creator)
                self.engine.tls_started()
                await self._hello()
            self._negotiating = False
            if self.engine.finished:
                self._require(answer)
        if level.binding and not self.tls_version:
            raise trouble(Stage.START_TLS, "4.7.10", "TLS is required, and the server has none for us")

    async def _shake_hands(self, creator: IOpenSSLClientConnectionCreator) -> None:
        self._shaking = Deferred()
        self._await(Stage.HANDSHAKE)
        self.transport.startTLS(creator)
        await self._shaking
        self.tls_version = self.transport.getHandle().get_protocol_version_name()

    async def _log_in(self, credentials: Credentials) -> None:
        binding = exported(self.transport) if self.tls_version == "TLSv1.3" else None
        mechanism = await choose_mechanism(
            self.engine.mechanisms, credentials, self._host, secure=bool(self.tls_version), binding=binding
        )
        self.engine.authenticate(mechanism.name, mechanism.initial)
        event = await self._next()
        while isinstance(event, Challenged):
            await self._respond(mechanism, event.challenge)
            event = await self._next()
        assert isinstance(event, Replied)
        if not event.reply.positive:  # never permanent: the password may be put right while the message waits
            raise trouble(Stage.AUTH, "4.7.8", f"Login refused: {event.reply}")
        if not mechanism.proven:
            raise trouble(Stage.AUTH, "4.7.0", "The server has not shown that it knows the password")

    async def _respond(self, mechanism: ClientMechanism, challenge: bytes) -> None:
        try:
            response = await deferToThread(mechanism.respond, challenge)
        except SaslError as error:
            if self._end is None:
                self.engine.cancel()
                await self._next()
            raise trouble(Stage.AUTH, "4.7.0", f"Login given up: {error}") from None
        self.engine.respond(response)

    async def _content(self, pieces: AsyncGenerator[bytes, None]) -> list[Verdict]:
        """Send the content; the final reply, or one that came before its time, or from LMTP one for each
        recipient that was accepted."""
        self._sending = True
        try:
            held = await anext(
                pieces, b""
            )  # one piece behind, so that the last one is known before it is sent
            async for piece in pieces:
                await self._send_piece(held, last=False)
                held = piece
                if self._arrived is not None or self._end is not None:
                    break
            else:
                await self._send_piece(held, last=True)
        except Exception:
            self.abort()  # an end of data now would make half a message a whole one
            raise
        finally:
            self._sending = False
        answer = await self._next()
        if isinstance(answer, RecipientsReplied):
            return [Verdict.of(Stage.FINAL, reply) for reply in answer.replies]
        assert isinstance(answer, Replied)
        return [Verdict.of(answer.stage, answer.reply)]

    async def _send_piece(self, piece: bytes, *, last: bool) -> None:
        self.engine.send_content(piece, last=last)
        self._flush()
        self._await(Stage.CONTENT)
        await self._outflow.drained()
        while not last and self.engine.holds_content and self._arrived is None and self._end is None:
            self._making_room = Deferred()
            await self._making_room

    # What is known of a transaction

    def _verdicts(self, decisions: list[Verdict]) -> list[Verdict]:
        """For each recipient his own refusal, or else the decision on the message: the only one, or that of
        his turn among those who were accepted."""
        own = [Verdict.of(Stage.RECIPIENT, reply) for reply in self.engine.recipient_replies]
        if not decisions:
            return own
        turns = iter(decisions if len(decisions) > 1 else decisions * len(own))
        return [next(turns) if verdict.accepted else verdict for verdict in own]

    def _known(self, count: int, end: Trouble) -> list[Verdict]:
        """The conversation has ended: refusals stand, the rest is as good as not asked."""
        assert self.engine.mail_reply is not None
        if not self.engine.mail_reply.positive:
            return self._mail_refused(count, retriable=False)
        accepted = sum(reply.positive for reply in self.engine.recipient_replies)
        decisions = [Verdict.of(Stage.FINAL, reply) for reply in self.engine.final_replies]
        known = self._verdicts(decisions + [end.verdict] * (accepted - len(decisions)))
        return known + [end.verdict] * (count - len(known))

    def _mail_refused(self, count: int, *, retriable: bool) -> list[Verdict]:
        assert self.engine.mail_reply is not None
        verdict = Verdict.of(Stage.MAIL, self.engine.mail_reply)
        if retriable and verdict.code == 421:
            raise Trouble(verdict)  # it is this connection that is closed, not the server
        return [verdict] * count

    # Waiting

    async def _reply(self) -> Replied:
        event = await self._next()
        assert isinstance(event, Replied)
        return event

    async def _next(self) -> Event:
        """The answer to what has been asked. Raises Trouble."""
        event, self._arrived = self._arrived, None
        if event is None:
            if self._end is not None:
                raise self._end
            self._flush()
            event = self.engine.next_event()
        if event is None:
            self._waiting = Deferred()
            self._await(self.engine.waiting_for)
            event = await self._waiting
        self.deadline = inf  # it is our turn
        if isinstance(event, Broken):
            self.abort()
            raise trouble(event.stage, "4.5.0", event.text)
        return event

    @property
    def _stage(self) -> Stage:
        if self._sending:
            return Stage.CONTENT
        return Stage.HANDSHAKE if self._shaking is not None else self.engine.waiting_for

    def _await(self, stage: Stage) -> None:
        self.deadline = self._steady() + self._timeouts[stage]

    def _flush(self) -> None:
        output = self.engine.take_output()
        if output:
            self._transmit(output)

    def _transmit(self, data: bytes) -> None:
        """Send at once what is small, as `wire/connection.py` does: to wait until the socket can be written
        to costs three system calls and a turn of the reactor. Once the transport has got something to send
        by and by, nothing may overtake it."""
        transport = self.transport
        if isinstance(transport, TcpConnection) and not (transport.TLS or self._queued or self._leaving):
            if len(data) <= AT_ONCE:
                sent = transport.writeSomeData(data)
                if isinstance(sent, int):  # otherwise the peer is gone, as the transport will find out
                    data = data[sent:]
                    if not data:
                        return
            self._queued = True
        transport.write(data)

    @staticmethod
    def _require(answer: Replied) -> None:
        if not answer.reply.positive:
            raise Trouble(Verdict.of(answer.stage, answer.reply))

    # Twisted's side

    def connectionMade(self) -> None:
        if not isinstance(self.transport.getPeer(), UNIXAddress):
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self._outflow, True)

    def dataReceived(self, data: bytes) -> None:
        replies = self.engine.replies
        self.engine.receive(data)
        event = self.engine.next_event()
        self._flush()
        if event is None:
            self._room_made()
            if self.engine.replies != replies:
                self._await(self.engine.waiting_for)
        elif self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(event)
        elif self._sending:
            self._arrived = event
            self._leaving = self._leaving or self.engine.finished
            self._outflow.resumeProducing()
            self._room_made()
        else:  # the answer to QUIT, or a farewell nobody asked for
            self._leaving = True
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            self._await(Stage.QUIT)

    def _room_made(self) -> None:
        """The next chunk may perhaps go."""
        waiting, self._making_room = self._making_room, None
        if waiting is not None:
            waiting.callback(None)

    def handshakeCompleted(self) -> None:
        shaking, self._shaking = self._shaking, None
        if shaking is not None:
            self._await(Stage.BANNER)
            shaking.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._end is None:
            self._end = self._lost(reason)
        self.deadline = inf
        waiting, self._waiting = self._waiting, None
        shaking, self._shaking = self._shaking, None
        self._outflow.stopProducing()
        self._room_made()
        if waiting is not None:
            waiting.errback(self._end)
        if shaking is not None:
            shaking.errback(self._end)
        self._on_end(self)

    def _lost(self, reason: Failure) -> Trouble:
        stage = self._stage
        if stage is Stage.HANDSHAKE:
            text = f"TLS handshake failed: {_cause(reason.value)}"
            return trouble(stage, "4.7.5", text, tls=self._negotiating)
        return trouble(stage, "4.4.2", f"Connection lost waiting for {stage.value}", tls=self._negotiating)


def _cause(error: BaseException | None) -> str:
    """Why a handshake failed, in printable ASCII."""
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list):
        return ", ".join(entry[-1] for entry in error.args[0]) or "closed by the server"
    return ascii(str(error) or type(error).__name__).strip("'")
