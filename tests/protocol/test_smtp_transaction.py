"""MAIL and RCPT for what a server offers."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.message.address import Address
from twisted_mta.message.conversion import Form
from twisted_mta.message.envelope import DeliverBy, EnvelopeRecipient, MailParameters
from twisted_mta.protocol.smtp.transaction import Transaction, original_recipient, xtext

ALICE, BOB = Address("alice", "a.test"), Address("bob", "b.test")
NOW = 1_700_000_000.0
EVERYTHING = MailParameters(
    body="8BITMIME",
    smtputf8=True,
    ret="HDRS",
    envid="QQ+314159=x y",
    require_tls=True,
    priority=-3,
    hold_until=NOW + 60,
    deliver_by=DeliverBy(NOW + 120.9, trace=True),
    tracking="aGFzaA==",
)
FULL_RECIPIENT = EnvelopeRecipient(BOB, frozenset({"SUCCESS", "DELAY", "FAILURE"}), "rfc822;Bob+x@b.test")


def said(offers, parameters=EVERYTHING, recipient=FULL_RECIPIENT, **settings):
    transaction = Transaction(ALICE, [recipient], 100, parameters, eight_bit=True, **settings)
    mail, (rcpt,) = transaction.commands(dict.fromkeys(offers.split(), ""), NOW)
    assert mail.endswith(b"\r\n") and rcpt.endswith(b"\r\n")
    return mail[:-2].decode(), rcpt[:-2].decode()


def test_nothing_is_offered():
    assert said("") == ("MAIL FROM:<alice@a.test>", "RCPT TO:<bob@b.test>")


def test_everything_is_offered():
    """FUTURERELEASE is over when the message leaves, and SMTPUTF8 is not needed."""
    offers = (
        "SIZE 8BITMIME SMTPUTF8 DSN REQUIRETLS MT-PRIORITY DELIVERBY MTRK FUTURERELEASE BINARYMIME CHUNKING"
    )
    assert said(offers) == (
        "MAIL FROM:<alice@a.test> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=QQ+2B314159+3Dx+20y REQUIRETLS"
        " MT-PRIORITY=-3 BY=120;RT MTRK=aGFzaA==",
        "RCPT TO:<bob@b.test> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;Bob+2Bx@b.test",
    )


def test_what_was_not_asked_for_is_not_said():
    offers = "SIZE SMTPUTF8 DSN REQUIRETLS MT-PRIORITY DELIVERBY MTRK"
    plain = EnvelopeRecipient(BOB)
    assert said(offers, MailParameters(), plain) == (
        "MAIL FROM:<alice@a.test> SIZE=100",
        "RCPT TO:<bob@b.test>",
    )


def test_tracking_needs_a_name_to_ask_by():
    """RFC 3885 §3: MTRK comes with ENVID, which is a word of DSN; without it, it is refused."""
    assert " ENVID=" in said("DSN MTRK")[0] and " MTRK=" in said("DSN MTRK")[0]
    assert said("MTRK")[0] == "MAIL FROM:<alice@a.test>"
    assert "MTRK" not in said("DSN MTRK", MailParameters(tracking="aGFzaA==", envid="ü"))[0]


def test_notify_never():
    never = EnvelopeRecipient(BOB, frozenset({"NEVER"}))
    assert said("DSN", recipient=never)[1] == "RCPT TO:<bob@b.test> NOTIFY=NEVER"


def test_binary_content_needs_both_extensions():
    binary = MailParameters(body="BINARYMIME")
    assert "BODY=BINARYMIME" in said("BINARYMIME CHUNKING 8BITMIME", binary)[0]
    assert "BODY=8BITMIME" in said("BINARYMIME 8BITMIME", binary)[0]


def test_smtputf8_only_when_it_is_needed():
    assert said("SMTPUTF8", utf8=True)[0] == "MAIL FROM:<alice@a.test> SMTPUTF8"
    assert said("SMTPUTF8 8BITMIME", recipient=EnvelopeRecipient(Address("jürgen", "b.test"))) == (
        "MAIL FROM:<alice@a.test> BODY=8BITMIME SMTPUTF8",
        f"RCPT TO:<{Address('jürgen', 'b.test')}>",
    )


def test_late_mail_that_is_not_to_be_returned():
    late = MailParameters(deliver_by=DeliverBy(NOW - 7, notify=True))
    assert said("DELIVERBY", late)[0].endswith(" BY=-7;N")


@pytest.mark.parametrize("envid", ["a\r\nRSET", "a\x00", "ü"])
def test_an_envid_that_is_none_is_left_out(envid):
    assert said("DSN", MailParameters(envid=envid))[0] == "MAIL FROM:<alice@a.test>"


@pytest.mark.parametrize(
    ("orcpt", "ascii_form", "utf8_form"),
    [
        ("rfc822;a b=c+d@e.test", "rfc822;a+20b+3Dc+2Bd@e.test", "rfc822;a+20b+3Dc+2Bd@e.test"),
        ("utf-8;jürgen@b.test", r"utf-8;j\x{FC}rgen@b.test", "utf-8;jürgen@b.test"),
        ("rfc822;jürgen@b.test", r"utf-8;j\x{FC}rgen@b.test", "utf-8;jürgen@b.test"),
        ("utf-8;a+b\\c=d e@b.test", *[r"utf-8;a\x{2B}b\x{5C}c\x{3D}d\x{20}e@b.test"] * 2),
        ("utf-8;\U0001f600@b.test", r"utf-8;\x{1F600}@b.test", "utf-8;\U0001f600@b.test"),
        ("x400;/C=us/", "x400;/C+3Dus/", "x400;/C+3Dus/"),
        ("rfc822;a\r\nRSET", "", ""),
        ("rfc 822;a@b.test", "", ""),
        ("nothing", "", ""),
        ("rfc822;", "", ""),
    ],
)
def test_original_recipients(orcpt, ascii_form, utf8_form):
    assert original_recipient(orcpt, utf8=False).decode("ascii") == ascii_form
    assert original_recipient(orcpt, utf8=True).decode() == utf8_form


@given(st.text(), st.text())
def test_no_parameter_becomes_a_command(envid, orcpt):
    recipient = EnvelopeRecipient(BOB, orcpt=f"utf-8;{orcpt}")
    mail, rcpt = said("DSN", MailParameters(envid=envid), recipient)
    for line in (mail, rcpt):
        assert line.isascii() and line.isprintable()
        assert line.count(" ") <= 2


@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S", "Zs")), max_size=50))
def test_xtext_can_be_read_back(text):
    octets = xtext(text)
    assert re.fullmatch(rb"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})*", octets)
    assert re.sub(rb"\+(..)", lambda match: bytes((int(match[1], 16),)), octets).decode("ascii") == text


def test_recoded():
    binary = replace(EVERYTHING, body="BINARYMIME")
    transaction = Transaction(ALICE, [FULL_RECIPIENT], 100, binary, eight_bit=True)
    offered = {"SIZE": "", "8BITMIME": "", "BINARYMIME": "", "CHUNKING": ""}
    mail, _ = transaction.recoded(Form.SEVEN_BIT, 140).commands(offered, NOW)
    assert mail == b"MAIL FROM:<alice@a.test> SIZE=140\r\n"
    mail, _ = transaction.recoded(Form.EIGHT_BIT, 130).commands(offered, NOW)
    assert mail == b"MAIL FROM:<alice@a.test> SIZE=130 BODY=8BITMIME\r\n"


def test_an_original_recipient_that_grows_too_long_is_left_out():
    """Whoever has asked for reports gets them all the same, and the recipient the mail."""
    for letters, sent in ((60, True), (120, False)):
        recipient = EnvelopeRecipient(BOB, frozenset({"SUCCESS"}), f"utf-8;{'ö' * letters}@b.test")
        _, rcpt = said("DSN", recipient=recipient)
        assert rcpt.startswith("RCPT TO:<bob@b.test> NOTIFY=SUCCESS")
        assert ("ORCPT" in rcpt) is sent
