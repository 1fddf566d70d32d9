"""DMARC reports by way of the real queue: signed, handed in once, known again after a crash."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dictionary_resolver import DictionaryResolver
from process import to_toml
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from twisted_mta.journey.bus import Journey
from twisted_mta.message.headers import header_end
from twisted_mta.queue.ids import encode
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.service.options.config import load
from twisted_mta.service.wiring.dkim import Signing
from twisted_mta.service.wiring.dmarc import build_dmarc
from twisted_mta.trust.check import Incoming, Verdict
from twisted_mta.trust.dkim.keyring import DIRECTORY, Keyring
from twisted_mta.trust.dkim.verify import DkimResult, Verification
from twisted_mta.trust.dmarc.discovery import Discovered
from twisted_mta.trust.dmarc.evaluate import DmarcResult
from twisted_mta.trust.dmarc.record import parse_record
from twisted_mta.trust.dmarc.reports.database import Dispatch, DmarcDatabase
from twisted_mta.trust.dmarc.reports.ledger import DmarcLedger
from twisted_mta.trust.dmarc.reports.report_mail import find_report
from twisted_mta.trust.dmarc.reports.reporting import DmarcReporting
from twisted_mta.trust.policy import Conclusion
from twisted_mta.trust.spf.check import SpfResult

TABLE = {
    "hostname": "mx.a.test",
    "data_dir": "data",
    "domains": ["a.test"],
    "listen": {"smtp": ["127.0.0.1:25"]},
    "dkim": {"algorithms": ["ed25519"], "check_dns": False},
}


class TestWithTheQueue(TestCase):
    async def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name)
        (path / "data").mkdir(mode=0o700)
        (path / "mta.toml").write_text(to_toml(TABLE))
        self.config = load(path / "mta.toml")
        self.data = path / "data"
        self.resolver = DictionaryResolver(texts={"mx.a.test": ["v=spf1 -all"]})
        self.queue = MailQueue(self.data / "queue", reactor=reactor)
        signing = Signing(
            self.config,
            queue=self.queue,
            is_ours=self.config.domains.__contains__,
            resolver=self.resolver,
            reactor=reactor,
        )
        self.dmarc = build_dmarc(
            self.config,
            resolver=self.resolver,
            queue=self.queue,
            intake=signing.own,
            journey=Journey(),
            reactor=reactor,
        )
        ((_, keys),) = signing.parts
        for part in (keys, self.queue):
            await part.start()
            self.addCleanup(lambda part=part: Deferred.fromCoroutine(part.stop()))
        await keys.look()
        self.ledger, self.reporting = (part for _, part in self.dmarc.parts)
        assert isinstance(self.ledger, DmarcLedger) and isinstance(self.reporting, DmarcReporting)
        await self.ledger.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.ledger.stop()))

    async def queued(self) -> list[tuple[str, bytes]]:
        page = await self.queue.due((0.0, 0), 1e12, 10)
        found = []
        for each in page.recipients:
            message = await self.queue.message(each.message)
            assert message is not None and message.reverse_path is None
            found.append((encode(each.message), b"".join(message.content.chunks())))
        return found

    async def a_day_ago(self) -> None:
        """A message was judged, yesterday or the day before, so that the report on it is due."""
        found = Discovered("b.test", parse_record("v=DMARC1; p=none; rua=mailto:dmarc@b.test"), "b.test")
        assert self.dmarc.hear is not None
        self.dmarc.hear(
            Incoming(
                "192.0.2.1",
                spf=SpfResult("pass", "b.test"),
                dmarc=DmarcResult("pass", "", "none", "b.test", found),
            ),
            Conclusion(Verdict()),
        )
        await self.ledger.written()

        def back(database: DmarcDatabase) -> None:
            for table in ("policy", "observation"):
                database._execute(f"UPDATE {table} SET day = day - 2")

        await self.ledger.run(back)

    async def test_it_is_signed_and_queued_once(self) -> None:
        await self.a_day_ago()
        await self.reporting.send_due()
        await self.reporting.send_due()
        ((_, content),) = await self.queued()
        report = find_report(content)
        assert report is not None and report.messages == 1
        assert [each.result for each in await self.verified(content)] == ["pass"]

    async def verified(self, content: bytes) -> list[DkimResult]:
        keyring = Keyring(self.data / DIRECTORY)
        (key,) = keyring.stored("a.test")
        keyring.close()
        end = header_end(content)
        verification = Verification(content[:end])
        verification.feed(content[end:])
        resolver = DictionaryResolver(texts={f"{key.selector}._domainkey.a.test": [key.record]})
        return await verification.results(resolver, reactor.seconds)  # type: ignore[attr-defined]

    async def test_after_a_crash_the_queue_is_asked(self) -> None:
        await self.a_day_ago()
        await self.reporting.send_due()
        ((queue_id, _),) = await self.queued()
        await self.a_day_ago()
        ((day, domain),) = await self.ledger.run(lambda database: database.days_to_report(10**6))
        for known, wanted in (("0" * 13, 0), (queue_id, 1)):
            dispatch = Dispatch(known, False)
            await self.ledger.run(
                lambda database, one=dispatch: database.keep_dispatch(day, domain, "dmarc@b.test", one)
            )
            await self.reporting.start()
            await self.reporting.stop()
            done = await self.ledger.run(lambda database: database.dispatched(day, domain))
            assert len(done) == wanted
        await self.reporting.send_due()
        assert len(await self.queued()) == 1
