"""Sends the daily reports to those who ask for them (RFC 7489 §7.2).

A day ends at midnight UTC. Each domain has a time of its own in the hours behind that, so that neither we nor
those who get reports from everybody have to do it all at once. Reports travel through the queue like any
other message, with the null reverse path: what cannot be delivered is dropped, and nobody answers it.

A report is handed in once to each address. Which message it will be is on disk before the queue is given it;
what a crash left open is asked of the queue at the next start, before it delivers anything. Should a report
be sent twice after all, both have the same Report-ID.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from twisted_mta.interfaces import IIntake, IResolver
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.attached_report import Attachment
from twisted_mta.message.envelope import Envelope, EnvelopeRecipient
from twisted_mta.message.status import MailError
from twisted_mta.resolver import ResolutionError
from twisted_mta.trust.dmarc.record import ReportAddress
from twisted_mta.trust.dmarc.reports.aggregate import AggregateReport
from twisted_mta.trust.dmarc.reports.database import Day, Dispatch, DmarcDatabase
from twisted_mta.trust.dmarc.reports.destinations import destinations
from twisted_mta.trust.dmarc.reports.ledger import DAY, DmarcLedger
from twisted_mta.trust.dmarc.reports.report_mail import as_attachment, as_mail

LOOK = 600.0  # seconds between two looks at what is due
SPREAD = 20 * 3600  # seconds after midnight within which reports are sent
TRIED_FOR = 2  # days
MOST_DESTINATIONS = 5  # of one report
AT_ONCE = 10  # reports that are being made; a stranger's DNS may be slow
PATIENCE = 60.0  # seconds, for the DNS of one domain


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who reports: the name of this server, and an address for questions."""

    submitter: str
    contact: Address


