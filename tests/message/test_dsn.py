"""Reports as programs and people read them; `email` of the standard library is the reader."""

from __future__ import annotations

import email
import email.policy
import re
from dataclasses import replace
from email.message import Message

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.address import Address
from twisted_mta.message.dsn.original import FULL_LIMIT, HEADER_LIMIT, WHOLE_LIMIT
from twisted_mta.message.dsn.report import render
from twisted_mta.message.dsn.values import Report, ReportedRecipient
from twisted_mta.message.outcome import Action

ARRIVED = 1_800_000_000.0
ORIGINAL = b"From: Ann <ann@a.test>\r\nSubject: hello\r\n\r\nText.\r\n"
BOB = ReportedRecipient(
    action=Action.FAILED,
    final=Address.parse("bob@b.test"),
    status="5.1.1",
    text="550 5.1.1 <bob@b.test>: no such user",
    attempted=ARRIVED + 60,
    remote_mta="mx.b.test",
)
REPORT = Report(
    reporting_mta="mx.a.test",
    postmaster=Address.parse("postmaster@a.test"),
    to=Address.parse("ann@a.test"),
    report_id="3ZZZZZZZZZZZZ",
    queue_id="311111111111B",
    arrived=ARRIVED,
    now=ARRIVED + 61,
    recipients=[BOB],
    original=ORIGINAL,
    complete=True,
)


def written(report: Report) -> bytes:
    return render(report).data


def parts(report: Report) -> tuple[Message, Message, Message, Message]:
    """The whole, and its three parts."""
    whole = email.message_from_bytes(written(report))
    human, status, original = whole.get_payload()  # type: ignore[misc]
    return whole, human, status, original  # type: ignore[return-value]


def assert_legal(data: bytes) -> None:
    assert not re.search(rb"[\x00\x80-\xff]|\r(?!\n)|(?<!\r)\n|[^\r\n]{999}", data)


def test_the_head() -> None:
    whole, *_ = parts(REPORT)
    assert whole.get_content_type() == "multipart/report"
    assert whole.get_param("report-type") == "delivery-status"
    assert whole["From"] == "Mail Delivery System <postmaster@a.test>"
    assert whole["To"] == "<ann@a.test>"
    assert whole["Auto-Submitted"] == "auto-replied"
    assert whole["Date"] == "Fri, 15 Jan 2027 08:01:01 +0000"
    assert whole["Message-ID"] == "<3ZZZZZZZZZZZZ@mx.a.test>"
    assert whole.defects == []


def test_fields_for_programs() -> None:
    _, _, status, _ = parts(REPORT)
    message, recipient = status.get_payload()  # type: ignore[misc]
    assert status.get_content_type() == "message/delivery-status"
    assert message.items() == [  # type: ignore[union-attr]
        ("Reporting-MTA", "dns; mx.a.test"),
        ("Arrival-Date", "Fri, 15 Jan 2027 08:00:00 +0000"),
    ]
    assert recipient.items() == [  # type: ignore[union-attr]
        ("Final-Recipient", "rfc822; bob@b.test"),
        ("Action", "failed"),
        ("Status", "5.1.1"),
        ("Remote-MTA", "dns; mx.b.test"),
        ("Diagnostic-Code", "smtp; 550 5.1.1 <bob@b.test>: no such user"),
        ("Last-Attempt-Date", "Fri, 15 Jan 2027 08:01:00 +0000"),
    ]


def test_what_is_not_known_is_not_said() -> None:
    local = replace(BOB, remote_mta="", text="No such mailbox here", final=Address.parse("team@a.test"))
    _, _, status, _ = parts(replace(REPORT, recipients=[local, BOB]))
    _, first, second = status.get_payload()  # type: ignore[misc]
    assert first.items() == [  # type: ignore[union-attr]
        ("Final-Recipient", "rfc822; team@a.test"),
        ("Action", "failed"),
        ("Status", "5.1.1"),
        ("Diagnostic-Code", "x-local; No such mailbox here"),
        ("Last-Attempt-Date", "Fri, 15 Jan 2027 08:01:00 +0000"),
    ]
    assert second["Final-Recipient"] == "rfc822; bob@b.test"  # type: ignore[index,call-overload]


