"""Sends the daily TLS reports to those who ask for them (RFC 8460 §3, §4, §5).

A day ends at midnight UTC; its reports go out within the hours behind that, at a time that each server has
drawn for itself, so that they do not all come at once. By mail they travel through the queue like any other
message, signed on the way into it (§3); by HTTPS they are posted, and tried again every hour until the day
after the next.
"""

from __future__ import annotations

import random
import sqlite3
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from twisted_mta.https import FetchError, HttpsClient
from twisted_mta.interfaces import IIntake, IResolver
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.envelope import Envelope, EnvelopeRecipient
from twisted_mta.message.status import MailError
from twisted_mta.resolver import ResolutionError
from twisted_mta.transfer.mta.tls.ledger import DAY, TlsLedger
from twisted_mta.transfer.mta.tls.tls_report import (
    MEDIA_TYPE,
    Maker,
    TlsReport,
    as_mail,
    mail_address,
    make_report,
    report_uris,
)

LOOK = 3600.0  # seconds between two looks at what is due
LATEST = 4 * 3600.0  # seconds after midnight when reports are on their way at the latest (RFC 8460 §4.1)
TRIED_FOR = 2  # days


class TlsReporting:
    """maker: as whom we report. reactor: its clock is the wall clock."""

    log = Logger(namespace="twisted_mta.tls")

    def __init__(
        self,
        *,
        maker: Maker,
        ledger: TlsLedger,
        resolver: IResolver,
        https: HttpsClient,
        intake: IIntake,
        journey: Journey,
        reactor: Any,
        randomness: random.Random,
    ) -> None:
        self._maker = maker
        self._ledger = ledger
        self._resolver = resolver
        self._https = https
        self._intake = intake
        self._journey = journey
        self._offset = randomness.uniform(0.0, LATEST)
        self._delivered: set[tuple[int, str, str]] = set()  # of days and domains that are not finished
        self._looking = LoopingCall(self.send_due)
        self._looking.clock = IReactorTime(reactor)

    async def start(self) -> None:
        """Begin to look for what is due."""
        done = self._looking.start(LOOK, now=False)
        done.addErrback(lambda failure: self.log.failure("no more TLS reports are sent", failure=failure))

    async def stop(self) -> None:
        """Send no more."""
        if self._looking.running:
            self._looking.stop()

    async def send_due(self) -> None:
        """The reports of all days that have ended, and whose time has come."""
        try:
            today = int((self._ledger.seconds() - self._offset) // DAY)
            await self._ledger.written()
            for day, domain in await self._ledger.run(lambda database: database.days_with_findings(today)):
                try:
                    finished = await self._send(day, domain)
                except sqlite3.Error:
                    raise
                except Exception:  # one report must not end all others
                    self.log.failure("the TLS report for {domain} cannot be made", domain=domain)
                    finished = True
                if finished or day < today - TRIED_FOR:
                    await self._forget(day, domain)
        except sqlite3.Error as error:
            self.log.error("TLS reports cannot be made: {error}", error=error)

    async def _forget(self, day: int, domain: str) -> None:
        await self._ledger.run(lambda database: database.forget_findings(day, domain))
        self._delivered = {entry for entry in self._delivered if entry[:2] != (day, domain)}

    async def _send(self, day: int, domain: str) -> bool:
        """False when it is to be tried again."""
        try:
            found = await self._resolver.txt(f"_smtp._tls.{domain}")
        except ResolutionError:
            return False
        uris = report_uris(found.records) if found is not None else []
        if not uris:
            return True  # nobody wants to know
        findings = await self._ledger.run(lambda database: database.findings(day, domain))
        report = make_report(self._maker, domain, day, findings)
        for uri in uris:
            if (day, domain, uri) not in self._delivered and await self._deliver(report, uri):
                self._delivered.add((day, domain, uri))
        return all((day, domain, uri) in self._delivered for uri in uris)

    async def _deliver(self, report: TlsReport, uri: str) -> bool:
        to = mail_address(uri)
        try:
            if to is not None:
                await self._mail(report, to)
            else:
                await self._https.post(uri, report.body, MEDIA_TYPE)
                self._journey.tell("tls-report", domain=report.domain, to=uri, report=report.identity)
        except (MailError, FetchError) as error:
            self.log.warn("TLS report to {uri}: {error}", uri=uri, error=error)
            return False
        return True

    async def _mail(self, report: TlsReport, to: Address) -> None:
        draft = self._intake.draft()
        message_id = f"{draft.queue_id}@{self._maker.submitter}"
        await draft.write(as_mail(report, to, now=self._ledger.seconds(), message_id=message_id))
        await draft.commit(Envelope(self._maker.contact, (EnvelopeRecipient(to),)))
        self._journey.tell(
            "tls-report", draft.queue_id, domain=report.domain, to=str(to), report=report.identity
        )
