"""What senders are told, through the real dispatcher and queue on a clock that the test advances."""

from __future__ import annotations

import email
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest
from dispatch_house import DELAYED, DELIVERED, FAILED, UNREACHABLE, Attempt, House
from queue_house import NOON, now

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import DeliverBy, Envelope, EnvelopeRecipient, MailParameters
from twisted_mta.message.outcome import Action, Outcome
from twisted_mta.queue.schedule import DAY, HOUR, MINUTE, RetrySchedule
from twisted_mta.transfer.mta.bounce import Bounces

RELAYED = Outcome(Action.RELAYED, "2.0.0", "250 2.0.0 taken", "mx.c.test")
PASSED_ON = Outcome(Action.RELAYED, "2.0.0", "250 2.0.0 taken", "mx.c.test", passed_on=True)
REFUSED = Outcome(Action.FAILED, "5.1.1", "550 5.1.1 no such user", "mx.c.test")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "queue")
    house.local.always = DELIVERED
    yield house
    house.stop()


def send(
    house: House,
    *recipients: EnvelopeRecipient | str,
    sender: str | None = "ann@a.test",
    body: bytes = b"Subject: x\r\n\r\ny\r\n",
    **parameters: object,
) -> str:
    """Commit a message with all that MAIL and RCPT can ask for; its queue id."""
    draft = house.queue.draft()
    now(draft.write(body))
    envelope = Envelope(
        None if sender is None else Address.parse(sender),
        tuple(to(each) if isinstance(each, str) else each for each in recipients),
        MailParameters(**parameters),  # type: ignore[arg-type]
    )
    now(draft.commit(envelope, b"Received: here\r\n"))
    return draft.queue_id


def to(path: str, notify: str = "", orcpt: str = "") -> EnvelopeRecipient:
    return EnvelopeRecipient(Address.parse(path), frozenset(notify.split()), orcpt)


def expansion(*paths: str) -> Outcome:
    return Outcome(Action.EXPANDED, "2.1.5", "", expansion=tuple(map(Address.parse, paths)))


def reports(house: House) -> list[Attempt]:
    """What has been handed to the local deliverer for ann since this was last asked."""
    return [attempt for attempt in house.local.take() if attempt.to == ["ann@a.test"]]


def fields(report: Attempt) -> list[Message]:
    """The blocks of the part for programs."""
    assert report.message.reverse_path is None
    whole = email.message_from_bytes(report.text)
    assert whole.get_content_type() == "multipart/report"
    return whole.get_payload(1).get_payload()  # type: ignore[union-attr,return-value]


def actions(report: Attempt) -> dict[str, str]:
    """By final recipient."""
    return {block["Final-Recipient"].partition("; ")[2]: block["Action"] for block in fields(report)[1:]}


MATRIX = [
    ("", {"failed"}),
    ("NEVER", set()),
    ("SUCCESS", {"relayed"}),
    ("FAILURE", {"failed"}),
    ("DELAY", set()),
    ("SUCCESS FAILURE", {"relayed", "failed"}),
]