class DmarcReporting:
    """reporter: as whom we report. `queued`: whether the queue has a message of that id. reactor: its clock
    is the wall clock."""

    log = Logger(namespace="twisted_mta.dmarc")

    def __init__(
        self,
        *,
        reporter: Reporter,
        ledger: DmarcLedger,
        resolver: IResolver,
        intake: IIntake,
        queued: Callable[[str], Awaitable[bool]],
        journey: Journey,
        reactor: Any,
    ) -> None:
        self._reporter = reporter
        self._ledger = ledger
        self._resolver = resolver
        self._intake = intake
        self._queued = queued
        self._journey = journey
        self._clock = IReactorTime(reactor)
        self._looking = LoopingCall(self.send_due)
        self._looking.clock = self._clock

    async def start(self) -> None:
        """Find out what became of reports that a crash left open, then begin to look for what is due. To be
        called before the queue delivers. Raises sqlite3.Error."""
        for day, domain, address, queue_id in await self._ledger.run(DmarcDatabase.undecided):
            if await self._queued(queue_id):
                await self._handed_in(day, domain, address, queue_id)
            else:
                await self._not_handed_in(day, domain, address)
        done = self._looking.start(LOOK, now=False)
        done.addErrback(lambda failure: self.log.failure("no more DMARC reports are sent", failure=failure))

    async def stop(self) -> None:
        """Send no more."""
        if self._looking.running:
            self._looking.stop()

    async def send_due(self) -> None:
        """The reports of all days that have ended, and whose time has come."""
        now = self._ledger.seconds()
        today = int(now // DAY)
        try:
            await self._ledger.written()
            days = await self._ledger.run(lambda database: database.days_to_report(today))
        except sqlite3.Error as error:
            self.log.error("DMARC reports cannot be made: {error}", error=error)
            return
        waiting = iter([day for day in days if due(self._reporter.submitter, *day) <= now])
        await gatherResults([Deferred.fromCoroutine(self._work_off(waiting, today)) for _ in range(AT_ONCE)])

    async def _work_off(self, waiting: Iterator[Day], today: int) -> None:
        """Never raises: one report must not end all others."""
        for day, domain in waiting:
            try:
                finished = await self._send(day, domain)
            except sqlite3.Error as error:
                self.log.error("a DMARC report cannot be made: {error}", error=error)
                return
            except Exception:
                self.log.failure("the DMARC report for {domain} cannot be made", domain=domain)
                finished = True
            if finished or day < today - TRIED_FOR:
                await self._forget(day, domain)

    async def _send(self, day: int, domain: str) -> bool:
        """False when it is to be tried again."""
        policy = await self._ledger.run(lambda database: database.policy(day, domain))
        if policy is None:
            return True
        finding = Deferred.fromCoroutine(self._wanted(domain, policy.addresses))
        try:
            wanted, finished = await finding.addTimeout(PATIENCE, self._clock)
        except TimeoutError:
            return False
        before = await self._ledger.run(lambda database: database.dispatched(day, domain))
        missing = [(to, limit) for to, limit in wanted.items() if str(to) not in before]
        missing = missing[: max(0, MOST_DESTINATIONS - len(before))]
        if missing:
            report, attachment = await self._ledger.run(
                lambda database: _make(database, self._reporter, day, domain)
            )
            for to, limit in missing:
                finished &= await self._deliver(day, report, attachment, to, limit)
        return finished

    async def _wanted(
        self, domain: str, addresses: Sequence[ReportAddress]
    ) -> tuple[dict[Address, int], bool]:
        """Where the report goes, with the largest mail, 0 for any; and whether that is all that is to be
        known."""
        wanted: dict[Address, int] = {}
        complete = True
        for each in addresses:
            try:
                for to, limit in await destinations(domain, each, self._resolver):
                    wanted.setdefault(to, limit)
            except ResolutionError:
                complete = False
        return wanted, complete

    async def _deliver(
        self, day: int, report: AggregateReport, attachment: Attachment, to: Address, limit: int
    ) -> bool:
        """False when it is to be tried again."""
        domain, address = report.published.domain, str(to)
        draft = self._intake.draft()
        mail = as_mail(
            report,
            attachment,
            submitter=self._reporter.submitter,
            contact=self._reporter.contact,
            to=to,
            now=self._ledger.seconds(),
            message_id=f"{draft.queue_id}@{self._reporter.submitter}",
        )
        if 0 < limit < len(mail):
            self.log.info(
                "DMARC report on {domain}: too large for {to}: {size} octets",
                domain=domain,
                to=address,
                size=len(mail),
            )
            draft.abort()
            return True
        try:
            await self._ledger.run(
                lambda database: database.keep_dispatch(day, domain, address, Dispatch(draft.queue_id, False))
            )
            await draft.write(mail)
            recipient = EnvelopeRecipient(to, notify=frozenset({"NEVER"}))
            await draft.commit(Envelope(None, (recipient,)))
        except MailError as error:
            self.log.warn("DMARC report to {to}: {error}", to=address, error=error)
            draft.abort()
            await self._not_handed_in(day, domain, address)
            return False
        await self._handed_in(day, domain, address, draft.queue_id)
        self._journey.tell(
            "dmarc-report",
            draft.queue_id,
            domain=domain,
            to=address,
            report=report.identity,
            messages=report.messages,
        )
        return True

    async def _handed_in(self, day: int, domain: str, address: str, queue_id: str) -> None:
        done = Dispatch(queue_id, True)
        await self._ledger.run(lambda database: database.keep_dispatch(day, domain, address, done))

    async def _not_handed_in(self, day: int, domain: str, address: str) -> None:
        await self._ledger.run(lambda database: database.forget_dispatch(day, domain, address))

    async def _forget(self, day: int, domain: str) -> None:
        try:
            await self._ledger.run(lambda database: database.forget_day(day, domain))
        except sqlite3.Error as error:
            self.log.error("the day of a DMARC report is not forgotten: {error}", error=error)


def due(submitter: str, day: int, domain: str) -> float:
    """When the report on a day is to be sent: always at the same time, for the same domain."""
    digest = hashlib.sha256(f"{submitter} {domain}".encode()).digest()
    return (day + 1) * DAY + int.from_bytes(digest[:4], "big") % SPREAD


def _make(
    database: DmarcDatabase, reporter: Reporter, day: int, domain: str
) -> tuple[AggregateReport, Attachment]:
    """In the ledger's thread: it may be long."""
    policy = database.policy(day, domain)
    assert policy is not None
    report = AggregateReport(
        organization=reporter.submitter,
        contact=str(reporter.contact),
        identity=f"{datetime.fromtimestamp(day * DAY, UTC):%Y-%m-%d}.{domain}@{reporter.submitter}",
        begins=day * DAY,
        ends=(day + 1) * DAY - 1,
        published=policy.published,
        rows=database.observations(day, domain),
    )
    return report, as_attachment(report, reporter.submitter)
