"""TLS reports as a kind of report that comes in by mail (RFC 8460 §5.3); `mta tls reports` shows them."""

from __future__ import annotations

from twisted_mta.journey.bus import Journey
from twisted_mta.transfer.mta.tls.database import StoredReport
from twisted_mta.transfer.mta.tls.ledger import TlsLedger
from twisted_mta.transfer.mta.tls.received_report import Received, find_report, read_report

MOST_REPORTS = 10_000  # kept; the oldest go


class IncomingTlsReports:
    """See ReportKind."""

    name = "TLS"

    def __init__(self, ledger: TlsLedger, journey: Journey) -> None:
        self._ledger = ledger
        self._journey = journey

    def read(self, message: bytes) -> Received | None:
        """See ReportKind. Raises NotAReport."""
        text = find_report(message)
        return None if text is None else read_report(text)

    async def keep(self, report: Received, queue_id: str) -> None:
        """See ReportKind. Raises sqlite3.Error."""
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
        if await self._ledger.run(lambda database: database.keep_report(stored, MOST_REPORTS)):
            self._journey.tell(
                "tls-reported",
                queue_id,
                by=report.organization,
                domain=report.domain,
                successes=report.successes,
                failures=report.failures,
            )
