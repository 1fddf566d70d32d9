"""Bounces: when mail cannot be delivered its sender is told (RFC 5321 §6.1), unless it is itself a report.

The report goes to the reverse-path under the null reverse-path, through the queue like any other mail
(RFC 3464 §2). Whoever records the failure puts it into the queue in the same transaction.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from twisted.logger import Logger

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.dsn import WHOLE_LIMIT, FailedRecipient, Report, failure_report
from twisted_mta.message.outcome import QueuedMessage, QueuedRecipient
from twisted_mta.queue.ids import encode
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.queue.records import NewMessage


class Bounces:
    """hostname: this host, as Reporting-MTA; postmaster: whom replies to reports reach."""

    log = Logger(namespace="twisted_mta.bounce")

    def __init__(self, queue: MailQueue, *, hostname: str, postmaster: Address) -> None:
        self._queue = queue
        self._hostname = hostname
        self._postmaster = postmaster

    async def report(
        self, message: QueuedMessage, failed: Sequence[FailedRecipient], now: float
    ) -> NewMessage | None:
        """The report of these failures, ready for the queue; None when the message came from the null
        reverse-path: a report that cannot be delivered ends here (RFC 5321 §6.1)."""
        if message.reverse_path is None:
            return None
        original, complete = await self._beginning(message)
        number = self._queue.numbers.message()
        data = failure_report(
            Report(
                reporting_mta=self._hostname,
                postmaster=self._postmaster,
                to=message.reverse_path,
                report_id=encode(number),
                queue_id=message.queue_id,
                arrived=message.arrived,
                now=now,
                failed=failed,
                original=original,
                complete=complete,
            )
        )
        return NewMessage(
            number=number,
            reverse_path=None,
            arrived=now,
            content=Content(b"", data),
            size=len(data),
            checksum=zlib.crc32(data),
            recipients=(QueuedRecipient(self._queue.numbers.recipient(), message.reverse_path),),
        )

    async def _beginning(self, message: QueuedMessage) -> tuple[bytes, bool]:
        """As much of the message as a report returns. A report without it is better than none."""
        if message.content.path is None:
            return beginning(message.content)
        try:
            return await self._queue.in_thread(beginning, message.content)
        except OSError as error:
            self.log.error("{queue_id}: cannot be read: {error}", queue_id=message.queue_id, error=error)
            return b"", False


def beginning(content: Content) -> tuple[bytes, bool]:
    """The first octets of a content, one more than a report may return whole, and whether they are all of it.
    Raises OSError."""
    read = bytearray()
    for chunk in content.chunks():
        read += chunk
        if len(read) > WHOLE_LIMIT:
            return bytes(read[: WHOLE_LIMIT + 1]), False
    return bytes(read), True
