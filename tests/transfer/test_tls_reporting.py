"""Reports on their way: ours to those who ask, by mail and HTTPS, and theirs to us."""

import gzip
import json
import random
import tempfile
import zlib
from pathlib import Path

from certificates import authority
from dictionary_resolver import FAILURE, DictionaryResolver
from dispatch_house import DELAYED, DELIVERED, Deliverer
from policy_host import PolicyHost
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from twisted_mta.https import HttpsClient
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.outcome import QueuedMessage, QueuedRecipient
from twisted_mta.message.status import MailError
from twisted_mta.transfer.mta.report_intake import ReportIntake
from twisted_mta.transfer.mta.tls.findings import Finding, ReportedPolicy
from twisted_mta.transfer.mta.tls.incoming_reports import IncomingTlsReports
from twisted_mta.transfer.mta.tls.ledger import DAY, TlsLedger
from twisted_mta.transfer.mta.tls.received_report import find_report, read_report
from twisted_mta.transfer.mta.tls.reporting import LATEST, TlsReporting
from twisted_mta.transfer.mta.tls.tls_report import Maker, as_mail, make_report

MAKER = Maker("mx.a.test", Address.parse("postmaster@a.test"))
SUCCESS = Finding(ReportedPolicy("no-policy-found", "b.test"))
FAILURE_ = Finding(ReportedPolicy("sts", "b.test"), "certificate-expired", "mx.b.test", "192.0.2.1")


class Intake:
    """What comes into the queue; `full`: nothing does."""

    def __init__(self):
        self.messages = []
        self.full = False

    def draft(self, queue_id=""):
        return Draft(self)


class Draft:
    queue_id = "Q1"

    def __init__(self, intake):
        self.intake = intake
        self.data = b""

    async def write(self, data):
        self.data += data

    async def commit(self, envelope, head=b""):
        if self.intake.full:
            raise MailError(452, "4.3.1", "disk full")
        self.intake.messages.append(
            (str(envelope.reverse_path), [str(r.forward_path) for r in envelope.recipients], self.data)
        )


class ReportingCase(TestCase):
    async def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "tls.sqlite"
        self.clock = Clock()
        self.clock.advance(20_000 * DAY + 100)
        self.journey = Journey()
        self.events = []
        self.journey.add_reader(self.events.append)
        self.ledger = TlsLedger(self.path, reactor=reactor, clock=self.clock)
        await self.ledger.start()
        self.addCleanup(self.stop)

    async def stop(self):
        await self.ledger.stop()


class TestSending(ReportingCase):
    async def setUp(self):
        await super().setUp()
        self.web = PolicyHost("tls.b.test")
        self.addCleanup(self.web.close)
        self.texts = {"_smtp._tls.b.test": ["v=TLSRPTv1; rua=mailto:tls@b.test"]}
        self.resolver = DictionaryResolver(hosts={"tls.b.test": ["127.0.0.1"]}, texts=self.texts)
        self.intake = Intake()
        self.reporting = self.reporter()

    def reporter(self):
        https = HttpsClient(
            reactor=reactor, resolver=self.resolver, trust_root=authority().certificate, port=self.web.port
        )
        return TlsReporting(
            maker=MAKER,
            ledger=self.ledger,
            resolver=self.resolver,
            https=https,
            intake=self.intake,
            journey=self.journey,
            reactor=self.clock,
            randomness=random.Random(1),
        )

    async def day_over(self):
        self.ledger.count(SUCCESS)
        self.ledger.count(SUCCESS)
        self.ledger.count(FAILURE_)
        self.clock.advance(DAY + LATEST)
        await self.reporting.send_due()

    async def left(self):
        return await self.ledger.run(lambda database: database.days_with_findings(10**6))

    async def test_by_mail(self):
        await self.day_over()
        ((sender, to, data),) = self.intake.messages
        assert (sender, to) == ("postmaster@a.test", ["tls@b.test"])
        report = read_report(find_report(data))
        assert (report.successes, report.failures, report.begins) == (2, 1, "2024-10-04T00:00:00Z")
        assert [event.stage for event in self.events] == ["tls-report"]
        assert await self.left() == []
        await self.reporting.send_due()
        assert len(self.intake.messages) == 1

    async def test_by_https(self):
        self.texts["_smtp._tls.b.test"] = ["v=TLSRPTv1; rua=https://tls.b.test/reports?x=1"]
        await self.day_over()
        ((method, path, body),) = self.web.requests
        assert (method, path) == ("POST", "/reports?x=1")
        assert self.web.headers["content-type"] == "application/tlsrpt+gzip"
        assert read_report(gzip.decompress(body)).successes == 2
        assert await self.left() == []

    async def test_a_post_that_fails_is_tried_again_and_the_mail_not_sent_twice(self):
        self.texts["_smtp._tls.b.test"] = ["v=TLSRPTv1; rua=mailto:tls@b.test,https://tls.b.test/"]
        self.web.status = 503
        await self.day_over()
        await self.reporting.send_due()
        assert len(self.web.requests) == 2 and len(self.intake.messages) == 1
        self.web.status = 201
        await self.reporting.send_due()
        assert len(self.web.requests) == 3 and len(self.intake.messages) == 1
        assert await self.left() == []

    async def test_it_is_given_up_in_the_end(self):
        self.intake.full = True
        await self.day_over()
        assert len(await self.left()) == 1
        self.clock.advance(3 * DAY)
        await self.reporting.send_due()
        assert await self.left() == []

    async def test_nobody_asks(self):
        for texts in (None, [], ["v=TLSRPTv1;"]):
            self.texts["_smtp._tls.b.test"] = texts
            await self.day_over()
        assert self.intake.messages == [] and await self.left() == []

    async def test_the_dns_does_not_answer(self):
        self.texts["_smtp._tls.b.test"] = FAILURE
        await self.day_over()
        assert len(await self.left()) == 1

    async def test_one_that_cannot_be_made_does_not_end_the_others(self):
        self.texts["_smtp._tls.a.test"] = self.texts["_smtp._tls.b.test"]
        self.ledger.count(Finding(ReportedPolicy("no-policy-found", "a.test")))
        self.patch(self.reporting, "_mail", self.fail_once)
        await self.day_over()
        assert [name for name, _ in self.mailed] == ["a.test", "b.test"] and await self.left() == []
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    async def fail_once(self, report, to):
        self.mailed = [*getattr(self, "mailed", []), (report.domain, to)]
        if len(self.mailed) == 1:
            raise ZeroDivisionError

    async def test_a_day_must_be_over(self):
        self.ledger.count(SUCCESS)
        await self.reporting.send_due()
        assert self.intake.messages == [] and len(await self.left()) == 1

    async def test_findings_outlive_a_restart(self):
        self.ledger.count(SUCCESS)
        await self.ledger.stop()
        self.ledger = TlsLedger(self.path, reactor=reactor, clock=self.clock)
        await self.ledger.start()
        self.reporting = self.reporter()
        self.ledger.count(SUCCESS)
        self.clock.advance(DAY + LATEST)
        await self.reporting.send_due()
        assert read_report(find_report(self.intake.messages[0][2])).successes == 2


