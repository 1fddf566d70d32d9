"""What was seen of mail in the name of others, on its way into `dmarc.sqlite` (RFC 7489 §7.2).

The judgement tells in memory alone; a thread of its own writes once a minute and when the server stops. A
crash costs a minute of figures. Messages that are alike are one row with a number, so that a flood of them
costs no more than a few; what is too varied for the bounds is left out, and the log says how much.

Mail with nothing but reports in it is not counted: two servers would tell each other of their reports for
ever.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from twisted_mta.database_thread import DatabaseThread
from twisted_mta.message.address import Address
from twisted_mta.trust.check import Incoming
from twisted_mta.trust.dkim.verify import DkimResult
from twisted_mta.trust.dmarc.evaluate import DmarcResult
from twisted_mta.trust.dmarc.record import DmarcRecord
from twisted_mta.trust.dmarc.reports.aggregate import (
    AggregateReport,
    DkimSeen,
    Observation,
    Published,
    SpfSeen,
)
from twisted_mta.trust.dmarc.reports.database import Day, DmarcDatabase, Policy
from twisted_mta.trust.policy import Conclusion
from twisted_mta.trust.spf.check import SpfResult

T = TypeVar("T")

DAY = 86400
WRITTEN_EVERY = 60.0  # seconds
MOST_PENDING = 20_000  # different observations, until they are written
MOST_SIGNATURES = 10  # in one row
LONGEST_NAME = 255  # octets of a domain


class DmarcLedger:
    """path: of the database. reactor: its clock is the wall clock, unless `clock` is given. `for_reports`:
    our addresses that get reports; mail for them alone is not counted. `keep`: seconds that the reports of
    others are kept."""

    log = Logger(namespace="twisted_mta.dmarc")

    def __init__(
        self,
        path: Path,
        *,
        reactor: Any,
        keep: float = 365.0 * DAY,
        for_reports: Collection[Address] = (),
        clock: IReactorTime | None = None,
    ) -> None:
        self._path = path
        self._keep = keep
        self._for_reports = {address.key for address in for_reports}
        self._clock = IReactorTime(reactor) if clock is None else clock
        self._thread: DatabaseThread[DmarcDatabase] = DatabaseThread("dmarc", reactor=reactor)
        self._policies: dict[Day, Policy] = {}
        self._seen: Counter[tuple[int, str, Observation]] = Counter()
        self._left_out = 0
        self._writing = LoopingCall(self.written)
        self._writing.clock = self._clock

    async def start(self) -> None:
        """Open the database. Raises sqlite3.Error."""

        def damaged(aside: Path) -> None:
            self.log.error("{path} was damaged and is now {aside}", path=self._path, aside=aside)

        await self._thread.start(lambda: DmarcDatabase(self._path, damaged=damaged))
        done = self._writing.start(WRITTEN_EVERY, now=False)
        done.addErrback(lambda failure: self.log.failure("no more is written", failure=failure))

    async def stop(self) -> None:
        """Write what there is, and close."""
        if self._writing.running:
            self._writing.stop()
        await self.written()
        await self._thread.stop()

    def seconds(self) -> float:
        """The time, since the epoch."""
        return self._clock.seconds()

    def run(self, work: Callable[[DmarcDatabase], T]) -> Deferred[T]:
        """Something with the database, in its thread."""
        return self._thread.run(work)

    async def keep_report(self, report: AggregateReport, sender: str) -> bool:
        """One of others, that DMARC proved to be sent by that domain, "" for none; and forget those that are
        too old. False when it was there already. Raises sqlite3.Error."""
        now = self.seconds()
        return await self.run(
            lambda database: database.keep_report(report, now, sender=sender, oldest=now - self._keep)
        )

    # What is seen

    def hear(self, message: Incoming, concluded: Conclusion) -> None:
        """A message was taken, or refused for good. In memory alone; never raises."""
        if message.dmarc is None or message.spf is None or self._is_for_reports(message):
            return
        if not message.address:  # without one there is nothing to report (RFC 7489 appendix C)
            return
        path = message.reverse_path
        self.record(
            message.dmarc,
            spf=message.spf,
            dkim=message.dkim,
            client=message.address,
            envelope_from="" if path is None or path.is_literal else path.domain,
            disposition=concluded.disposition,
            override=concluded.override,
            comment=concluded.comment,
        )

    def record(
        self,
        result: DmarcResult,
        *,
        spf: SpfResult,
        dkim: Sequence[DkimResult],
        client: str,
        envelope_from: str,
        disposition: str,
        override: str = "",
        comment: str = "",
    ) -> None:
        """See `hear`. `client`: an IP address. `envelope_from`: a domain, "" for the null path. Nothing is
        kept when there was no policy, or its domain wants no reports."""
        found = result.found
        if found is None or found.record is None or not found.record.reports:
            return
        day = int(self.seconds() // DAY)
        observation = Observation(
            client,
            disposition,
            bool(result.aligned_dkim),
            bool(result.aligned_spf),
            result.author,
            envelope_from,
            override,
            comment,
            _signatures(result, dkim),
            SpfSeen(spf.domain[:LONGEST_NAME], "mfrom" if envelope_from else "helo", spf.result),
        )
        key = (day, found.domain, observation)
        if key not in self._seen and len(self._seen) >= MOST_PENDING:
            self._left_out += 1
            return
        self._seen[key] += 1
        policy = Policy(_published(found.domain, found.record), found.record.reports)
        self._policies[day, found.domain] = policy

    def _is_for_reports(self, message: Incoming) -> bool:
        return bool(message.forward_paths) and all(
            path.key in self._for_reports for path in message.forward_paths
        )

    async def written(self) -> None:
        """Returns when everything that was told so far is on disk, or the disk has failed."""
        if not self._thread.is_open or not self._seen:
            return
        policies, self._policies = self._policies, {}
        seen, self._seen = self._seen, Counter()
        left_out, self._left_out = self._left_out, 0
        try:
            left_out += await self.run(lambda database: database.add(policies, seen))
        except sqlite3.Error as error:
            self.log.error("what was seen of DMARC cannot be written: {error}", error=error)
            if len(self._seen) + len(seen) <= 2 * MOST_PENDING:
                self._policies = {**policies, **self._policies}
                self._seen += seen
        if left_out:
            self.log.warn("{count} rows are missing in DMARC reports: too many", count=left_out)


def _signatures(result: DmarcResult, dkim: Sequence[DkimResult]) -> tuple[DkimSeen, ...]:
    """What says most comes first: what is aligned, what passed (§7.2 does not say; its successor does)."""
    named = [each for each in dkim if each.domain and each.selector]
    named.sort(
        key=lambda each: (
            each.result != "pass",
            each.domain != result.author,
            each.domain != result.aligned_dkim,
        )
    )
    return tuple(
        DkimSeen(each.domain[:LONGEST_NAME], each.selector[:LONGEST_NAME], each.result)
        for each in named[:MOST_SIGNATURES]
    )


def _published(domain: str, record: DmarcRecord) -> Published:
    return Published(
        domain,
        record.policy,
        record.subdomains,
        record.missing,
        "s" if record.strict_dkim else "r",
        "s" if record.strict_spf else "r",
        record.percent,
        record.testing,
        record.failures,
    )