def test_what_the_envelope_brought_comes_back() -> None:
    known = replace(BOB, orcpt="rfc822;Bob@B.Test")
    _, _, status, _ = parts(replace(REPORT, recipients=[known], envid="QQ314159"))
    message, recipient = status.get_payload()  # type: ignore[misc]
    assert message.keys()[0] == "Original-Envelope-Id"  # type: ignore[union-attr]
    assert message["Original-Envelope-Id"] == "QQ314159"  # type: ignore[index,call-overload]
    assert recipient.items()[:2] == [  # type: ignore[union-attr]
        ("Original-Recipient", "rfc822; Bob@B.Test"),
        ("Final-Recipient", "rfc822; bob@b.test"),
    ]


@pytest.mark.parametrize("orcpt", ["no type", ";x", "bad type;x", "é;x"])
def test_an_original_recipient_of_no_known_type(orcpt: str) -> None:
    _, _, status, _ = parts(replace(REPORT, recipients=[replace(BOB, orcpt=orcpt)]))
    _, recipient = status.get_payload()  # type: ignore[misc]
    assert recipient["Original-Recipient"].startswith("unknown; ")  # type: ignore[index,union-attr,call-overload]


def test_an_alias_is_the_recipient_and_the_member_whom_the_other_server_was_told() -> None:
    member = replace(BOB, final=Address.parse("team@a.test"), member=Address.parse("bob@b.test"))
    _, _, status, _ = parts(replace(REPORT, recipients=[member]))
    _, recipient = status.get_payload()  # type: ignore[misc]
    assert recipient["Final-Recipient"] == "rfc822; team@a.test"  # type: ignore[index,call-overload]
    assert recipient["SMTP-Remote-Recipient"] == "bob@b.test"  # type: ignore[index,call-overload]
    assert "Original-Recipient" not in recipient  # type: ignore[operator]


def test_a_report_stands_beside_what_it_is_about() -> None:
    original = b"Subject: x\r\nMessage-ID: <1@a.test>\r\n\r\nMessage-ID: <2@a.test>\r\n"
    whole, *_ = parts(replace(REPORT, original=original))
    assert whole["References"] == "<1@a.test>"
    assert parts(REPORT)[0]["References"] is None


def test_plain_words() -> None:
    _, human, _, _ = parts(REPORT)
    text = " ".join(str(human.get_payload()).split())
    assert human.get_content_type() == "text/plain"
    assert "<bob@b.test> There is no mailbox with this address." in text
    assert "The server mx.b.test said: 550 5.1.1 <bob@b.test>: no such user" in text
    assert "postmaster@a.test" in text
    assert "311111111111B" in text


def test_plain_words_for_what_was_given_up_and_for_an_alias() -> None:
    given_up = replace(
        BOB,
        status="4.4.1",
        text="connection refused",
        remote_mta="",
        expired=True,
        attempted=ARRIVED + 5 * 86400,
        final=Address.parse("team@a.test"),
        member=Address.parse("bob@b.test"),
    )
    _, human, _, _ = parts(replace(REPORT, recipients=[given_up]))
    text = " ".join(str(human.get_payload()).split())
    assert "<team@a.test> This address leads to <bob@b.test>." in text
    assert "could not be reached" in text
    assert "again and again for 5 days" in text
    assert "In technical terms: connection refused" in text


@pytest.mark.parametrize("status", ["5.1.10", "5.2.2", "5.3.4", "5.7.26", "5.5.9", "5.6.0", "5.9.9", "4.4.0"])
def test_every_status_has_words(status: str) -> None:
    _, human, _, _ = parts(replace(REPORT, recipients=[replace(BOB, status=status)]))
    assert re.search(r"<bob@b\.test>\r?\n    [A-Z].*", str(human.get_payload()))


def test_a_small_plain_message_comes_back_whole() -> None:
    data = written(REPORT)
    assert b"Content-Type: message/rfc822\r\n\r\n" + ORIGINAL in data
    _, _, _, original = parts(REPORT)
    assert original.get_payload(0)["Subject"] == "hello"  # type: ignore[index,union-attr,call-overload]