class TestReceiving(ReportingCase):
    TO = Address.parse("TLS@a.test")

    async def setUp(self):
        await super().setUp()
        self.local = Deliverer()
        self.local.always = DELIVERED
        self.kind = IncomingTlsReports(self.ledger, self.journey)
        self.intake = ReportIntake(self.local, [(Address.parse("tls@a.test"), self.kind)])

    async def deliver(self, data, *, to=TO, path=None):
        message = QueuedMessage("Q1", None, 0.0, Content(b"Received: x\r\n", data, path))
        return await self.intake.deliver(message, [QueuedRecipient(1, to)])

    def mail(self, identity=1):
        report = make_report(MAKER, "a.test", identity, [(FAILURE_, 3), (SUCCESS, 4)])
        return as_mail(report, self.TO, now=0.0, message_id="Q@mx.a.test")

    async def kept(self):
        return await self.ledger.run(lambda database: database.reports(0.0))

    async def test_a_report_is_kept_and_the_mail_delivered(self):
        assert await self.deliver(self.mail()) == [DELIVERED]
        (report,) = await self.kept()
        assert (report.organization, report.successes, report.failures) == ("mx.a.test", 4, 3)
        assert json.loads(report.body)["contact-info"] == "postmaster@a.test"
        assert [event.stage for event in self.events] == ["tls-reported"]
        await self.deliver(self.mail())
        assert len(await self.kept()) == 1
        await self.deliver(self.mail(identity=2))
        assert len(await self.kept()) == 2

    async def test_from_a_spool_file(self):
        path = self.path.with_name("spooled")
        path.write_bytes(self.mail())
        await self.deliver(b"", path=path)
        assert len(await self.kept()) == 1
        path.unlink()
        assert await self.deliver(b"", path=path) == [DELIVERED]

    async def test_other_mail_is_just_mail(self):
        for data in (b"Subject: hello\r\n\r\nHello\r\n", self.mail().replace(b"H4sI", b"XXXX")):
            assert await self.deliver(data) == [DELIVERED]
        assert await self.deliver(self.mail(), to=Address.parse("bob@a.test")) == [DELIVERED]
        assert await self.kept() == []

    async def test_more_sessions_than_a_database_can_count(self):
        policy = {
            "policy": {"policy-domain": "a.test"},
            "summary": {"total-successful-session-count": 2**40, "total-failure-session-count": 0},
        }
        report = {
            "organization-name": "x",
            "report-id": "1",
            "date-range": {"start-datetime": "2026-01-01T00:00:00Z"},
            "policies": [policy] * 2,
        }
        mail = b"Content-Type: application/tlsrpt+json\r\n\r\n" + json.dumps(report).encode()
        assert await self.deliver(mail) == [DELIVERED]
        assert await self.kept() == []
        report["policies"].pop()
        mail = b"Content-Type: application/tlsrpt+json\r\n\r\n" + json.dumps(report).encode()
        assert await self.deliver(mail) == [DELIVERED]
        assert [each.successes for each in await self.kept()] == [2**40]

    async def test_an_accident_with_a_report_is_none_of_the_delivery(self):
        class Kind:
            name = "strange"

            def read(self, message):
                return message

            async def keep(self, report, queue_id):
                raise OverflowError("too large to convert")

        intake = ReportIntake(self.local, [(self.TO, Kind()), (self.TO, self.kind)])
        message = QueuedMessage("Q1", None, 0.0, Content(b"", self.mail()))
        assert await intake.deliver(message, [QueuedRecipient(1, self.TO)]) == [DELIVERED]
        assert len(self.flushLoggedErrors(OverflowError)) == 1
        assert len(await self.kept()) == 1

    async def test_what_was_not_delivered_is_not_looked_at_yet(self):
        self.local.always = DELAYED
        assert await self.deliver(self.mail()) == [DELAYED]
        assert await self.kept() == []

    async def test_a_bomb(self):
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        body = b"".join(packer.compress(bytes(2**20)) for _ in range(40)) + packer.flush()
        mail = b"Content-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: binary\r\n\r\n" + body
        assert await self.deliver(mail) == [DELIVERED]
        assert await self.kept() == []
