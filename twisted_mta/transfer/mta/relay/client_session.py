"""One connection to another mail server: the client engine over a Twisted transport (RFC 5321, RFC 3207).

The session asks, waits and tells; what to make of an answer is the relay's. Every wait has the limit of
its stage, counted from the last whole reply, so that a server that drips makes no progress. Whatever ends
a conversation out of turn is one exception, `Trouble`, which knows the stage.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_mta.message.address import Address
from twisted_mta.protocol.smtp.client import ClientEngine
from twisted_mta.protocol.smtp.client_events import Broken, EnvelopeReplied, Event, Replied, Stage
from twisted_mta.transfer.mta.relay.verdict import Trouble, Verdict, trouble
from twisted_mta.transfer.mta.routing import Credentials
from twisted_mta.transfer.mta.tls.policy import TlsLevel
from twisted_mta.wire.outflow import Outflow


@dataclass(frozen=True, slots=True)
class Transaction:
    """One message for some recipients. `size` in octets; `eight_bit` when it may not be pure ASCII."""

    reverse_path: Address | None
    forward_paths: Sequence[Address]
    size: int
    eight_bit: bool


@implementer(IHandshakeListener)
class ClientSession(Protocol):
    """hostname: our name in EHLO. timeouts: seconds, by stage. seconds: the clock. on_end: called once, when
    the connection is gone.

    deadline: when `expire` is due, by the clock. messages: transactions begun so far.
    tls_version: "TLSv1.3" and the like, "" in the clear.
    """

    transport: Any

    def __init__(
        self,
        hostname: str,
        *,
        timeouts: Mapping[Stage, float],
        seconds: Callable[[], float],
        on_end: Callable[[ClientSession], None],
    ) -> None:
        self.engine = ClientEngine(hostname)
        self.deadline = inf
        self.messages = 0
        self.tls_version = ""
        self._timeouts = timeouts
        self._seconds = seconds
        self._on_end = on_end
        self._outflow = Outflow()
        self._waiting: Deferred[Event] | None = None
        self._shaking: Deferred[None] | None = None
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

    async def send(
        self, transaction: Transaction, pieces: AsyncGenerator[bytes, None], *, reset: bool
    ) -> list[Verdict]:
        """Send one message; one verdict per forward path, in order. `pieces` is the content as it travels.

        Raises Trouble when the conversation ended before the server said anything about this message, as
        happens on a connection that was kept for too long; and whatever `pieces` raises.
        """
        self.messages += 1
        count = len(transaction.forward_paths)
        try:
            self.engine.envelope(
                transaction.reverse_path,
                transaction.forward_paths,
                size=transaction.size,
                eight_bit=transaction.eight_bit,
                reset=reset,
            )
            event = await self._next()
            assert isinstance(event, EnvelopeReplied)
            decision = await self._content(pieces) if event.go_ahead else None
        except Trouble as end:
            if self.engine.mail_reply is None:
                raise
            return self._known(count, end)
        finally:
            await pieces.aclose()
        if not event.mail.positive:
            return self._mail_refused(count, retriable=reset)
        if decision is None and event.data is not None:
            decision = Verdict.of(Stage.DATA, event.data)
        return self._verdicts(decision)

    @property
    def usable(self) -> bool:
        """True while another message may be sent here."""
        return self._end is None and not self._leaving and not self.engine.finished

    def rest(self) -> None:
        """Nothing to do for now: when the idle time is over, or the server speaks, the connection ends."""
        self._await(Stage.IDLE)

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
        if level is TlsLevel.VERIFIED and not self.tls_version:
            raise trouble(Stage.START_TLS, "4.7.10", "TLS is required, and the server has none for us")

    async def _shake_hands(self, creator: IOpenSSLClientConnectionCreator) -> None:
        self._shaking = Deferred()
        self._await(Stage.HANDSHAKE)
        self.transport.startTLS(creator)
        await self._shaking
        self.tls_version = self.transport.getHandle().get_protocol_version_name()

    async def _log_in(self, credentials: Credentials) -> None:
        if not self.engine.auth_mechanism:
            raise trouble(Stage.AUTH, "4.7.0", "The server offers no way to log in that is known here")
        self.engine.authenticate(credentials.user, credentials.password)
        reply = (await self._reply()).reply
        if not reply.positive:  # never permanent: the password may be put right while the message waits
            raise trouble(Stage.AUTH, "4.7.8", f"Login refused: {reply}")

    async def _content(self, pieces: AsyncGenerator[bytes, None]) -> Verdict:
        """Send the content; the final reply, or one that came before its time."""
        self._sending = True
        try:
            held = await anext(pieces)  # one piece behind, so that the last one is known before it is sent
            async for piece in pieces:
                self.engine.send_content(held, last=False)
                held = piece
                self._flush()
                self._await(Stage.CONTENT)
                await self._outflow.drained()
                if self._arrived is not None or self._end is not None:
                    break
            else:
                self.engine.send_content(held, last=True)
                self._flush()
                self._await(Stage.CONTENT)
                await self._outflow.drained()
        except Exception:
            self.abort()  # an end of data now would make half a message a whole one
            raise
        finally:
            self._sending = False
        answer = await self._reply()
        return Verdict.of(answer.stage, answer.reply)

    # What is known of a transaction

    def _verdicts(self, decision: Verdict | None) -> list[Verdict]:
        """For each recipient his own refusal, or else the decision on the message."""
        own = [Verdict.of(Stage.RECIPIENT, reply) for reply in self.engine.recipient_replies]
        return [decision if verdict.accepted and decision else verdict for verdict in own]

    def _known(self, count: int, end: Trouble) -> list[Verdict]:
        """The conversation has ended: refusals stand, the rest is as good as not asked."""
        assert self.engine.mail_reply is not None
        if not self.engine.mail_reply.positive:
            return self._mail_refused(count, retriable=False)
        known = self._verdicts(end.verdict)
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
            self._waiting = Deferred()
            self._await(self.engine.waiting_for)
            event = await self._waiting
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
        self.deadline = self._seconds() + self._timeouts[stage]

    def _flush(self) -> None:
        output = self.engine.take_output()
        if output:
            self.transport.write(output)

    @staticmethod
    def _require(answer: Replied) -> None:
        if not answer.reply.positive:
            raise Trouble(Verdict.of(answer.stage, answer.reply))

    # Twisted's side

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self._outflow, True)

    def dataReceived(self, data: bytes) -> None:
        replies = self.engine.replies
        self.engine.receive(data)
        event = self.engine.next_event()
        self._flush()
        if event is None:
            if self.engine.replies != replies:
                self._await(self.engine.waiting_for)
        elif self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(event)
        elif self._sending:
            self._arrived = event
            self._leaving = True  # who knows what the server takes the rest of the content for
            self._outflow.resumeProducing()
        else:  # the answer to QUIT, or a farewell nobody asked for
            self._leaving = True
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            self._await(Stage.QUIT)

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