def test_a_message_without_a_final_line_end() -> None:
    _, _, _, original = parts(replace(REPORT, original=b"Subject: x\r\n\r\nno end"))
    assert original.get_payload(0).get_payload().rstrip() == "no end"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "original",
    [
        b"Subject: hello\r\n\r\n" + "Grüße".encode() + b"\r\n",
        b"Subject: hello\r\n\r\n" + b"x" * 2000 + b"\r\n",
        b"Subject: hello\r\n\r\nbare\nline\r\n",
        b"Subject: hello\r\n\r\n\x00\r\n",
        b"Subject: hello\r\n\r\n" + b"line\r\n" * (WHOLE_LIMIT // 6 + 1),
    ],
)
def test_otherwise_its_header_comes_back(original: bytes) -> None:
    report = replace(REPORT, original=original)
    assert_legal(written(report))
    _, _, _, part = parts(report)
    assert part.get_content_type() == "text/rfc822-headers"
    assert str(part.get_payload()).strip() == "Subject: hello"


def test_a_sender_who_wants_all_of_it_gets_more() -> None:
    body = "Grüße\r\n".encode() * 10_000
    original = b"Subject: hello\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + body
    assert WHOLE_LIMIT < len(original) < FULL_LIMIT
    rendered = render(replace(REPORT, original=original, ret="FULL"))
    assert (rendered.body, rendered.smtputf8) == ("8BITMIME", False)
    whole = email.message_from_bytes(rendered.data)
    assert whole["Content-Transfer-Encoding"] == "8bit"
    part = whole.get_payload(2)
    assert part["Content-Transfer-Encoding"] == "8bit"  # type: ignore[index,call-overload]
    assert original in rendered.data


def test_an_8_bit_message_that_some_host_could_not_take_comes_back_as_its_header() -> None:
    original = b"Subject: " + "Grüße".encode("latin-1") + b"\r\n\r\n" + "Grüße".encode() + b"\r\n"
    rendered = render(replace(REPORT, original=original, ret="FULL"))
    assert rendered.body == "7BIT"
    assert b"text/rfc822-headers" in rendered.data


@pytest.mark.parametrize("tail", [b"x" * 999 + b"\r\n", b"\x00\r\n", b"a\nb\r\n", b"line\r\n" * 50_000])
def test_what_cannot_be_in_a_report_is_not_returned_even_when_asked_for(tail: bytes) -> None:
    data = render(replace(REPORT, original=b"Subject: hello\r\n\r\n" + tail, ret="FULL"))
    assert data.body == "7BIT"
    assert b"text/rfc822-headers\r\n\r\nSubject: hello\r\n" in data.data


def test_who_wants_the_header_gets_the_header() -> None:
    _, _, _, part = parts(replace(REPORT, ret="HDRS"))
    assert part.get_content_type() == "text/rfc822-headers"
    assert str(part.get_payload()).strip() == "From: Ann <ann@a.test>\nSubject: hello".replace("\n", "\r\n")


def test_an_incomplete_original_is_its_header() -> None:
    _, _, _, part = parts(replace(REPORT, complete=False))
    assert part.get_content_type() == "text/rfc822-headers"


def test_an_8_bit_header_is_encoded() -> None:
    original = "Subject: Grüße\r\n\tund mehr\r\nX-Long: ".encode() + b"y" * 3000 + b"\r\n\r\nbody\r\n"
    report = replace(REPORT, original=original)
    assert_legal(written(report))
    _, _, _, part = parts(report)
    assert part["Content-Transfer-Encoding"] == "quoted-printable"
    decoded = part.get_payload(decode=True)
    assert isinstance(decoded, bytes)
    assert decoded.rstrip() == original.partition(b"\r\n\r\n")[0]


def test_an_endless_header_is_cut() -> None:
    data = written(replace(REPORT, original=b"X: y\r\n" * 10_000_00, complete=False))
    assert len(data) < HEADER_LIMIT + 5000


def test_the_boundary_stands_in_no_part() -> None:
    nasty = ORIGINAL + b"--=_3ZZZZZZZZZZZZ--\r\n--=_3ZZZZZZZZZZZZ\r\nContent-Type: text/html\r\n\r\nhi\r\n"
    _, _, _, original = parts(replace(REPORT, original=nasty))
    assert b"text/html" in original.as_bytes()


ENDS = [
    (Action.FAILED, "Your message could not be delivered"),
    (Action.DELAYED, "Your message is delayed"),
    (Action.DELIVERED, "Your message was delivered"),
    (Action.RELAYED, "Your message was passed on"),
    (Action.EXPANDED, "Your message was passed on"),
]


