"""Whether the queue has a message, for those that know it by its queue id."""

from __future__ import annotations

from twisted_mta.queue.ids import decode
from twisted_mta.queue.mailqueue import MailQueue


async def is_queued(queue: MailQueue, queue_id: str) -> bool:
    """A damaged message is one, too: somebody will look at it."""
    return await queue.message_as_it_is(decode(queue_id)) is not None
