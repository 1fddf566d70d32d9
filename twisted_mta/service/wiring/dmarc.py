"""DMARC reports, made from the configuration: those that we send, and those that come in."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from twisted_mta.directory.snapshot import POSTMASTER
from twisted_mta.interfaces import IIntake, IResolver
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.service.in_queue import is_queued
from twisted_mta.service.options.config import Config
from twisted_mta.transfer.mta.report_intake import ReportKind
from twisted_mta.trust.dmarc.reports.database import DATABASE
from twisted_mta.trust.dmarc.reports.incoming_reports import IncomingDmarcReports
from twisted_mta.trust.dmarc.reports.ledger import DmarcLedger
from twisted_mta.trust.dmarc.reports.reporting import DmarcReporting, Reporter
from twisted_mta.trust.judgement import Hear


@dataclass
class DmarcReporters:
    """`hear` is to be told of every message that was judged, unless it is None. `expected`: which reports
    come in where. `parts` in the order to start them, behind the queue and before anything is delivered from
    it."""

    hear: Hear | None = None
    expected: list[tuple[Address, ReportKind]] = field(default_factory=list)
    parts: list[tuple[str, Any]] = field(default_factory=list)


def build_dmarc(
    config: Config, *, resolver: IResolver, queue: MailQueue, intake: IIntake, journey: Journey, reactor: Any
) -> DmarcReporters:
    """intake: that our reports go into, in front of the queue."""
    reports = config.dmarc_reports
    contact = reports.contact.address if reports.contact else Address(POSTMASTER, config.domains[0])
    built = DmarcReporters()
    if not reports.send and reports.receive is None:
        return built
    receiving = [each.address for each in (reports.receive, config.tls_reports.receive) if each is not None]
    ledger = DmarcLedger(
        Path(config.data_dir) / DATABASE,
        reactor=reactor,
        keep=reports.keep,
        for_reports=receiving,
    )
    built.parts.append(("DMARC reports", ledger))
    if reports.receive is not None:
        built.expected.append(
            (reports.receive.address, IncomingDmarcReports(ledger, journey, config.domains, config.hostname))
        )
    if reports.send:
        built.hear = ledger.hear
        reporting = DmarcReporting(
            reporter=Reporter(config.hostname, contact),
            ledger=ledger,
            resolver=resolver,
            intake=intake,
            queued=partial(is_queued, queue),
            journey=journey,
            reactor=reactor,
        )
        built.parts.append(("DMARC reporting", reporting))
    return built
