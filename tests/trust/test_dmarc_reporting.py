"""Aggregate reports on their way: ours to those who ask, theirs to us (RFC 7489 §7)."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from dictionary_resolver import FAILURE, DictionaryResolver
from dispatch_house import DELIVERED, Deliverer
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from twisted_mta.journey.bus import Journey, TraceEvent
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.outcome import QueuedMessage, QueuedRecipient
from twisted_mta.message.status import MailError
from twisted_mta.resolver import ResolutionError
from twisted_mta.transfer.mta import report_intake
from twisted_mta.transfer.mta.report_intake import ReportIntake
from twisted_mta.transfer.mta.tls.incoming_reports import IncomingTlsReports
from twisted_mta.transfer.mta.tls.ledger import TlsLedger
from twisted_mta.transfer.mta.tls.tls_report import Maker, make_report
from twisted_mta.transfer.mta.tls.tls_report import as_mail as as_tls_mail
from twisted_mta.trust.check import Incoming, Verdict
from twisted_mta.trust.dkim.verify import DkimResult
from twisted_mta.trust.dmarc.discovery import Discovered
from twisted_mta.trust.dmarc.evaluate import DmarcResult
from twisted_mta.trust.dmarc.record import ReportAddress, parse_record
from twisted_mta.trust.dmarc.reports import database as tables
from twisted_mta.trust.dmarc.reports.aggregate import (
    AggregateReport,
    DkimSeen,
    Observation,
    Published,
    SpfSeen,
)
from twisted_mta.trust.dmarc.reports.database import Dispatch, DmarcDatabase
from twisted_mta.trust.dmarc.reports.destinations import destinations
from twisted_mta.trust.dmarc.reports.incoming_reports import IncomingDmarcReports
from twisted_mta.trust.dmarc.reports.ledger import DAY, DmarcLedger
from twisted_mta.trust.dmarc.reports.report_mail import as_attachment, as_mail, find_report
from twisted_mta.trust.dmarc.reports.reporting import LOOK, PATIENCE, SPREAD, DmarcReporting, Reporter, due
from twisted_mta.trust.policy import Conclusion
from twisted_mta.trust.spf.check import SpfResult

CONTACT = Address.parse("postmaster@a.test")
TODAY = 20_000
RECORD = "v=DMARC1; p=reject; adkim=s; rua=mailto:dmarc@b.test"


def result(record: str = RECORD, *, author: str = "b.test", domain: str = "b.test") -> DmarcResult:
    found = Discovered(domain, parse_record(record), domain)
    return DmarcResult("pass", "", "reject", author, found, aligned_dkim=author)


def incoming(dmarc: DmarcResult | None = None, *, to: str = "bob@a.test", sender: str = "") -> Incoming:
    return Incoming(
        "192.0.2.7",
        reverse_path=Address.parse(sender) if sender else None,
        forward_paths=(Address.parse(to),),
        spf=SpfResult("pass", "mx.b.test"),
        dkim=[
            DkimResult("fail", "bad", "list.test", "x"),
            DkimResult("pass", "", "b.test", "s1"),
            DkimResult("permerror", "no domain"),
        ],
        dmarc=result() if dmarc is None else dmarc,
    )


ACCEPTED = Conclusion(Verdict())


class Intake:
    """What comes into the queue; `full`: nothing does; `killed`: fires when it has one, whose answer never
    comes."""

    def __init__(self) -> None:
        self.messages: dict[str, tuple[Any, bytes]] = {}
        self.full = False
        self.killed: Deferred[None] | None = None
        self.answer: Deferred[None] = Deferred()  # held here, so that who waits for it is not collected
        self.number = 0

    def draft(self, queue_id: str = "") -> Draft:
        self.number += 1
        return Draft(self, f"Q{self.number}")

    async def has(self, queue_id: str) -> bool:
        return queue_id in self.messages


class Draft:
    def __init__(self, intake: Intake, queue_id: str) -> None:
        self.intake = intake
        self.queue_id = queue_id
        self.data = b""

    async def write(self, data: bytes) -> None:
        self.data += data

    async def commit(self, envelope: Any, head: bytes = b"") -> None:
        if self.intake.full:
            raise MailError(452, "4.3.1", "disk full")
        self.intake.messages[self.queue_id] = (envelope, self.data)
        if self.intake.killed is not None:
            self.intake.killed.callback(None)
            await self.intake.answer

    def abort(self) -> None:
        self.data = b""


class House(TestCase):
    async def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "dmarc.sqlite"
        self.clock = Clock()
        self.clock.advance(TODAY * DAY + 100)
        self.journey = Journey()
        self.events: list[TraceEvent] = []
        self.journey.add_reader(self.events.append)
        self.texts: dict[str, Any] = {"mx.a.test": ["v=spf1 -all"]}
        self.resolver = DictionaryResolver(texts=self.texts)
        self.intake = Intake()
        self.ledger = await self.opened()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.ledger.stop()))
        self.reporting = self.reporter()

    async def opened(self) -> DmarcLedger:
        ledger = DmarcLedger(
            self.path, reactor=reactor, clock=self.clock, for_reports=[Address.parse("Reports@a.test")]
        )
        await ledger.start()
        return ledger

    def reporter(self) -> DmarcReporting:
        return DmarcReporting(
            reporter=Reporter("mx.a.test", CONTACT),
            ledger=self.ledger,
            resolver=self.resolver,
            intake=self.intake,  # type: ignore[arg-type]
            queued=self.intake.has,
            journey=self.journey,
            reactor=self.clock,
        )

    async def send(self) -> None:
        """A day later, when all is due."""
        self.clock.advance(DAY + SPREAD)
        await self.reporting.send_due()

    def sent(self) -> list[AggregateReport]:
        reports = [find_report(data) for _, data in self.intake.messages.values()]
        return [report for report in reports if report is not None]

    async def left(self) -> list[tuple[int, str]]:
        return await self.ledger.run(lambda database: database.days_to_report(10**6))


class TestCollecting(House):
    async def rows(self) -> tuple[tuple[Observation, int], ...]:
        await self.ledger.written()
        return await self.ledger.run(lambda database: database.observations(TODAY, "b.test"))

    async def test_what_is_alike_is_counted(self) -> None:
        for _ in range(3):
            self.ledger.hear(incoming(sender="x@List.test"), ACCEPTED)
        await self.ledger.written()
        self.ledger.hear(incoming(sender="x@list.test"), ACCEPTED)
        self.ledger.hear(incoming(), Conclusion(Verdict(), "quarantine", "local_policy", "by hand"))
        first, second = sorted(await self.rows(), key=lambda row: row[1], reverse=True)
        assert first[1] == 4 and second[1] == 1
        seen = first[0]
        assert (seen.source, seen.dkim, seen.spf, seen.header_from) == ("192.0.2.7", True, False, "b.test")
        assert seen.signatures == (DkimSeen("b.test", "s1", "pass"), DkimSeen("list.test", "x", "fail"))
        assert seen.envelope_from == "list.test" and seen.sender == SpfSeen("mx.b.test", "mfrom", "pass")
        assert (second[0].disposition, second[0].override) == ("quarantine", "local_policy")
        assert second[0].sender == SpfSeen("mx.b.test", "helo", "pass") and not second[0].envelope_from
        policy = await self.ledger.run(lambda database: database.policy(TODAY, "b.test"))
        assert policy is not None and policy.addresses == (ReportAddress("dmarc@b.test"),)
        assert policy.published == Published("b.test", "reject", "reject", "reject", "s")

    async def test_what_nobody_wants_to_know(self) -> None:
        for message in (
            incoming(result("v=DMARC1; p=reject")),
            incoming(DmarcResult("none", found=Discovered("", None, "b.test"))),
            incoming(DmarcResult("permerror")),
            incoming(to="REPORTS@a.test"),  # or two servers report on their reports for ever
            Incoming("192.0.2.7"),
        ):
            self.ledger.hear(message, ACCEPTED)
        assert await self.rows() == ()

    async def test_the_last_policy_of_a_day_counts(self) -> None:
        self.ledger.hear(incoming(result("v=DMARC1; p=none; rua=mailto:x@b.test")), ACCEPTED)
        await self.ledger.written()
        self.ledger.hear(incoming(), ACCEPTED)
        await self.ledger.written()
        policy = await self.ledger.run(lambda database: database.policy(TODAY, "b.test"))
        assert policy is not None and policy.published.p == "reject"

    async def test_there_are_bounds(self) -> None:
        self.patch(tables, "MOST_ROWS_OF_A_DOMAIN", 3)
        self.patch(tables, "MOST_ROWS_OF_A_DAY", 4)
        for domain in ("b.test", "c.test"):
            for number in range(5):
                message = incoming(result(author=f"x{number}.{domain}", domain=domain))
                self.ledger.hear(message, ACCEPTED)
                self.ledger.hear(message, ACCEPTED)
        assert [count for _, count in await self.rows()] == [2, 2, 2]
        others = await self.ledger.run(lambda database: database.observations(TODAY, "c.test"))
        assert [count for _, count in others] == [2]
        self.ledger.hear(incoming(result(author="x1.b.test")), ACCEPTED)
        assert sum(count for _, count in await self.rows()) == 7
        self.ledger.hear(incoming(result(author="d.test", domain="d.test")), ACCEPTED)
        await self.ledger.written()
        assert await self.left() == [(TODAY, "b.test"), (TODAY, "c.test")]

    async def test_there_is_a_bound_for_domains(self) -> None:
        self.patch(tables, "MOST_DOMAINS_OF_A_DAY", 2)
        for domain in ("b.test", "c.test", "d.test", "b.test"):
            self.ledger.hear(incoming(result(author=f"x.{domain}", domain=domain)), ACCEPTED)
            await self.ledger.written()
            self.ledger.hear(incoming(result(author=domain, domain=domain)), ACCEPTED)
        await self.ledger.written()
        assert await self.left() == [(TODAY, "b.test"), (TODAY, "c.test")]
        assert sorted(count for _, count in await self.rows()) == [2, 2]

    async def test_it_outlives_a_restart(self) -> None:
        self.ledger.hear(incoming(), ACCEPTED)
        await self.ledger.stop()
        self.ledger = await self.opened()
        self.ledger.hear(incoming(), ACCEPTED)
        assert [count for _, count in await self.rows()] == [2]

    async def test_a_damaged_file_is_set_aside(self) -> None:
        await self.ledger.stop()
        self.path.write_bytes(b"not a database at all" * 100)
        self.ledger = await self.opened()
        self.ledger.hear(incoming(), ACCEPTED)
        assert len(await self.rows()) == 1 and self.path.with_suffix(".sqlite.damaged").exists()


class TestSending(House):
    async def test_the_report_of_a_day(self) -> None:
        self.ledger.hear(incoming(), ACCEPTED)
        self.ledger.hear(incoming(result(author="x.b.test")), ACCEPTED)
        self.ledger.hear(incoming(), ACCEPTED)
        await self.send()
        ((envelope, _),) = self.intake.messages.values()
        assert envelope.reverse_path is None and envelope.recipients[0].notify == {"NEVER"}
        assert [str(path) for path in envelope.forward_paths] == ["dmarc@b.test"]
        (report,) = self.sent()
        assert report.identity == "2024-10-04.b.test@mx.a.test" and report.messages == 3
        assert (report.begins, report.ends) == (TODAY * DAY, TODAY * DAY + DAY - 1)
        assert {seen.header_from: count for seen, count in report.rows} == {"b.test": 2, "x.b.test": 1}
        assert [event.stage for event in self.events] == ["dmarc-report"] and await self.left() == []
        await self.reporting.send_due()
        assert len(self.intake.messages) == 1

    async def test_it_is_spread_over_the_day(self) -> None:
        times = [due("mx.a.test", TODAY, f"{n}.test") - (TODAY + 1) * DAY for n in range(500)]
        assert min(times) >= 0 and max(times) < SPREAD and len({int(time / 3600) for time in times}) == 20
        assert due("mx.b.test", TODAY, "1.test") != due("mx.a.test", TODAY, "1.test")
        self.ledger.hear(incoming(), ACCEPTED)
        when = due("mx.a.test", TODAY, "b.test")
        self.clock.advance(when - self.clock.seconds() - 1)
        await self.reporting.send_due()
        assert not self.intake.messages and len(await self.left()) == 1
        self.clock.advance(1)
        await self.reporting.send_due()
        assert len(self.intake.messages) == 1

    async def test_today_waits(self) -> None:
        self.ledger.hear(incoming(), ACCEPTED)
        await self.send()
        self.ledger.hear(incoming(), ACCEPTED)
        await self.reporting.send_due()
        assert len(self.intake.messages) == 1 and len(await self.left()) == 1

    async def test_the_queue_is_full(self) -> None:
        self.ledger.hear(incoming(), ACCEPTED)
        self.intake.full = True
        await self.send()
        assert len(await self.left()) == 1
        self.intake.full = False
        await self.reporting.send_due()
        assert len(self.sent()) == 1 and await self.left() == []

    async def test_it_is_given_up_in_the_end(self) -> None:
        self.ledger.hear(incoming(), ACCEPTED)
        self.intake.full = True
        await self.send()
        self.clock.advance(2 * DAY)
        await self.reporting.send_due()
        assert await self.left() == []

    async def test_the_dns_does_not_answer(self) -> None:
        self.ledger.hear(incoming(result("v=DMARC1; p=none; rua=mailto:x@c.test,mailto:x@b.test")), ACCEPTED)
        self.texts["b.test._report._dmarc.c.test"] = FAILURE
        await self.send()
        assert [str(e.forward_paths[0]) for e, _ in self.intake.messages.values()] == ["x@b.test"]
        assert len(await self.left()) == 1
        self.texts["b.test._report._dmarc.c.test"] = ["v=DMARC1"]
        await self.reporting.send_due()
        assert [str(e.forward_paths[0]) for e, _ in self.intake.messages.values()] == ["x@b.test", "x@c.test"]
        assert await self.left() == []

    async def test_a_dns_that_is_slow_holds_up_nobody_else(self) -> None:
        for domain in ("b.test", "c.test"):
            record = f"v=DMARC1; p=none; rua=mailto:x@mail.{domain}"
            self.ledger.hear(incoming(result(record, domain=domain)), ACCEPTED)
        answer = self.resolver.txt

        async def slow(name: str) -> Any:
            return await Deferred() if name.endswith("b.test") else await answer(name)

        self.patch(self.resolver, "txt", slow)
        sent: Deferred[None] = Deferred()
        self.journey.add_reader(lambda event: sent.callback(None))
        self.clock.advance(DAY + SPREAD)
        sending = Deferred.fromCoroutine(self.reporting.send_due())
        await sent
        self.clock.advance(PATIENCE)
        await sending
        assert [report.published.domain for report in self.sent()] == ["c.test"]
        assert await self.left() == [(TODAY, "b.test")]

    async def test_there_is_a_bound(self) -> None:
        record = "v=DMARC1; p=none; rua=" + ",".join(f"mailto:x{n}@b.test,mailto:x0@b.test" for n in range(5))
        self.ledger.hear(incoming(result(record + ",mailto:y@b.test")), ACCEPTED)
        other = "v=DMARC1; rua=" + ",".join(f"mailto:y{n}@c.test" for n in range(9))
        self.texts["d.test._report._dmarc.c.test"] = [other]
        self.ledger.hear(incoming(result("v=DMARC1; p=none; rua=mailto:x@c.test", domain="d.test")), ACCEPTED)
        await self.send()
        to = [str(envelope.forward_paths[0]) for envelope, _ in self.intake.messages.values()]
        assert sorted(to) == [f"x{n}@b.test" for n in range(5)] + [f"y{n}@c.test" for n in range(5)]
        assert await self.left() == []

    async def test_several_addresses(self) -> None:
        self.texts["b.test._report._dmarc.c.test"] = ["v=DMARC1"]
        record = "v=DMARC1; p=none; rua=mailto:x@c.test,mailto:x@b.test,mailto:x@d.test,mailto:y@b.test!1k"
        self.ledger.hear(incoming(result(record)), ACCEPTED)
        await self.send()
        assert [str(e.forward_paths[0]) for e, _ in self.intake.messages.values()] == ["x@c.test", "x@b.test"]
        assert await self.left() == []

    async def test_one_that_cannot_be_made_does_not_end_the_others(self) -> None:
        for domain in ("a.test", "b.test"):
            self.ledger.hear(incoming(result(domain=domain)), ACCEPTED)
        self.texts["a.test._report._dmarc.b.test"] = ["v=DMARC1"]
        self.patch(self.resolver, "txt", self.fail_once)
        await self.send()
        assert len(self.sent()) == 1 and await self.left() == []
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    async def fail_once(self, name: str) -> None:
        self.patch(self.resolver, "txt", DictionaryResolver(texts=self.texts).txt)
        raise ZeroDivisionError

    async def test_a_kill_behind_the_queue_s_commit(self) -> None:
        """The queue has it, the ledger does not know: it is not sent again."""
        await self.killed(reached_the_queue=True)
        assert len(self.intake.messages) == 1

    async def test_a_kill_in_front_of_the_queue_s_commit(self) -> None:
        await self.killed(reached_the_queue=False)
        assert list(self.intake.messages) == ["Q2"]

    async def killed(self, *, reached_the_queue: bool) -> None:
        self.ledger.hear(incoming(), ACCEPTED)
        self.intake.killed = Deferred()
        Deferred.fromCoroutine(self.send())
        await self.intake.killed
        self.intake.killed = None
        if not reached_the_queue:
            self.intake.messages.clear()
        await self.ledger.stop()
        self.ledger = await self.opened()
        self.reporting = self.reporter()
        await self.reporting.start()
        await self.reporting.stop()
        await self.reporting.send_due()
        assert await self.left() == [] and len(self.sent()) == 1

    async def test_it_looks_by_itself(self) -> None:
        self.ledger.hear(incoming(), ACCEPTED)
        self.clock.advance(DAY + SPREAD)
        looked: Deferred[None] = Deferred()
        original = self.reporting.send_due

        async def looking() -> None:
            await original()
            looked.callback(None)

        self.reporting._looking.f = looking
        await self.reporting.start()
        self.clock.advance(LOOK)
        await looked
        await self.reporting.stop()
        assert len(self.sent()) == 1


def welcome(texts: dict[str, Any], wanted: str, *, domain: str = "b.test") -> list[str]:
    results: list[Any] = []
    Deferred.fromCoroutine(
        destinations(domain, ReportAddress(wanted), DictionaryResolver(texts=texts))
    ).addBoth(results.append)
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return [str(address) for address, _ in results[0]]


SOMEBODY = "b.test._report._dmarc.c.test"


@pytest.mark.parametrize(
    ("texts", "wanted", "found"),
    [
        ({}, "x@b.test", ["x@b.test"]),
        ({}, "x@mail.b.test", ["x@mail.b.test"]),
        ({}, "x@c.test", []),
        ({SOMEBODY: ["v=DMARC1"]}, "x@c.test", ["x@c.test"]),
        ({SOMEBODY: ["v=DMARC1;"]}, "x@c.test", ["x@c.test"]),
        ({SOMEBODY: ["v=spf1 -all"]}, "x@c.test", []),
        ({SOMEBODY: ["v=DMARC1; nonsense"]}, "x@c.test", ["x@c.test"]),
        ({SOMEBODY: ["v=DMARC1; p=none; p=none"]}, "x@c.test", []),
        ({SOMEBODY: ["v=spf1", "v=DMARC1"]}, "x@c.test", ["x@c.test"]),
        ({SOMEBODY: ["v=DMARC1; rua=mailto:y@c.test"]}, "x@c.test", ["y@c.test"]),
        ({SOMEBODY: ["v=DMARC1; rua=mailto:y@d.test"]}, "x@c.test", []),
        ({SOMEBODY: ["v=DMARC1; rua=mailto:y@c.test,mailto:y@d.test"]}, "x@c.test", []),
        ({f"b.test._report._dmarc.{'c' * 60}.{'c' * 60}.{'c' * 60}.{'d' * 50}": ["v=DMARC1"]}, "x", []),
        ({}, "x@[192.0.2.1]", []),
        ({}, "nobody", []),
        ({}, "a\r\nBcc:x@b.test", []),
        ({}, "ä@b.test", []),
    ],
)
def test_who_may_have_a_report(texts: dict[str, Any], wanted: str, found: list[str]) -> None:
    assert welcome(texts, wanted) == found


def test_a_policy_above_and_a_name_that_is_too_long() -> None:
    host = ".".join(["c" * 60] * 4)
    assert welcome({f"b.test._report._dmarc.{host}": ["v=DMARC1"]}, f"x@{host}"[:254]) == []
    assert welcome({"_dmarc.b.test": ["v=DMARC1; p=none"]}, "x@b.test", domain="x.b.test") == ["x@b.test"]


def test_no_answer() -> None:
    with pytest.raises(ResolutionError):
        welcome({SOMEBODY: FAILURE}, "x@c.test")


@given(st.text(max_size=30), st.lists(st.text(max_size=30), max_size=3))
def test_any_address_and_any_answer(wanted: str, texts: list[str]) -> None:
    records = {SOMEBODY: ["v=DMARC1; " + text for text in texts]}
    for address in (
        *welcome(records, "x@c.test"),
        *welcome(records, wanted),
        *welcome({}, f"{wanted}@b.test"),
    ):
        assert address.isascii() and address.isprintable()


def aggregate(identity: str = "1", *, domain: str = "a.test", rows: int = 2) -> AggregateReport:
    seen = [Observation(f"192.0.2.{n}", "none", n % 2 == 0, False, domain) for n in range(rows)]
    return AggregateReport(
        "mx.b.test", "c@b.test", identity, 0, 1, Published(domain), tuple((each, 5) for each in seen)
    )


class TestReceiving(House):
    TO = Address.parse("reports@a.test")

    async def setUp(self) -> None:
        await super().setUp()
        local = Deliverer()
        local.always = DELIVERED
        self.tls = TlsLedger(self.path.with_name("tls.sqlite"), reactor=reactor, clock=self.clock)
        await self.tls.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.tls.stop()))
        kind = IncomingDmarcReports(self.ledger, self.journey, ["a.test"], "mx.a.test")
        expected = [(self.TO, kind), (self.TO, IncomingTlsReports(self.tls, self.journey))]
        self.deliverer = ReportIntake(local, expected)  # type: ignore[arg-type]

    def mail(self, report: AggregateReport) -> bytes:
        attachment = as_attachment(report, "mx.b.test")
        return as_mail(
            report, attachment, submitter="mx.b.test", contact=CONTACT, to=self.TO, now=0.0, message_id="Q@b"
        )

    async def deliver(self, data: bytes, to: Address = TO) -> None:
        message = QueuedMessage("Q1", None, 0.0, Content(b"Received: x\r\n", data, None))
        assert await self.deliverer.deliver(message, [QueuedRecipient(1, to)]) == [DELIVERED]

    async def kept(self) -> list[AggregateReport]:
        return await self.ledger.run(lambda database: [each.report for each in database.reports()])

    async def test_a_report_is_kept_once(self) -> None:
        for identity in ("1", "1", "2"):
            await self.deliver(self.mail(aggregate(identity)))
        first, second = await self.kept()
        assert (first.identity, second.identity, first.messages) == ("1", "2", 10)
        assert set(first.rows) == set(aggregate().rows)
        assert [event.stage for event in self.events] == ["dmarc-reported"] * 2
        assert self.events[0].facts["failed"] == 5

    async def test_who_sent_it(self) -> None:
        found = b"Authentication-Results: mx.a.test; dmarc=pass header.from=x.test\r\n"
        heads = (
            found,
            b"",
            found.replace(b"pass", b"fail"),
            found.replace(b"mx.a", b"mx.b"),
            b"From: x@c\r\n" + found,
        )
        for number, head in enumerate(heads):
            await self.deliver(head + self.mail(aggregate(str(number))))
        stored = await self.ledger.run(lambda database: list(database.reports()))
        assert [each.sender for each in stored] == ["a.test", "", "", "", ""]

    async def test_whose_domains_count(self) -> None:
        for domain in ("x.a.test", "test", "b.test", "xa.test"):
            await self.deliver(self.mail(aggregate(domain=domain)))
        assert [report.published.domain for report in await self.kept()] == ["x.a.test", "test"]

    async def test_other_mail_is_just_mail(self) -> None:
        await self.deliver(b"Subject: hello\r\n\r\nHello\r\n")
        await self.deliver(self.mail(aggregate()).replace(b"H4sI", b"XXXX"))
        await self.deliver(b"x" * (11 * 2**20))
        await self.deliver(self.mail(aggregate()), Address.parse("bob@a.test"))
        assert await self.kept() == []

    async def test_two_kinds_at_one_address(self) -> None:
        report = make_report(Maker("mx.b.test", CONTACT), "a.test", 1, [])
        await self.deliver(as_tls_mail(report, self.TO, now=0.0, message_id="Q@b"))
        await self.deliver(self.mail(aggregate()))
        assert len(await self.kept()) == 1
        assert [event.stage for event in self.events] == ["dmarc-reported"]

    async def test_one_is_read_at_a_time_and_few_wait(self) -> None:
        self.patch(report_intake, "MOST_WAITING", 2)
        mails = [self.mail(aggregate(str(number))) for number in range(5)]
        coming = [Deferred.fromCoroutine(self.deliver(mail)) for mail in mails]
        for each in coming:
            await each
        assert [report.identity for report in await self.kept()] == ["0", "1", "2"]
        await self.deliver(mails[4])
        assert len(await self.kept()) == 4

    async def test_old_ones_go(self) -> None:
        await self.deliver(self.mail(aggregate("1")))
        self.clock.advance(366 * DAY)
        await self.deliver(self.mail(aggregate("2")))
        assert [report.identity for report in await self.kept()] == ["2"]

    async def test_there_are_bounds(self) -> None:
        self.patch(tables, "MOST_REPORTS", 3)
        for number in range(5):
            await self.deliver(self.mail(aggregate(str(number))))
        assert [report.identity for report in await self.kept()] == ["2", "3", "4"]
        self.patch(tables, "MOST_ROWS", 5)
        await self.deliver(self.mail(aggregate("5", rows=3)))
        assert [report.identity for report in await self.kept()] == ["4", "5"]


def test_random_days_in_the_tables(tmp_path: Path) -> None:
    """What is kept of one day and domain is not touched by what happens to another."""
    database = DmarcDatabase(tmp_path / "x.sqlite")
    randomness = random.Random(7)
    model: dict[tuple[int, str], int] = {}
    policy = tables.Policy(Published("x"), ())
    for _ in range(100):
        day, domain = randomness.randrange(3), randomness.choice("abc")
        if randomness.random() < 0.8:
            seen = Observation("::1", "none", True, True, randomness.choice("xy"))
            assert database.add({(day, domain): policy}, {(day, domain, seen): 2}) == 0
            model[day, domain] = model.get((day, domain), 0) + 2
            database.keep_dispatch(day, domain, "x@y", Dispatch("Q", False))
        else:
            database.forget_day(day, domain)
            model.pop((day, domain), None)
    assert database.days_to_report(10) == sorted(model)
    for (day, domain), total in model.items():
        assert sum(count for _, count in database.observations(day, domain)) == total
    assert sorted((day, domain) for day, domain, _, _ in database.undecided()) == sorted(model)
    database.close()
