"""The relay: takes a message for another domain to a host that accepts it (RFC 5321 §3.6, §4.5.4.1, §5.1).

The hosts of the route are tried in order until every recipient has a final answer. What a host says of
itself (greeting, EHLO, no connection) sends us to the next one, and fails the message only when all hosts
refuse for good; what it says of the message or a recipient stands when it is permanent, and when it
is temporary the next host is asked. Hosts that do not keep to SMTP are temporary trouble.

What leaves for the members of an alias bears `Delivered-To:` with the alias' address, by which local delivery
knows it when a member sends it back (`transfer/mda/delivery.py`). So they get transactions of their own.

Left out on purpose: down-conversion of 8-bit content (see `protocol/smtp/client.py`), and memory of dead
hosts across messages, which is the queue's to keep.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TypeVar

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.interfaces import IReactorTCP, IReactorThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from twisted_mta.interfaces import IDeliverer
from twisted_mta.journey.bus import Journey
from twisted_mta.message.content import Content
from twisted_mta.message.outcome import Outcome, QueuedMessage, QueuedRecipient
from twisted_mta.message.status import MailError, unexpected
from twisted_mta.protocol.smtp import outgoing
from twisted_mta.protocol.smtp.client_events import Stage
from twisted_mta.transfer.mta.relay.attempt import Attempt, Place
from twisted_mta.transfer.mta.relay.client_session import ClientSession, Transaction
from twisted_mta.transfer.mta.relay.connector import Connector
from twisted_mta.transfer.mta.relay.limits import RelayLimits
from twisted_mta.transfer.mta.relay.verdict import Trouble, Verdict
from twisted_mta.transfer.mta.routing import Host, Route, Routing
from twisted_mta.transfer.mta.tls.policy import TlsPolicy

T = TypeVar("T")


def _verdict(error: MailError) -> Verdict:
    return Verdict(Stage.CONNECT, error.code, error.status, error.text)


@implementer(IDeliverer)
class Relay:
    """hostname: our name in EHLO."""

    log = Logger(namespace="twisted_mta.relay")

    def __init__(
        self,
        *,
        reactor: IReactorTCP,
        hostname: str,
        routing: Routing,
        journey: Journey,
        tls: TlsPolicy | None = None,
        limits: RelayLimits | None = None,
    ) -> None:
        self._reactor = reactor
        self._hostname = hostname.lower()
        self._routing = routing
        self._journey = journey
        self._limits = limits or RelayLimits()
        self._connector = Connector(
            reactor=reactor,
            hostname=hostname,
            tls=tls or TlsPolicy(),
            journey=journey,
            limits=self._limits,
        )
        self._turns: dict[str, DeferredSemaphore] = {}  # by destination, while in use

    async def start(self) -> None:
        """Ready to deliver."""
        await self._connector.start()

    async def stop(self) -> None:
        """End all connections. Deliveries still on their way are cut and come out as delayed, so it is for
        the caller to wait for them first, as long as he likes."""
        await self._connector.stop()

    async def deliver(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> Sequence[Outcome]:
        """See IDeliverer."""
        attempt = Attempt(message, recipients, self._journey)
        try:
            self._refuse_unsendable(attempt)
            if pending := attempt.pending():
                await self._relay(attempt, await self._routing.route(pending[0].forward_path.domain))
        except MailError as error:
            attempt.note(_verdict(error), None)
        except Exception:
            self.log.failure("unexpected error in the relay")
            attempt.note(_verdict(unexpected()), None)
        return attempt.outcomes()

    def _refuse_unsendable(self, attempt: Attempt) -> None:
        """Settle what cannot be put into a command, whatever the host."""
        text = "The address cannot be sent to another server"
        try:
            outgoing.path(attempt.message.reverse_path)
        except ValueError:
            attempt.settle(attempt.pending(), Verdict(Stage.MAIL, 553, "5.1.7", text))
        for recipient in attempt.pending():
            try:
                outgoing.path(recipient.forward_path)
            except ValueError:
                attempt.settle([recipient], Verdict(Stage.RECIPIENT, 553, "5.1.3", text))

    async def _relay(self, attempt: Attempt, route: Route) -> None:
        """Try the hosts, when it is our turn."""
        turns = self._turns.setdefault(route.destination, DeferredSemaphore(self._limits.per_destination))
        await turns.acquire()
        try:
            if route.unresolved:
                attempt.note(Verdict(Stage.CONNECT, 0, "4.4.3", route.unresolved), None)
            sessions = 0
            for host in route.hosts:
                sessions += await self._try_host(attempt, route, host)
                if not attempt.pending() or sessions >= self._limits.sessions:
                    break
        finally:
            turns.release()
            if turns.tokens == turns.limit:
                del self._turns[route.destination]

    async def _try_host(self, attempt: Attempt, route: Route, host: Host) -> bool:
        """Offer the message to a host; False when it was not ready to hear of it."""
        remaining = attempt.pending()
        fresh = False
        while remaining:
            try:
                session = await self._connector.session(route, host, fresh=fresh)
            except Trouble as end:
                self._host_failed(attempt, end.verdict, Place(host))
                return fresh
            place = Place(host, session.tls_version)
            try:
                if route.may_be_us and session.engine.peer_name.lower() == self._hostname:
                    raise MailError(554, "5.4.6", f"{host.name} has our own name: the mail would loop")
                await self._converse(attempt, session, remaining, place)
            except Trouble as end:
                if session.messages == 1:
                    self._host_failed(attempt, end.verdict, place)
                    return fresh
            finally:
                self._connector.put_back(session)
            fresh = True  # what cut this connection short may have been its age
        return True

    async def _converse(
        self, attempt: Attempt, session: ClientSession, remaining: list[QueuedRecipient], place: Place
    ) -> None:
        """Send to those in `remaining`, in as many transactions as it takes, for as long as the connection
        lasts; who has a verdict is removed from the list. Raises Trouble as `ClientSession.send` does."""
        message = attempt.message
        size = await self._size(message.content)
        if 0 < (limit := session.engine.size_limit) < size:
            text = f"Message of {size} octets is larger than the {limit} that {place.host.name} takes"
            for recipient in remaining:
                attempt.record(recipient, Verdict(Stage.MAIL, 552, "5.3.4", text), place)
            remaining.clear()
        while remaining and session.usable:
            alias = remaining[0].original_path
            together = [recipient for recipient in remaining if recipient.original_path == alias]
            batch = together[: self._limits.recipients]
            mark = b"" if alias is None else f"Delivered-To: {alias}\r\n".encode()
            transaction = Transaction(
                message.reverse_path,
                [recipient.forward_path for recipient in batch],
                len(mark) + size,
                _may_be_eight_bit(message),
            )
            verdicts = await session.send(
                transaction, self._pieces(message.content.with_head(mark)), reset=session.messages > 0
            )
            for recipient in batch:
                remaining.remove(recipient)
            some_accepted = any(verdict.accepted for verdict in verdicts)
            for recipient, verdict in zip(batch, verdicts, strict=True):
                if verdict.too_many and some_accepted:
                    remaining.append(recipient)  # RFC 5321 §4.5.3.1.10: another transaction
                else:
                    attempt.record(recipient, verdict, place)

    def _host_failed(self, attempt: Attempt, verdict: Verdict, place: Place) -> None:
        attempt.note(verdict, place)
        self._journey.tell(
            "host-failed",
            attempt.message.queue_id,
            host=place.host.name,
            address=place.host.address,
            port=place.host.port,
            at=verdict.stage.value,
            reply=verdict.text,
        )

    async def _size(self, content: Content) -> int:
        if content.path is None:
            return len(content)
        return await self._in_thread(len, content)

    async def _pieces(self, content: Content) -> AsyncGenerator[bytes, None]:
        """The content as it travels: in one piece from memory, read in a thread from a spool file."""
        pieces = outgoing.data(content.chunks())
        if content.path is None:
            yield b"".join(pieces)
            return
        while (piece := await self._in_thread(next, pieces, None)) is not None:
            yield piece

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        threads = IReactorThreads(self._reactor)
        return await deferToThreadPool(threads, threads.getThreadPool(), function, *arguments)


def _may_be_eight_bit(message: QueuedMessage) -> bool:
    """Declared, or seen; a spool file is not read for it, since the declaration does no harm to ASCII."""
    content = message.content
    if message.parameters.body == "8BITMIME" or content.path is not None:
        return True
    return not (content.head.isascii() and content.data.isascii())
