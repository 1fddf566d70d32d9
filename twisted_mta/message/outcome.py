"""What became of one delivery attempt to one recipient, and what is handed to whoever delivers.

These are the values that pass between the queue, the dispatcher and the two deliverers (relay
and local delivery). Action names follow RFC 3464 §2.3.3.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import NO_PARAMETERS, MailParameters


class Action(enum.Enum):
    """The end of an attempt (RFC 3464 §2.3.3)."""

    __hash__ = object.__hash__  # that of Enum is a function in Python

    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"
    DELAYED = "delayed"  # worth another try
    FAILED = "failed"  # not worth another try


@dataclass(frozen=True, slots=True)
class Outcome:
    """`status` is the enhanced status code (RFC 3463); `text` one line of diagnosis, the remote
    reply as it came (with its code) where there was one; `remote_mta` the host that said so.
    `expansion` is set with Action.EXPANDED: the addresses that take the recipient's place. `passed_on`: with
    Action.RELAYED, that the next host knows DSN and makes the reports from here on (RFC 3461 §5.2.1).
    `broke_off`: with Action.DELAYED, that a host had begun with the mail and then fell silent, which may be
    that mail's own fault."""

    action: Action
    status: str
    text: str
    remote_mta: str = ""
    expansion: tuple[Address, ...] = ()
    passed_on: bool = False
    broke_off: bool = False


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A message in the queue. `arrived` is in seconds since the epoch. `recovered` says that it was in the
    queue already when this process started, or has been attempted before: parts of it may be delivered.
    `account` submitted it, "" when nobody logged in."""

    queue_id: str
    reverse_path: Address | None
    arrived: float
    content: Content
    parameters: MailParameters = NO_PARAMETERS
    recovered: bool = False
    account: str = ""

    def copy_for(self, number: int) -> str:
        """The name of the copy for the recipient with that number, the same at each attempt."""
        return f"{self.queue_id}-{number}"


@dataclass(frozen=True, slots=True)
class QueuedRecipient:
    """One forward path of a queued message. `number` is unique for ever within its queue; `attempts`
    counts the attempts that were made before this one. `original_path` is set when an alias led here: the
    address that the sender used. `notify` and `orcpt` are those of the envelope (EnvelopeRecipient).
    `delay_told`: the sender knows that it takes longer. By hand were given `route`, the next hop ("" when
    none was), and `returned`: no attempt, the mail goes back to its sender."""

    number: int
    forward_path: Address
    attempts: int = 0
    original_path: Address | None = None
    notify: frozenset[str] = frozenset()
    orcpt: str = ""
    delay_told: bool = False
    route: str = ""
    returned: bool = False
