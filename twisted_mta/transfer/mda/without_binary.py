"""What stands between the queue and local delivery for binary mail (RFC 3030 §3): mailboxes keep lines, so
what is binary in a message gets a transfer encoding first.

Everything behind this sees 8-bit MIME: mailboxes and the copy in Sent, scripts and what they send, and lists.
Who looks at reports stands in front of it. Decoded, the octets are those that came. What must not be changed,
because it is signed or encrypted and binary, cannot be delivered here; its sender is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from twisted_mta.interfaces import IDeliverer
from twisted_mta.message.conversion import Form, NotConvertible
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage, QueuedRecipient
from twisted_mta.message.status import unexpected
from twisted_mta.transfer.recoding import Recoding


@implementer(IDeliverer)
class WithoutBinary:
    """In front of the deliverer `local`. in_thread: calls a function with arguments in a thread."""

    log = Logger(namespace="twisted_mta.mda")

    def __init__(self, local: IDeliverer, in_thread: Callable[..., Awaitable[Any]]) -> None:
        self._local = local
        self._recoding = Recoding(in_thread)

    async def deliver(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> Sequence[Outcome]:
        """See IDeliverer."""
        if message.parameters.body != "BINARYMIME":
            return await self._local.deliver(message, recipients)
        try:
            async with self._recoding.converted(message.content, Form.EIGHT_BIT) as content:
                parameters = replace(message.parameters, body="8BITMIME")
                encoded = replace(message, content=content, parameters=parameters)
                return await self._local.deliver(encoded, recipients)
        except NotConvertible as refused:
            outcome = Outcome(Action.FAILED, refused.status, f"No mailbox keeps binary content: {refused}")
        except Exception:
            self.log.failure("{queue_id}: cannot be encoded", queue_id=message.queue_id)
            error = unexpected()
            outcome = Outcome(Action.DELAYED, error.status, error.text)
        return [outcome] * len(recipients)
