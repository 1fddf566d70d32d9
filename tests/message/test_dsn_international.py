"""Reports about addresses beyond ASCII (RFC 6533): in UTF-8 where the way back must carry it, encoded
elsewhere."""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from email.message import EmailMessage

import pytest
from test_dsn import ARRIVED, BOB, REPORT

from twisted_mta.message.address import Address
from twisted_mta.message.dsn.original import HEADER_LIMIT
from twisted_mta.message.dsn.report import render
from twisted_mta.message.dsn.values import Report, unitext

ПЁТР = Address.parse("пётр@b.test", utf8=True)
ORIGINAL = "From: Ånn <ann@a.test>\r\nSubject: Grüße\r\n\r\nText ohne Ende.\r\n".encode()
TO_ASCII = replace(
    REPORT,
    recipients=[replace(BOB, final=ПЁТР, text="550 5.1.1 нет такого")],
    original=ORIGINAL,
    smtputf8=True,
)
TO_UTF8 = replace(TO_ASCII, to=Address.parse("ånn@a.test", utf8=True))


def parts(report: Report) -> tuple[EmailMessage, list[EmailMessage]]:
    whole = email.message_from_bytes(render(report).data, policy=email.policy.SMTPUTF8)
    assert isinstance(whole, EmailMessage)
    return whole, whole.get_payload()  # type: ignore[return-value]


def octets(part: EmailMessage) -> bytes:
    """A part of type message/…, which the library does not decode by itself."""
    _, _, body = part.as_bytes(policy=email.policy.SMTPUTF8).partition(b"\r\n\r\n")
    encoded = email.message_from_bytes(
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
        + str(part.get("Content-Transfer-Encoding", "7bit")).encode()
        + b"\r\n\r\n"
        + body
    )
    decoded = encoded.get_payload(decode=True)
    assert isinstance(decoded, bytes)
    return decoded


class TestToAnAsciiAddress:
    def test_it_passes_everywhere(self) -> None:
        rendered = render(TO_ASCII)
        assert (rendered.body, rendered.smtputf8) == ("7BIT", False)
        assert rendered.data.isascii()

    def test_the_parts_are_of_the_global_types_and_encoded(self) -> None:
        _, (human, status, original) = parts(TO_ASCII)
        assert human.get_content_type() == "text/plain"
        assert human.get_param("charset") == "utf-8"
        assert status.get_content_type() == "message/global-delivery-status"
        assert original.get_content_type() == "message/global"
        assert {part["Content-Transfer-Encoding"] for part in (human, status, original)} == {
            "quoted-printable"
        }

    def test_the_content_survives(self) -> None:
        _, (human, status, original) = parts(TO_ASCII)
        assert "<пётр@b.test>" in human.get_content()
        assert "Final-Recipient: utf-8; пётр@b.test\r\n" in octets(status).decode()
        assert "Diagnostic-Code: smtp; 550 5.1.1 нет такого\r\n" in octets(status).decode()
        assert octets(original).rstrip() == ORIGINAL.rstrip()


class TestToAnInternationalisedAddress:
    def test_the_way_back_carries_utf8(self) -> None:
        rendered = render(TO_UTF8)
        assert (rendered.body, rendered.smtputf8) == ("8BITMIME", True)
        assert "To: <ånn@a.test>\r\n".encode() in rendered.data
        assert "\r\nFinal-Recipient: utf-8; пётр@b.test\r\n".encode() in rendered.data
        assert ORIGINAL in rendered.data

    def test_the_parts_say_that_they_are_8_bit(self) -> None:
        whole, found = parts(TO_UTF8)
        assert whole["Content-Transfer-Encoding"] == "8bit"
        assert {part["Content-Transfer-Encoding"] for part in found} == {"8bit"}

    def test_of_an_ascii_message_and_recipient_all_is_ascii_but_the_head(self) -> None:
        rendered = render(replace(TO_UTF8, recipients=[BOB], original=b"Subject: x\r\n\r\ny\r\n"))
        _, _, body = rendered.data.partition(b"\r\n\r\n")
        assert body.isascii()
        assert b"message/delivery-status" in body
        assert rendered.smtputf8


def test_a_header_alone() -> None:
    for report, encoding in ((TO_ASCII, "quoted-printable"), (TO_UTF8, "8bit")):
        _, (_, _, original) = parts(replace(report, ret="HDRS"))
        assert original.get_content_type() == "message/global-headers"
        assert original["Content-Transfer-Encoding"] == encoding
        assert octets(original).rstrip() == ORIGINAL.partition(b"\r\n\r\n")[0]


def test_a_header_that_is_no_utf8_after_all() -> None:
    original = "Subject: Grüße\r\n\r\n".encode("latin-1")
    _, (_, _, part) = parts(replace(TO_ASCII, original=original, ret="HDRS"))
    assert part.get_content_type() == "text/rfc822-headers"


def test_a_header_cut_within_a_character_still_comes_back() -> None:
    original = ("Subject: " + "ü" * HEADER_LIMIT).encode()
    rendered = render(replace(TO_ASCII, original=original, complete=False))
    assert rendered.data.isascii()
    assert len(rendered.data) < 4 * HEADER_LIMIT


def test_an_original_recipient_that_travelled_as_ascii_gets_its_letters_back() -> None:
    recipient = replace(BOB, orcpt=r"utf-8;\x{43F}\x{451}\x{442}\x{440}\x{2B}1@b.test")
    _, (_, status, _) = parts(replace(REPORT, recipients=[recipient]))
    assert "Original-Recipient: utf-8; пётр+1@b.test\r\n" in octets(status).decode()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"a\x{2B}b@c.test", "a+b@c.test"),
        (r"\x{1F600}@c.test", "😀@c.test"),
        (r"\x{D800}@c.test", r"\x{D800}@c.test"),
        (r"\x{110000}@c.test", r"\x{110000}@c.test"),
        (r"\x{0A}Bcc: x@c.test", r"\x{0A}Bcc: x@c.test"),
        (r"\x{}@c.test", r"\x{}@c.test"),
        ("пётр@c.test", "пётр@c.test"),
    ],
)
def test_unitext(written: str, meant: str) -> None:
    assert unitext(written) == meant


def test_long_words_in_utf8_stay_within_a_line() -> None:
    said = "550 " + "ж" * 3000
    report = replace(TO_UTF8, recipients=[replace(BOB, final=ПЁТР, text=said, attempted=ARRIVED)])
    assert max(map(len, render(report).data.split(b"\r\n"))) <= 998
