"""Whether the queue has a message, for those that know it by its queue id."""

from __future__ import annotations

from twisted_mta.queue.ids import decode
from twisted_mta.queue.mailqueue import MailQueue


async def is_queued(queue: MailQueue, queue_id: str) -> bool:
    """A damaged message is one, too: somebody will look at it. Raises MailError, sqlite3.Error, OSError."""
    return await queue.has_message(decode(queue_id))