@pytest.mark.parametrize(
    ("outcome", "action"),
    [(RELAYED, "relayed"), (PASSED_ON, ""), (REFUSED, "failed")],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize(("notify", "told"), MATRIX)
def test_what_was_asked_for_is_told(
    house: House, notify: str, told: set[str], outcome: Outcome, action: str
) -> None:
    house.remote.always = outcome
    send(house, to("cy@c.test", notify))
    assert [actions(report) for report in reports(house)] == (
        [{"cy@c.test": action}] if action in told else []
    )
    assert house.queued() == {}


def test_one_report_for_all_recipients_of_an_attempt(house: House) -> None:
    queue_id = send(
        house,
        to("u1@c.test", "SUCCESS FAILURE"),
        to("u2@c.test", "SUCCESS FAILURE"),
        to("u3@c.test", "NEVER"),
        to("u4@c.test"),
        to("u5@c.test", "FAILURE"),
        to("u6@c.test"),
    )
    house.remote.take()[0].answer(RELAYED, REFUSED, REFUSED, REFUSED, RELAYED, DELAYED)
    (report,) = reports(house)
    assert actions(report) == {"u1@c.test": "relayed", "u2@c.test": "failed", "u4@c.test": "failed"}
    assert house.queued() == {
        queue_id: {
            f"u{n}@c.test": s
            for n, s in enumerate(("relayed", "failed", "failed", "failed", "relayed", "waiting"), 1)
        }
    }


def test_what_mail_and_rcpt_brought_comes_back(house: House) -> None:
    """The failure of RFC 3461 §10.7."""
    house.remote.always = Outcome(Action.FAILED, "5.0.0", "550 error - no such recipient", "Ivory.EDU")
    send(house, to("Carol@Ivory.EDU", "FAILURE", "rfc822;Carol@Ivory.EDU"), ret="HDRS", envid="QQ314159")
    (report,) = reports(house)
    message, recipient = fields(report)
    assert message.items()[:2] == [("Original-Envelope-Id", "QQ314159"), ("Reporting-MTA", "dns; mx.a.test")]
    assert recipient.items()[:6] == [
        ("Original-Recipient", "rfc822; Carol@Ivory.EDU"),
        ("Final-Recipient", "rfc822; Carol@ivory.edu"),
        ("Action", "failed"),
        ("Status", "5.0.0"),
        ("Remote-MTA", "dns; Ivory.EDU"),
        ("Diagnostic-Code", "smtp; 550 error - no such recipient"),
    ]
    assert email.message_from_bytes(report.text).get_payload(2).get_content_type() == "text/rfc822-headers"  # type: ignore[union-attr]


def test_the_delivery_of_rfc_3461(house: House) -> None:
    """§10.6."""
    queue_id = send(house, to("Bob@a.test", "SUCCESS", "rfc822;Bob@Example.COM"), envid="QQ314159")
    (report,) = reports(house)
    message, recipient = fields(report)
    assert message["Original-Envelope-Id"] == "QQ314159"
    assert recipient["Original-Recipient"] == "rfc822; Bob@Example.COM"
    assert (recipient["Action"], recipient["Status"]) == ("delivered", "2.0.0")
    assert "Remote-MTA" not in recipient
    assert house.stages(queue_id) == ["reported", "done"]
    assert house.stages(report.message.queue_id)[0] == "report"


def test_reports_ask_for_no_reports(house: House) -> None:
    house.remote.always = REFUSED
    send(house, "cy@c.test", ret="FULL", envid="1", require_tls=True)
    (report,) = reports(house)
    assert {recipient.notify for recipient in report.recipients} == {frozenset({"NEVER"})}
    parameters = report.message.parameters
    assert (parameters.ret, parameters.envid, parameters.require_tls) == ("", "", True)
    whole = email.message_from_bytes(report.text)
    assert whole.get_payload(2).get_content_type() == "text/rfc822-headers"  # type: ignore[union-attr]


@pytest.mark.parametrize("outcome", [REFUSED, RELAYED, DELAYED, expansion("u1@c.test", "u2@c.test")])
def test_nothing_is_ever_reported_of_mail_from_nobody(house: House, outcome: Outcome) -> None:
    house.remote.always = lambda recipient: DELAYED if recipient.original_path else outcome
    send(house, to("cy@c.test", "SUCCESS FAILURE DELAY"), sender=None)
    for _ in range(400):
        house.clock.advance(HOUR / 3)
    assert house.queued() == {}
    assert house.local.attempts == []


def test_a_report_about_a_report_never_is(house: House) -> None:
    """A and B bounce everything: A's mail to B fails, so does the report back to A."""
    house.remote.always = REFUSED
    send(house, to("cy@c.test", "SUCCESS FAILURE DELAY"), sender="gone@b.test")
    house.clock.advance(10 * DAY)
    assert [attempt.to for attempt in house.remote.attempts] == [["cy@c.test"], ["gone@b.test"]]
    assert house.queued() == {}


class TestDelays:
    def test_one_warning_at_four_hours_one_failure_at_five_days(self, house: House) -> None:
        house.remote.always = UNREACHABLE
        send(house, to("cy@c.test", "DELAY FAILURE"), to("dee@c.test", "FAILURE"), to("eve@c.test"))
        told = []
        while house.queued():
            told += [(house.clock.seconds() - NOON, actions(report)) for report in reports(house)]
            house.clock.advance(5 * MINUTE)
        told += [(house.clock.seconds() - NOON, actions(report)) for report in reports(house)]
        everybody = dict.fromkeys(("cy@c.test", "dee@c.test", "eve@c.test"), "failed")
        assert told == [
            (4 * HOUR, {"cy@c.test": "delayed", "eve@c.test": "delayed"}),
            (5 * DAY, everybody),
        ]

    def test_a_restart_does_not_warn_again(self, house: House) -> None:
        house.remote.always = DELAYED
        send(house, "cy@c.test")
        for _ in range(16):
            house.clock.advance(HOUR / 4)
        assert len(reports(house)) == 1
        house.restart()
        for _ in range(100):
            house.clock.advance(HOUR / 4)
        assert reports(house) == []

    def test_who_turned_warnings_off_gets_none(self, tmp_path: Path) -> None:
        house = House(tmp_path / "other", schedule=RetrySchedule(warn_after=0.0))
        house.remote.always, house.local.always = DELAYED, DELIVERED
        send(house, "cy@c.test")
        while house.queued():
            house.clock.advance(HOUR)
        assert [actions(report) for report in reports(house)] == [{"cy@c.test": "failed"}]
        house.stop()

    def test_a_clock_that_jumps_warns_nobody_of_what_was_hardly_tried(self, house: House) -> None:
        house.remote.always = DELAYED
        send(house, "cy@c.test")
        house.clock.rightNow += DAY
        house.clock.advance(0)
        assert reports(house) == []


class TestDeliverBy:
    def test_what_is_late_goes_back_at_the_deadline(self, house: House) -> None:
        house.remote.always = DELAYED
        send(house, "cy@c.test", deliver_by=DeliverBy(NOON + 700))
        house.clock.advance(300)
        house.clock.advance(399)
        assert house.local.attempts == []
        house.clock.advance(1)
        (report,) = reports(house)
        _, recipient = fields(report)
        assert (recipient["Action"], recipient["Status"]) == ("failed", "5.4.7")
        assert b"by the time that you had set" in report.text
        assert house.queued() == {}

    def test_or_its_sender_is_told_and_it_is_tried_on(self, house: House) -> None:
        house.remote.always = DELAYED
        send(house, "cy@c.test", deliver_by=DeliverBy(NOON + 700, notify=True))
        for _ in range(12):
            house.clock.advance(100)
        (report,) = reports(house)
        _, recipient = fields(report)
        assert (recipient["Action"], recipient["Status"]) == ("delayed", "4.4.7")
        for _ in range(40):
            house.clock.advance(HOUR / 4)
        assert reports(house) == []
        assert len(house.queued()) == 1

    def test_a_traced_message_tells_of_each_relay(self, house: House) -> None:
        house.remote.always = PASSED_ON
        send(house, "cy@c.test", to("dee@c.test", "NEVER"), deliver_by=DeliverBy(NOON + 700, trace=True))
        assert [actions(report) for report in reports(house)] == [{"cy@c.test": "relayed"}]


class TestAliases:
    def send(self, house: House, notify: str, *members: str, orcpt: str = "") -> list[Attempt]:
        """To the alias; the attempts for its members."""
        house.local.always = None
        send(house, to("team@a.test", notify, orcpt), envid="E1")
        (attempt,) = house.local.take()
        house.local.always = DELIVERED
        house.remote.always = None
        attempt.answer(expansion(*members))
        return house.remote.take()

    def test_several_members(self, house: House) -> None:
        one, two = self.send(house, "SUCCESS FAILURE", "u1@c.test", "u2@d.test", orcpt="rfc822;Team@A.Test")
        (report,) = reports(house)
        assert actions(report) == {"team@a.test": "expanded"}
        for attempt in (one, two):
            (recipient,) = attempt.recipients
            assert recipient.notify == {"FAILURE"}
            assert recipient.orcpt == "rfc822;Team@A.Test"
        one.answer(RELAYED)
        two.answer(REFUSED)
        (report,) = reports(house)
        _, block = fields(report)
        assert block["Action"] == "failed"
        assert block["Original-Recipient"] == "rfc822; Team@A.Test"
        assert block["Final-Recipient"] == "rfc822; team@a.test"
        assert block["SMTP-Remote-Recipient"] == "u2@d.test"

    def test_one_member(self, house: House) -> None:
        (attempt,) = self.send(house, "SUCCESS", "u1@c.test")
        assert reports(house) == []
        attempt.answer(RELAYED)
        assert [actions(report) for report in reports(house)] == [{"team@a.test": "relayed"}]

    def test_a_confidential_one(self, house: House) -> None:
        house.dispatcher._conclusions._bounces = Bounces(
            house.queue,
            hostname="mx.a.test",
            postmaster=Address.parse("postmaster@a.test"),
            confidential=[Address.parse("Team@a.test")],
        )
        one, two = self.send(house, "SUCCESS FAILURE", "u1@c.test", "u2@d.test")
        (report,) = reports(house)
        assert actions(report) == {"team@a.test": "delivered"}
        assert b"u1@c.test" not in report.text
        for attempt in (one, two):
            assert attempt.recipients[0].notify == {"NEVER"}
            attempt.answer(REFUSED)
        assert reports(house) == []
        assert house.queued() == {}


def test_given_back_by_the_administrator(house: House) -> None:
    house.remote.always = DELAYED
    queue_id = send(house, "cy@c.test", to("dee@c.test", "NEVER"))
    tried = len(house.remote.attempts)
    house.by_hand().bounce(queue_id)
    house.queue.writer.notice()
    (report,) = reports(house)
    assert actions(report) == {"cy@c.test": "failed"}
    assert b"The administrator of this mail server has sent the message back." in report.text
    assert len(house.remote.attempts) == tried
    assert house.queued() == {}


def test_mail_that_had_to_be_tracked_down_has_a_whole_story(house: House) -> None:
    queue_id = send(house, to("u1@c.test", "NEVER"), to("u2@c.test"), to("u3@c.test", "SUCCESS"))
    house.remote.take()[0].answer(FAILED, FAILED, DELAYED)
    house.clock.advance(300)
    house.remote.take()[0].answer(RELAYED)
    assert house.stages(queue_id) == ["failed", "bounced", "deferred", "reported", "done"]
