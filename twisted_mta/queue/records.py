"""The values that pass between the queue's writer and those who use the queue; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import NO_PARAMETERS, MailParameters
from twisted_mta.message.outcome import Outcome, QueuedMessage, QueuedRecipient
from twisted_mta.message.status import MailError
from twisted_mta.queue.ids import encode


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message on its way into the queue. A body in `content.path` is in its spool file, synced.
    `size` is in octets, head included; `checksum` is the CRC-32 of the body."""

    number: int
    reverse_path: Address | None
    arrived: float
    content: Content
    size: int
    checksum: int
    recipients: tuple[QueuedRecipient, ...]
    parameters: MailParameters = NO_PARAMETERS
    account: str = ""

    @property
    def begins(self) -> float:
        """When its time begins: it arrives, or the hold that its sender asked for ends (RFC 4865)."""
        return max(self.arrived, self.parameters.hold_until)

    def queued(self) -> QueuedMessage:
        """The message as it is handed to the dispatcher without a visit to the disk."""
        return QueuedMessage(
            encode(self.number),
            self.reverse_path,
            self.arrived,
            self.content,
            self.parameters,
            account=self.account,
        )


@dataclass(frozen=True, slots=True)
class Result:
    """The end of one attempt to one recipient. `next_attempt` goes with Action.DELAYED; `expansion` with
    Action.EXPANDED: the recipients that take this one's place. `expired`: it failed because it was given up,
    not because somebody refused it for good. `delay_told`: the settlement's report tells of the delay."""

    recipient: QueuedRecipient
    outcome: Outcome
    next_attempt: float = 0.0
    expansion: tuple[QueuedRecipient, ...] = ()
    expired: bool = False
    delay_told: bool = False


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one attempt came to: recorded in one transaction, together with the report to the sender."""

    message: int
    when: float
    results: tuple[Result, ...]
    report: NewMessage | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settlement did. `finished`: every recipient has its end and the message is gone. `added`: the
    recipients of expansions that were not recipients already. `reported`: the report is in the queue (it
    is not when the message was removed by hand during the attempt, unless it was delivered). `nowhere`: the
    numbers of recipients that would be replaced by addresses which led to them before, so that nobody would
    get the message; what failed or expanded, and the report, are not recorded then."""

    finished: bool = False
    added: tuple[QueuedRecipient, ...] = ()
    reported: bool = False
    nowhere: frozenset[int] = frozenset()


def stored_address(text: str) -> Address:
    """An address as it was put into the queue. What brought it in may have known other rules than those for
    what clients say, and an address that could not be read would hold up all mail behind it."""
    try:
        return Address.parse(text, utf8=True)
    except MailError:
        local, _, domain = text.rpartition("@")
        return Address(local, domain)


class DueRecipient(NamedTuple):
    """A recipient whose next attempt is due; `message` is the message's number. `arrived` is when the
    message's time began (NewMessage.begins); `priority`, `deliver_by` (None: no deadline), `reverse_path`
    (None: the null path) and `account` are the message's, too. `passed_over`: there was no room for it in
    memory. Read in great numbers, so text is taken apart only by `queued`."""

    message: int
    arrived: float
    next_attempt: float
    number: int
    forward_path: str
    domain: str
    attempts: int
    original_path: str | None
    notify: str
    orcpt: str
    delay_told: int
    route: str
    returned: int
    priority: int
    deliver_by: float | None
    reverse_path: str | None
    account: str
    passed_over: int

    def queued(self) -> QueuedRecipient:
        """As it is handed to a deliverer."""
        return QueuedRecipient(
            self.number,
            stored_address(self.forward_path),
            self.attempts,
            None if self.original_path is None else stored_address(self.original_path),
            frozenset(self.notify.split()),
            self.orcpt,
            bool(self.delay_told),
            self.route,
            bool(self.returned),
        )


@dataclass(frozen=True, slots=True)
class DuePage:
    """Due recipients in the order of their next attempt. `complete`: there are no more until the time asked
    for; then `later` is the time of the first attempt after that, None when nothing waits."""

    recipients: tuple[DueRecipient, ...]
    complete: bool
    later: float | None = None


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as it stands in the database. A `body` of None is in the spool file of that queue id."""

    number: int
    reverse_path: str | None
    arrived: float
    size: int
    checksum: int
    head: bytes
    body: bytes | None
    parameters: MailParameters
    account: str


@dataclass(frozen=True, slots=True)
class StoredRecipient:
    """A recipient as it stands in the database. `state` is "waiting", "held", or how it ended:
    "delivered", "relayed", "expanded", "failed". `status`, `diagnostic` and `remote_mta` tell of the
    last attempt. `original_path` is set when an alias led here: the address the sender used. `notify` is a
    list with spaces between; for the others see QueuedRecipient."""

    number: int
    message: int
    forward_path: str
    original_path: str | None
    domain: str
    state: str
    next_attempt: float
    attempts: int
    last_attempt: float | None
    status: str
    diagnostic: str
    remote_mta: str
    notify: str
    orcpt: str
    route: str
    delay_told: bool
    returned: bool


@dataclass(frozen=True, slots=True)
class Intervention:
    """Something done to the queue by hand, from any process: `action` is "removed", "held", … `recipient`:
    only to this one of the message; "": to all of them."""

    message: int
    action: str
    recipient: str = ""
