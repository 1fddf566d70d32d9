"""The relay: takes a message for another domain to a host that accepts it (RFC 5321 §3.6, §4.5.4.1, §5.1).

The hosts of the route are tried, in the order of `hosts.py`, until every recipient has a final answer. What
a host says of itself (greeting, EHLO, no connection) sends us to the next one, and fails the message only
when all hosts refuse for good; what it says of the message or a recipient stands when it is permanent, and
when it is temporary the next host is asked. Hosts that do not keep to SMTP are temporary trouble.

What is sent on, by an alias or a script, leaves under a reverse-path in a domain of ours
(`transfer/mda/srs.py`), and bears `Delivered-To:` with the alias' address, by which local delivery
knows it when a member sends it back (`transfer/mda/delivery.py`): one that is not ASCII only where the server
takes such header fields. So they get transactions of their own.
What was found out about it when it came is sealed then, in the form in which it leaves (RFC 8617 §5.1).

Left out on purpose: memory of dead destinations across messages, which is the queue's to keep; that of dead
hosts only says who is tried last (`hosts.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import TypeVar

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.interfaces import IReactorTCP, IReactorThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from twisted_mta.interfaces import IDeliverer
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.conversion import NotConvertible
from twisted_mta.message.envelope import EnvelopeRecipient
from twisted_mta.message.outcome import Outcome, QueuedMessage, QueuedRecipient
from twisted_mta.message.status import MailError, unexpected
from twisted_mta.protocol.smtp import outgoing
from twisted_mta.protocol.smtp.client_events import Stage
from twisted_mta.protocol.smtp.transaction import Transaction
from twisted_mta.transfer.mta.relay.attempt import Attempt, Place
from twisted_mta.transfer.mta.relay.client_session import ClientSession, Encoding
from twisted_mta.transfer.mta.relay.connector import Connector
from twisted_mta.transfer.mta.relay.hosts import HostMemory
from twisted_mta.transfer.mta.relay.limits import RelayLimits
from twisted_mta.transfer.mta.relay.verdict import Trouble, Unfit, Verdict
from twisted_mta.transfer.mta.routing import SMTP_PORT, Host, Route, Routing
from twisted_mta.transfer.mta.stranger import PortWatch
from twisted_mta.transfer.mta.tls.policy import TlsPolicy
from twisted_mta.transfer.mta.tls.tls_required import may_go_without
from twisted_mta.transfer.reading import read
from twisted_mta.transfer.recoding import Recoding, Renew

T = TypeVar("T")
Rewrite = Callable[[Address | None], Awaitable[Address | None]]
Seal = Callable[[str, Content], bytes]  # by a domain, of a message as it leaves; may read all of it


def _verdict(error: MailError) -> Verdict:
    return Verdict(Stage.CONNECT, error.code, error.status, error.text)


@implementer(IDeliverer)
class Relay:
    """hostname: our name in EHLO. mx_port: that of hosts which the DNS names. rewrite: under which
    reverse-path mail of a sender is sent on; raises MailError. seal: the fields that stand in front of it
    then. renew: signs a message anew that was converted."""

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
        randomness: Random | None = None,
        mx_port: int = SMTP_PORT,
        rewrite: Rewrite | None = None,
        seal: Seal | None = None,
        renew: Renew | None = None,
    ) -> None:
        self._reactor = reactor
        self._hostname = hostname.lower()
        self._rewrite = rewrite
        self._seal = seal
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
        self._hosts = HostMemory(
            self._limits.shunned, seconds=IReactorTime(reactor).seconds, randomness=randomness or Random()
        )
        self._ports = PortWatch(mx_port, seconds=IReactorTime(reactor).seconds)
        self._recoding = Recoding(self._in_thread, renew)
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
                first = pending[0]
                self._journey.tell("trying", message.queue_id, domain=first.forward_path.domain)
                route = await self._routing.route(
                    first.forward_path.domain,
                    sender=message.reverse_path,
                    account=message.account,
                    override=first.route,
                )
                await self._relay(attempt, route)
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
            outgoing.path(attempt.message.reverse_path, utf8=True)
        except ValueError:
            attempt.settle(attempt.pending(), Verdict(Stage.MAIL, 553, "5.1.7", text))
        for recipient in attempt.pending():
            try:
                outgoing.path(recipient.forward_path, utf8=True)
            except ValueError:
                attempt.settle([recipient], Verdict(Stage.RECIPIENT, 553, "5.1.3", text))

    async def _relay(self, attempt: Attempt, route: Route) -> None:
        """By this route, and for whom no host of it would have us, by its fallback."""
        await self._by(route, attempt)
        if route.fallback is not None and attempt.turn_to_fallback():
            self._journey.tell(
                "fallback", attempt.message.queue_id, to=route.destination, by=route.fallback.destination
            )
            await self._by(route.fallback, attempt)

    async def _by(self, route: Route, attempt: Attempt) -> None:
        """Try the hosts, when it is our turn."""
        turns = self._turns.setdefault(route.destination, DeferredSemaphore(self._limits.per_destination))
        await turns.acquire()
        try:
            if route.unresolved:
                attempt.note(Verdict(Stage.CONNECT, 0, "4.4.3", route.unresolved), None)
            sessions = 0
            hosts = deque(self._hosts.in_order(route.hosts, self._connector.has_kept))
            while hosts:
                host = hosts.popleft()
                # Many want of IPv6 what few small senders have there, such as a name for the address.
                by_ipv4 = ":" in host.address and any(":" not in other.address for other in hosts)
                attempt.second_chance = by_ipv4 or route.fallback is not None
                sessions += await self._try_host(attempt, route, host)
                if not attempt.pending() or sessions >= self._limits.sessions:
                    break
            if route.domain and not attempt.heard:
                self._ports.unreached(route.domain)
                attempt.explain(self._ports.cause)
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
                session = await self._connector.session(
                    route,
                    host,
                    fresh=fresh,
                    require_tls=attempt.message.parameters.require_tls,
                    tls_optional=may_go_without(attempt.message.content),
                )
            except Trouble as end:
                if end.verdict.stage is not Stage.CONNECT:
                    self._heard(attempt)
                self._host_failed(attempt, end.verdict, Place(host))
                return fresh
            offered = session.engine.extensions
            tracking = {"DSN", "MTRK"} <= offered.keys()
            place = Place(host, session.tls_version, dsn="DSN" in offered, tracking=tracking)
            self._hosts.answered(host)
            self._heard(attempt)
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
        size = await self._read(message.content, len)
        utf8 = message.parameters.smtputf8 and not await self._read(message.content, has_ascii_header)
        most = min(self._limits.recipients, session.engine.limits.recipients or self._limits.recipients)
        while remaining and (self._connector.may_go_on(session) or not session.messages):
            # An address that needs SMTPUTF8 must not stand in the way of those that do not.
            alias, plain = remaining[0].original_path, remaining[0].forward_path.is_ascii
            batch = [
                recipient
                for recipient in remaining
                if recipient.original_path == alias and recipient.forward_path.is_ascii is plain
            ][:most]
            mark = b"" if alias is None else f"Delivered-To: {alias}\r\n".encode()
            if not (mark.isascii() or {"SMTPUTF8", "8BITMIME"} <= session.engine.extensions.keys()):
                mark = b""
            reverse_path = message.reverse_path
            if alias is not None and self._rewrite is not None:
                reverse_path = await self._rewrite(reverse_path)
            transaction = Transaction(
                reverse_path,
                [EnvelopeRecipient(r.forward_path, r.notify, r.orcpt) for r in batch],
                len(mark) + size,
                message.parameters,
                eight_bit=_may_be_eight_bit(message) or not mark.isascii(),
                utf8=utf8 or not mark.isascii(),
            )
            try:
                sealed_by = "" if alias is None or message.account else alias.domain
                content = message.content.with_head(mark)
                verdicts = await self._transact(session, transaction, content, sealed_by)
            except Unfit as unfit:
                attempt.note(unfit.verdict, place, batch)
                remaining[:] = [recipient for recipient in remaining if recipient not in batch]
                continue
            for recipient in batch:
                remaining.remove(recipient)
            some_accepted = any(verdict.accepted for verdict in verdicts)
            for recipient, verdict in zip(batch, verdicts, strict=True):
                if verdict.too_many and some_accepted:
                    remaining.append(recipient)  # RFC 5321 §4.5.3.1.10: another transaction
                else:
                    attempt.record(recipient, verdict, place)

    async def _transact(
        self, session: ClientSession, transaction: Transaction, content: Content, sealed_by: str
    ) -> list[Verdict]:
        """One transaction, with the content in the form that this server takes. sealed_by: a domain of ours
        that sends it on, or "". Raises Unfit, and Trouble."""
        if (form := session.other_form(transaction)) is not None:
            try:
                async with self._recoding.converted(content, form) as converted:
                    size = await self._read(converted, len)
                    return await self._give(session, transaction.recoded(form, size), converted, sealed_by)
            except NotConvertible as refused:
                name = form.value.decode().replace("bit", "-bit")
                text = f"The server takes {name} content only, and this cannot become that: {refused}"
                raise Unfit(Verdict(Stage.MAIL, 554, refused.status, text)) from None
        return await self._give(session, transaction, content, sealed_by)

    async def _give(
        self, session: ClientSession, transaction: Transaction, content: Content, sealed_by: str
    ) -> list[Verdict]:
        if self._seal is not None and sealed_by:
            seal = await self._read(content, partial(self._seal, sealed_by))
            content = content.with_head(seal)
            transaction = replace(transaction, size=transaction.size + len(seal))
        if (obstacle := session.obstacle(transaction)) is not None:
            raise Unfit(obstacle)
        pieces = self._pieces(content, session.encoding(transaction))
        return await session.send(transaction, pieces, reset=session.messages > 0)

    def _heard(self, attempt: Attempt) -> None:
        """Somebody has answered: there is a way out."""
        attempt.heard = True
        self._ports.reached()

    def _host_failed(self, attempt: Attempt, verdict: Verdict, place: Place) -> None:
        self._hosts.failed(place.host)
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

    async def _read(self, content: Content, function: Callable[[Content], T]) -> T:
        return await read(content, function, reactor=IReactorThreads(self._reactor))

    async def _pieces(self, content: Content, encoding: Encoding) -> AsyncGenerator[bytes, None]:
        """The content as it travels: in one piece from memory, read in a thread from a spool file."""
        pieces = encoding(content.chunks())
        if content.path is None:
            yield b"".join(pieces)
            return
        while (piece := await self._in_thread(next, pieces, None)) is not None:
            yield piece

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        threads = IReactorThreads(self._reactor)
        return await deferToThreadPool(threads, threads.getThreadPool(), function, *arguments)


def has_ascii_header(content: Content) -> bool:
    """Whether the header fields may go where SMTPUTF8 is not known. Raises OSError."""
    return content.header().isascii()


def _may_be_eight_bit(message: QueuedMessage) -> bool:
    """Declared, or seen; a spool file is not read for it, since the declaration does no harm to ASCII."""
    content = message.content
    if message.parameters.body == "8BITMIME" or content.path is not None:
        return True
    return not (content.head.isascii() and content.data.isascii())
