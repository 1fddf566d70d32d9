"""The mailboxes, for the process with the queue: local delivery, whether a mailbox is full, and what was
refused and is put by.

A delivery goes over as it stands in the queue, with everything that makes it happen once: queue id, number of
the recipient, and whether it may have happened before. Large bodies go by the path of their spool file, which
the queue keeps until the outcome is recorded. What an ended connection leaves in doubt, and whatever was
handed over before, counts as `recovered` when it is handed over again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from zope.interface import implementer

from twisted_mta.handover.counterpart import Counterpart
from twisted_mta.handover.link import Away, Served
from twisted_mta.interfaces import IDeliverer
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import MailParameters
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage, QueuedRecipient
from twisted_mta.message.status import MailError
from twisted_mta.trust.check import Incoming
from twisted_mta.trust.finding import Finding
from twisted_mta.trust.judgement import Keep

AWAY = Outcome(Action.DELAYED, "4.3.2", "The process with the mailboxes does not run at the moment")
FULL_WITHIN = 5.0  # seconds until a mailbox is taken for one that has room
NOT_ASKED = 60.0  # seconds that all are taken for such then: no client waits that long for each recipient

IsFull = Callable[[str, int], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Delivery:
    """The argument of "deliver"."""

    message: QueuedMessage
    recipients: list[QueuedRecipient]


@dataclass(frozen=True, slots=True)
class Room:
    """The argument of "is full"; see `MessageStore.is_full`."""

    account: str
    octets: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The argument of "put by": what is needed of an `Incoming`, and why it is refused."""

    address: str
    reverse_path: Address | None
    forward_paths: tuple[Address, ...]
    parameters: MailParameters
    queue_id: str
    content: Content
    findings: tuple[Finding, ...]
    why: str


@implementer(IDeliverer)
class Mailboxes:
    """In the process with the queue. has_limits: whether an account may be full at all, so that the others
    need not be asked about."""

    def __init__(
        self,
        process: Counterpart,
        *,
        reactor: Any,
        has_limits: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._process = process
        self._reactor = reactor
        self._has_limits = has_limits
        self._highest = ""  # queue id of what has been handed over
        self._in_doubt = ""  # up to this one it may have been delivered, and nobody has heard of it
        self.put_off = 0  # recipients, since the server has started, because nobody was there
        self._is_slow = False  # an answer has not come in time, not long ago
        process.watch(went=self._note_doubt)

    async def deliver(self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]) -> list[Outcome]:
        """See IDeliverer."""
        if message.queue_id <= self._in_doubt:
            message = replace(message, recovered=True)
        elif message.queue_id > self._highest:
            self._highest = message.queue_id
        try:
            outcomes: list[Outcome] = await self._process.ask(
                "deliver", Delivery(message, list(recipients)), list[Outcome]
            )
        except Away:
            self.put_off += len(recipients)
            return [AWAY] * len(recipients)
        except MailError as error:
            return [Outcome(Action.DELAYED, error.status, error.text)] * len(recipients)
        return outcomes

    async def is_full(self, account: str, octets: int = 0) -> bool:
        """See `MessageStore.is_full`; when nobody answers, there is room."""
        if self._is_slow or not await self._has_limits(account):
            return False
        asked = Deferred.fromCoroutine(self._process.ask("is full", Room(account, octets), bool))
        try:
            return bool(await asked.addTimeout(FULL_WITHIN, self._reactor))
        except TookTooLong:
            self._is_slow = True
            self._reactor.callLater(NOT_ASKED, self._ask_again)
            return False
        except MailError:
            return False

    def _ask_again(self) -> None:
        self._is_slow = False

    async def keep(self, message: Incoming, why: str) -> None:
        """Have a message put by that is complete; see `Judge`. Raises MailError."""
        assert message.content is not None
        await self._process.ask(
            "put by",
            Refused(
                message.address,
                message.reverse_path,
                message.forward_paths,
                message.parameters,
                message.queue_id,
                message.content,
                message.findings,
                why,
            ),
        )

    def _note_doubt(self) -> None:
        self._in_doubt = self._highest


def serve_mailboxes(process: Counterpart, *, local: IDeliverer, is_full: IsFull, keep: Keep) -> None:
    """In the process with the mailboxes: what `Mailboxes` asks for is done by these. A delivery that an ended
    connection has asked for goes on, and who asks for it again waits for its end: what was done is recognised
    only then."""
    under_way: dict[int, Deferred[None]] = {}  # by number of the recipient

    async def deliver(asked: Delivery) -> object:
        numbers = [recipient.number for recipient in asked.recipients]
        while earlier := under_way.keys() & numbers:
            await under_way[earlier.pop()]
        done: Deferred[None] = Deferred()
        under_way.update(dict.fromkeys(numbers, done))
        try:
            return list(await local.deliver(asked.message, asked.recipients))
        finally:
            for number in set(numbers):
                del under_way[number]
            done.callback(None)

    async def full(asked: Room) -> object:
        return await is_full(asked.account, asked.octets)

    async def put_by(asked: Refused) -> object:
        message = Incoming(
            asked.address,
            reverse_path=asked.reverse_path,
            forward_paths=asked.forward_paths,
            parameters=asked.parameters,
            queue_id=asked.queue_id,
            content=asked.content,
            findings=asked.findings,
        )
        await keep(message, asked.why)
        return None

    process.serves |= {
        "deliver": Served(Delivery, deliver),
        "is full": Served(Room, full),
        "put by": Served(Refused, put_by),
    }
