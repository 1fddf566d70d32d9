"""Takes in the TLS reports that others send to us (RFC 8460 §5.3): a look at local mail for one address, on
its way.

Whoever asks for reports names an address in `_smtp._tls`; mail for it is delivered like any other, and what
is a report is kept for `mta tls reports`. What is none is told in the log and is just mail.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from zope.interface import implementer

from twisted_mta.interfaces import IDeliverer
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage, QueuedRecipient
from twisted_mta.transfer.mta.tls.database import StoredReport
from twisted_mta.transfer.mta.tls.ledger import TlsLedger
from twisted_mta.transfer.mta.tls.received_report import (
    LARGEST,
    NotAReport,
    Received,
    find_report,
    read_report,
)

MOST_REPORTS = 10_000  # kept; the oldest go


@implementer(IDeliverer)
class ReportIntake:
    """A deliverer in front of another one. `address`: that mail of interest is for."""

    log = Logger(namespace="twisted_mta.tls")

    def __init__(self, deliverer: Any, *, address: Address, ledger: TlsLedger, journey: Journey) -> None:
        self._deliverer = deliverer
        self._address = address.key
        self._ledger = ledger
        self._journey = journey

    async def deliver(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> Sequence[Outcome]:
        """See IDeliverer."""
        outcomes: Sequence[Outcome] = await self._deliverer.deliver(message, recipients)
        for recipient, outcome in zip(recipients, outcomes, strict=True):
            if recipient.forward_path.key == self._address and outcome.action in _ARRIVED:
                await self._take(message)
        return outcomes

    async def _take(self, message: QueuedMessage) -> None:
        try:
            report = await deferToThread(_read, message.content)
            if report is None:
                return
            stored = StoredReport(
                report.organization,
                report.report_id,
                report.begins,
                report.domain,
                self._ledger.seconds(),
                report.successes,
                report.failures,
                report.body,
            )
            new = await self._ledger.run(lambda database: database.keep_report(stored, MOST_REPORTS))
        except NotAReport as error:
            self.log.warn("{queue_id}: no TLS report: {error}", queue_id=message.queue_id, error=error)
        except (OSError, sqlite3.Error) as error:
            self.log.error(
                "{queue_id}: the TLS report is not kept: {error}", queue_id=message.queue_id, error=error
            )
        else:
            if new:
                self._journey.tell(
                    "tls-reported",
                    message.queue_id,
                    by=report.organization,
                    domain=report.domain,
                    successes=report.successes,
                    failures=report.failures,
                )


_ARRIVED = frozenset({Action.DELIVERED, Action.EXPANDED})


def _read(content: Content) -> Received | None:
    """In a thread. Raises NotAReport, OSError."""
    octets = bytearray()
    for chunk in content.chunks():
        octets += chunk
        if len(octets) > LARGEST:
            raise NotAReport("the message is too large")
    text = find_report(bytes(octets))
    return None if text is None else read_report(text)
