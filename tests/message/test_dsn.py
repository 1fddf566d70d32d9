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
from twisted_mta.message.dsn import HEADER_LIMIT, WHOLE_LIMIT, FailedRecipient, Report, failure_report

ARRIVED = 1_800_000_000.0
ORIGINAL = b"From: Ann <ann@a.test>\r\nSubject: hello\r\n\r\nText.\r\n"
BOB = FailedRecipient(
    final=Address.parse("bob@b.test"),
    status="5.1.1",
    text="550 5.1.1 <bob@b.test>: no such user",
    last_attempt=ARRIVED + 60,
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
    failed=[BOB],
    original=ORIGINAL,
    complete=True,
)


def parts(report: Report) -> tuple[Message, Message, Message, Message]:
    """The whole, and its three parts."""
    whole = email.message_from_bytes(failure_report(report))
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
    local = replace(BOB, remote_mta="", text="No such mailbox here", original=Address.parse("team@a.test"))
    _, _, status, _ = parts(replace(REPORT, failed=[local, BOB]))
    _, first, second = status.get_payload()  # type: ignore[misc]
    assert first.keys() == [  # type: ignore[union-attr]
        "Original-Recipient",
        "Final-Recipient",
        "Action",
        "Status",
        "Diagnostic-Code",
        "Last-Attempt-Date",
    ]
    assert first["Original-Recipient"] == "rfc822; team@a.test"  # type: ignore[index,call-overload]
    assert first["Diagnostic-Code"] == "x-local; No such mailbox here"  # type: ignore[index,call-overload]
    assert "Original-Recipient" not in second  # type: ignore[operator]


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
        last_attempt=ARRIVED + 5 * 86400,
        original=Address.parse("team@a.test"),
    )
    _, human, _, _ = parts(replace(REPORT, failed=[given_up]))
    text = " ".join(str(human.get_payload()).split())
    assert "<team@a.test> This address leads to <bob@b.test>." in text
    assert "could not be reached" in text
    assert "again and again for 5 days" in text
    assert "In technical terms: connection refused" in text


@pytest.mark.parametrize("status", ["5.1.10", "5.2.2", "5.3.4", "5.7.26", "5.5.9", "5.6.0", "5.9.9", "4.4.0"])
def test_every_status_has_words(status: str) -> None:
    _, human, _, _ = parts(replace(REPORT, failed=[replace(BOB, status=status)]))
    assert re.search(r"<bob@b\.test>\r?\n    [A-Z].*", str(human.get_payload()))


def test_a_small_plain_message_comes_back_whole() -> None:
    data = failure_report(REPORT)
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
    assert_legal(failure_report(report))
    _, _, _, part = parts(report)
    assert part.get_content_type() == "text/rfc822-headers"
    assert str(part.get_payload()).strip() == "Subject: hello"


def test_an_incomplete_original_is_its_header() -> None:
    _, _, _, part = parts(replace(REPORT, complete=False))
    assert part.get_content_type() == "text/rfc822-headers"


def test_an_8_bit_header_is_encoded() -> None:
    original = "Subject: Grüße\r\n\tund mehr\r\nX-Long: ".encode() + b"y" * 3000 + b"\r\n\r\nbody\r\n"
    report = replace(REPORT, original=original)
    assert_legal(failure_report(report))
    _, _, _, part = parts(report)
    assert part["Content-Transfer-Encoding"] == "quoted-printable"
    decoded = part.get_payload(decode=True)
    assert isinstance(decoded, bytes)
    assert decoded.rstrip() == original.partition(b"\r\n\r\n")[0]


def test_an_endless_header_is_cut() -> None:
    data = failure_report(replace(REPORT, original=b"X: y\r\n" * 10_000_00, complete=False))
    assert len(data) < HEADER_LIMIT + 5000


def test_the_boundary_stands_in_no_part() -> None:
    nasty = ORIGINAL + b"--=_3ZZZZZZZZZZZZ--\r\n--=_3ZZZZZZZZZZZZ\r\nContent-Type: text/html\r\n\r\nhi\r\n"
    _, _, _, original = parts(replace(REPORT, original=nasty))
    assert b"text/html" in original.as_bytes()


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
    text=hostile, remote=hostile, status=hostile, original=st.binary(max_size=3000), complete=st.booleans()
)
def test_nothing_remote_breaks_out(
    text: str, remote: str, status: str, original: bytes, complete: bool
) -> None:
    failed = replace(BOB, text=text, remote_mta=remote, status=status)
    report = replace(REPORT, failed=[failed, BOB], original=original, complete=complete)
    data = failure_report(report)
    assert_legal(data)
    whole, human, part, _ = parts(report)
    assert whole.keys() == parts(REPORT)[0].keys()
    assert human.keys() == ["Content-Type"]
    blocks = part.get_payload()
    assert len(blocks) == 3
    allowed = {"Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date"}
    assert set(blocks[1].keys()) <= allowed  # type: ignore[union-attr]
