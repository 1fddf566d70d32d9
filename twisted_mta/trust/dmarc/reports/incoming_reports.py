"""DMARC reports as a kind of report that comes in by mail (RFC 7489 §7.2.1.1); `mta reports` shows them.

Anybody can send such a mail. Reports on domains that are none of ours are not kept; of the others it is
remembered whether DMARC proved who sent them, as it should be able to (§7.2.1.1).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from twisted_mta.journey.bus import Journey
from twisted_mta.message.attached_report import NotAReport
from twisted_mta.message.headers import header_end
from twisted_mta.trust.dmarc.author import NoAuthor, author_domain
from twisted_mta.trust.dmarc.reports.aggregate import AggregateReport
from twisted_mta.trust.dmarc.reports.ledger import DmarcLedger
from twisted_mta.trust.dmarc.reports.report_mail import find_report
from twisted_mta.trust.results import result_of


@dataclass(frozen=True, slots=True)
class Received:
    """A report, and the domain that DMARC proved to have sent it, "" for nobody."""

    report: AggregateReport
    sender: str


class IncomingDmarcReports:
    """See ReportKind. `domains`: ours; a report may also be on a domain above or below one of them.
    `service`: as which we write Authentication-Results."""

    name = "DMARC"

    def __init__(self, ledger: DmarcLedger, journey: Journey, domains: Collection[str], service: str) -> None:
        self._ledger = ledger
        self._journey = journey
        self._domains = frozenset(domains)
        self._service = service

    def read(self, message: bytes) -> Received | None:
        """See ReportKind. Raises NotAReport."""
        report = find_report(message)
        if report is None:
            return None
        if not self._is_ours(report.published.domain):
            raise NotAReport(f"it is on {report.published.domain}, which is not ours")
        return Received(report, self._sender(message))

    def _sender(self, message: bytes) -> str:
        end = header_end(message)
        header = message if end < 0 else message[:end]
        try:
            return author_domain(header) if result_of(header, self._service, "dmarc") == "pass" else ""
        except NoAuthor:
            return ""

    def _is_ours(self, domain: str) -> bool:
        return any(
            domain == own or domain.endswith(f".{own}") or own.endswith(f".{domain}") for own in self._domains
        )

    async def keep(self, received: Received, queue_id: str) -> None:
        """See ReportKind. Raises sqlite3.Error."""
        report = received.report
        if await self._ledger.keep_report(report, received.sender):
            self._journey.tell(
                "dmarc-reported",
                queue_id,
                by=report.organization,
                domain=report.published.domain,
                messages=report.messages,
                failed=sum(count for seen, count in report.rows if not seen.passed),
            )
