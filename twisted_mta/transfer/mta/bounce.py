"""Bounces and other reports: a sender is told what became of a message (RFC 5321 §6.1, RFC 3461), unless the
message is itself a report.

A report goes to the reverse-path under the null reverse-path, through the queue like any other mail (RFC
3461 §6.1). Whoever records the results puts it into the queue in the same transaction. It asks for no
reports itself, so that even a host which overlooks the null reverse-path makes none.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence

from twisted.logger import Logger

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.conversion import NotConvertible, to_seven_bit
from twisted_mta.message.dsn.original import WHOLE_LIMIT, most
from twisted_mta.message.dsn.report import Rendered, render
from twisted_mta.message.dsn.rules import NEVER, returned
from twisted_mta.message.dsn.values import Report, ReportedRecipient
from twisted_mta.message.envelope import MailParameters
from twisted_mta.message.outcome import QueuedMessage, QueuedRecipient
from twisted_mta.queue.ids import encode
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.queue.records import NewMessage

_QUICK = 10  # recipients

Sign = Callable[[str, bytes], bytes]


class Bounces:
    """hostname: this host, as Reporting-MTA; postmaster: whom replies to reports reach; confidential: aliases
    whose members nobody is told of; sign: a whole report, in the name of the postmaster's domain."""

    log = Logger(namespace="twisted_mta.bounce")

    def __init__(
        self,
        queue: MailQueue,
        *,
        hostname: str,
        postmaster: Address,
        confidential: Iterable[Address] = (),
        sign: Sign | None = None,
    ) -> None:
        self._queue = queue
        self._hostname = hostname
        self._postmaster = postmaster
        self._sign = sign
        self._confidential = frozenset(alias.key for alias in confidential)

    def is_confidential(self, alias: Address) -> bool:
        """Whether mail has arrived when it reaches this alias, as far as its sender learns (RFC 3461
        §5.2.7.4)."""
        return alias.key in self._confidential

    async def report(
        self, message: QueuedMessage, recipients: Sequence[ReportedRecipient], now: float
    ) -> NewMessage | None:
        """The one report of all these results, ready for the queue; None when the message came from the null
        reverse-path: a report that cannot be delivered ends here (RFC 5321 §6.1). Nor is there one of junk,
        whose sender is most likely somebody else (RFC 5321 §6.2)."""
        if message.reverse_path is None or message.parameters.junk or not recipients:
            return None
        asked = message.parameters
        ret = returned(asked, [recipient.action for recipient in recipients])
        original, complete = await self._beginning(message, most(ret))
        if complete and asked.body == "BINARYMIME":
            original = await self._queue.in_thread(_without_binary, original)
        number = self._queue.numbers.message()
        rendered = await self._render(
            Report(
                reporting_mta=self._hostname,
                postmaster=self._postmaster,
                to=message.reverse_path,
                report_id=encode(number),
                queue_id=message.queue_id,
                arrived=message.arrived,
                now=now,
                recipients=recipients,
                original=original,
                complete=complete,
                ret=ret,
                envid=asked.envid,
                smtputf8=asked.smtputf8,
            )
        )
        data = rendered.data
        if self._sign is not None:
            data = self._sign(self._postmaster.domain, data)
        return NewMessage(
            number=number,
            reverse_path=None,
            arrived=now,
            content=Content(b"", data),
            size=len(data),
            checksum=zlib.crc32(data),
            recipients=(
                QueuedRecipient(self._queue.numbers.recipient(), message.reverse_path, notify=NEVER),
            ),
            parameters=MailParameters(
                body=rendered.body, smtputf8=rendered.smtputf8, require_tls=asked.require_tls
            ),
        )

    async def _render(self, report: Report) -> Rendered:
        """What takes its time takes it in a thread: for each recipient it is found out what a server may have
        meant, and whether 8-bit content may come back whole, by converting it part by part."""
        converts = report.ret == "FULL" and not report.original.isascii()
        if len(report.original) <= WHOLE_LIMIT and len(report.recipients) <= _QUICK and not converts:
            return render(report)
        return await self._queue.in_thread(render, report)

    async def _beginning(self, message: QueuedMessage, limit: int) -> tuple[bytes, bool]:
        """As much of the message as a report returns. A report without it is better than none."""
        if message.content.path is None:
            return beginning(message.content, limit)
        try:
            return await self._queue.in_thread(beginning, message.content, limit)
        except OSError as error:
            self.log.error("{queue_id}: cannot be read: {error}", queue_id=message.queue_id, error=error)
            return b"", False


def _without_binary(original: bytes) -> bytes:
    """As a report can hold it (RFC 3030 §3); itself when it must not be changed."""
    try:
        return to_seven_bit(original)
    except NotConvertible:
        return original


def beginning(content: Content, limit: int) -> tuple[bytes, bool]:
    """The first octets of a content, one more than `limit` if there are as many, and whether they are all of
    it. Raises OSError."""
    read = bytearray()
    for chunk in content.chunks():
        read += chunk
        if len(read) > limit:
            return bytes(read[: limit + 1]), False
    return bytes(read), True