@pytest.mark.parametrize(("action", "subject"), ENDS)
def test_each_end_has_its_subject_and_words(action: Action, subject: str) -> None:
    whole, human, status, _ = parts(replace(REPORT, recipients=[replace(BOB, action=action)]))
    assert whole["Subject"] == subject
    assert status.get_payload(1)["Action"] == action.value  # type: ignore[index,union-attr,call-overload]
    text = " ".join(str(human.get_payload()).split())
    assert "<bob@b.test>" in text
    assert ("The server mx.b.test said" in text) == (action in (Action.FAILED, Action.DELAYED))


def test_several_ends_are_one_report_named_after_the_worst() -> None:
    ends = [replace(BOB, action=action, final=Address.parse(f"{action.value}@b.test")) for action, _ in ENDS]
    whole, human, status, _ = parts(replace(REPORT, recipients=ends[::-1]))
    assert whole["Subject"] == "Your message could not be delivered"
    actions = [block["Action"] for block in status.get_payload()[1:]]  # type: ignore[index,union-attr,call-overload]
    assert actions == ["expanded", "relayed", "delivered", "delayed", "failed"]
    text = str(human.get_payload())
    assert [text.index(f"<{action.value}@b.test>") for action, _ in ENDS] == sorted(
        text.index(f"<{action.value}@b.test>") for action, _ in ENDS
    )


def test_a_delay_says_until_when_it_is_tried() -> None:
    late = replace(BOB, action=Action.DELAYED, status="4.4.1", retry_until=ARRIVED + 5 * 86400)
    _, human, status, _ = parts(replace(REPORT, recipients=[late]))
    until = "Wed, 20 Jan 2027 08:00:00 +0000"
    assert status.get_payload(1)["Will-Retry-Until"] == until  # type: ignore[index,union-attr,call-overload]
    text = " ".join(str(human.get_payload()).split())
    assert f"tried again and again until {until}" in text
    assert "you need not send the message again" in text


def test_a_success_has_no_diagnosis_of_our_own() -> None:
    done = replace(BOB, action=Action.DELIVERED, status="2.0.0", text="Delivered to mailbox", remote_mta="")
    _, _, status, _ = parts(replace(REPORT, recipients=[done]))
    assert "Diagnostic-Code" not in status.get_payload(1)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("action", "status"), [(Action.FAILED, "5.0.0"), (Action.DELAYED, "4.0.0"), (Action.DELIVERED, "2.0.0")]
)
def test_a_status_that_is_none(action: Action, status: str) -> None:
    _, _, part, _ = parts(replace(REPORT, recipients=[replace(BOB, action=action, status="550")]))
    assert part.get_payload(1)["Status"] == status  # type: ignore[index,union-attr,call-overload]


hostile = st.text(st.characters(codec="utf-8"), max_size=2000) | st.sampled_from(
    [
        "550 x\r\nTo: victim@b.test",
        "550 a\n\n--=_3ZZZZZZZZZZZZ",
        "5\x00\x85\u2028x",
        "x" * 5000,
        " " * 3000,
        "\udcff",
    ]
)


@settings(max_examples=60)
@given(
    text=hostile,
    remote=hostile,
    status=hostile,
    orcpt=hostile,
    envid=hostile,
    original=st.binary(max_size=3000),
    complete=st.booleans(),
)
def test_nothing_remote_breaks_out(
    text: str, remote: str, status: str, orcpt: str, envid: str, original: bytes, complete: bool
) -> None:
    """Acceptance 28."""
    failed = replace(BOB, text=text, remote_mta=remote, status=status, orcpt=orcpt)
    report = replace(REPORT, recipients=[failed, BOB], original=original, complete=complete, envid=envid)
    data = written(report)
    assert_legal(data)
    whole, human, part, _ = parts(report)
    assert set(whole.keys()) - {"References"} == set(parts(REPORT)[0].keys())
    assert human.keys() == ["Content-Type"]
    blocks = part.get_payload()
    assert len(blocks) == 3
    allowed = {
        "Original-Recipient",
        "Final-Recipient",
        "Action",
        "Status",
        "Remote-MTA",
        "Diagnostic-Code",
        "Last-Attempt-Date",
    }
    assert set(blocks[1].keys()) <= allowed  # type: ignore[union-attr]
