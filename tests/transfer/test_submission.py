"""Submission as a session: who may send as whom, what is repaired, what it costs to guess passwords."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transfer.smtp_session import Town, address
from twisted_mta.message.status import MailError
from twisted_mta.transfer.msa.repair import missing_fields, originators, without_blind_copies

COMPLETE = b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nFrom: alice@a.test\r\nMessage-ID: <1@laptop>\r\n"


def plain(login="alice@a.test", password="secret", other=""):
    return "AUTH PLAIN " + base64.b64encode(f"{other}\0{login}\0{password}".encode()).decode()


def logged_in(**options):
    town = Town("submission", cleartext=True, **options)
    assert town.say("EHLO laptop", plain())[-1] == "235 2.7.0 Authentication succeeded"
    return town


def submit(town, content, sender="alice@a.test"):
    town.say(f"MAIL FROM:<{sender}>", "RCPT TO:<carol@c.test>", "DATA")
    return town.send(content + b".\r\n").decode("ascii")


def test_a_complete_message_gets_a_trace_only():
    town = logged_in()
    assert submit(town, COMPLETE + b"\r\nx\r\n").startswith("250 2.0.0")
    ((_, head, body),) = town.intake.stored
    assert body == COMPLETE + b"\r\nx\r\n"
    assert head == (
        b"Received: from laptop ([192.0.2.1]) by mx.a.test with ESMTPA id Q1\r\n"
        b"\tfor <carol@c.test>; Tue, 14 Nov 2023 22:13:20 +0000\r\n"
    )


def test_what_is_missing_is_added():
    town = logged_in()
    assert submit(town, b"Subject: x\r\n\r\nx\r\n").startswith("250 2.0.0")
    _, head, body = town.intake.stored[0]
    assert head.split(b"\r\n", 2)[2] == (
        b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
        b"From: alice@a.test\r\n"
        b"Message-ID: <20231114221320.Q1@mx.a.test>\r\n"
    )
    assert body == b"Subject: x\r\n\r\nx\r\n"


def test_implicit_tls():
    town = Town("submission", secure=True)
    town.say("EHLO laptop", plain())
    submit(town, COMPLETE)
    assert (
        b"(using TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n\tby mx.a.test with ESMTPSA" in town.intake.stored[0][1]
    )


@pytest.mark.parametrize(
    ("field", "reply"),
    [
        (b"From: Bob <bob@a.test>", "553 5.7.1"),
        (b"From: alice@a.test, bob@a.test", "553 5.7.1"),
        (b'From: "alice@a.test" <ceo@c.test>', "553 5.7.1"),
        (b"From: alice@a.test\r\nFrom: ceo@c.test", "554 5.6.0"),
        (b"From: undisclosed-recipients:;", "554 5.6.0"),
        (b"From:", "554 5.6.0"),
        (b"From: Alice", "554 5.6.0"),
        (b"From: \xe4lice@a.test", "554 5.6.0"),
        ("From: \u00e4lice@a.test".encode(), "553 5.7.1"),
        ("From: \u0430lice@a.test".encode(), "553 5.7.1"),  # a Cyrillic letter
        ("From: Alice <alice@\uff41.test>".encode(), "250 2.0.0"),  # a.test, by its A-label
        (b"From: =?utf-8?q?ceo=40c.test?= <alice@a.test>", "250 2.0.0"),
        (b"From: =?utf-8?q?alice?=@a.test", "553 5.7.1"),
        (b"FROM : =?utf-8?q?A?=\r\n <ceo@c.test>", "553 5.7.1"),
        (b"From: Alice <alice+work@a.test>", "250 2.0.0"),
        (b"From: Sales: sales@a.test, alice@a.test;", "250 2.0.0"),
        (b"From: (me) alice @ a.test", "250 2.0.0"),
        (b"From: alice@a.test <alice@a.test>", "250 2.0.0"),
        (b"From: Alice@a.test <alice@A.test>, sales@a.test <sales@a.test>", "250 2.0.0"),
        (b'From: "alice@a.test" <alice@a.test>', "250 2.0.0"),
        (b'From: "Alice (CEO@c.test)" <alice@a.test> (ceo@c.test, "x)', "250 2.0.0"),
        (b"From: <alice@a.test> ceo@c.test", "554 5.6.0"),
        (b"From: ceo@c.test <alice@a.test>", "554 5.6.0"),
        (b"From: ceo@c.test alice@a.test <alice@a.test>", "554 5.6.0"),
        (b'From: "alice@a.test" <alice@a.test> ceo@c.test', "554 5.6.0"),
        (b"From: ceo@c.test alice@a.test", "554 5.6.0"),
        (b"From: a@b@alice@a.test", "554 5.6.0"),
        (b"From: <@c.test:alice@a.test>", "554 5.6.0"),
        (b"From: ceo@c.test: alice@a.test;", "554 5.6.0"),
        (b'From: alice@a.test "<ceo@c.test>', "554 5.6.0"),
        (b"From: alice@a.test (<ceo@c.test>", "554 5.6.0"),
        (b"From: alice@a.test\0 <ceo@c.test>", "554 5.6.0"),
        (b"From: alice@a.test\r\nX: \0", "554 5.6.0"),
        (b"From: " + b",".join(b"alice+%d@a.test" % n for n in range(100)), "250 2.0.0"),
        (b"From: " + b",".join(b"alice+%d@a.test" % n for n in range(101)), "554 5.6.0"),
        (b"From: alice@a.test\r\nSender: sales@a.test", "250 2.0.0"),
        (b"From: alice@a.test\r\nSender: ceo@c.test", "553 5.7.1"),
        (b"Sender: ceo@c.test", "553 5.7.1"),
        (b"Sender: alice@a.test, sales@a.test", "554 5.6.0"),
        (b"Sender: alice@a.test\r\nSender: ceo@c.test", "554 5.6.0"),
        (b"Sender:", "554 5.6.0"),
        (b"From: alice@a.test\r\nResent-From: ceo@c.test", "553 5.7.1"),
        (b"From: alice@a.test\r\nResent-Sender: ceo@c.test", "553 5.7.1"),
        (b"From: alice@a.test\r\nResent-Sender: alice@a.test, sales@a.test", "554 5.6.0"),
        (b"From: alice@a.test\r\n" + b"Resent-From: sales@a.test\r\n" * 20 + b"X: y", "250 2.0.0"),
        (b"From: alice@a.test\r\n" + b"Resent-From: sales@a.test\r\n" * 21 + b"X: y", "554 5.6.0"),
    ],
)
def test_from_and_sender_must_be_ones_own(field, reply):
    town = logged_in()
    assert submit(town, field + b"\r\n\r\nx\r\n")[:9] == reply
    assert len(town.intake.stored) == (reply[0] == "2")


def test_a_folded_first_line_does_not_become_part_of_our_from():
    town = logged_in()
    assert submit(town, b" <ceo@c.test>\r\n\r\nx\r\n").startswith("250")
    _, head, _ = town.intake.stored[0]
    assert b"From: alice@a.test\r\n" in head and head.endswith(b"\r\n\r\n")


def test_what_looks_like_a_header_behind_white_space_is_text():
    town = logged_in()
    assert submit(town, b" x\r\nFrom: ceo@c.test\r\nBcc: b@c.test\r\n\r\nx\r\n").startswith("250")
    _, head, body = town.intake.stored[0]
    assert b"From: alice@a.test\r\n" in head and b"Message-ID: " in head and head.endswith(b"\r\n\r\n")
    assert body == b" x\r\nFrom: ceo@c.test\r\nBcc: b@c.test\r\n\r\nx\r\n"


BLIND = b"bcc: b@c.test,\r\n\td@e.test\r\n", b"Resent-Bcc : x\r\n", b"BCC:\r\n"


@pytest.mark.parametrize("text", [b"\r\nBcc: in the text\r\n", b"\r\n" + b"x" * 70_000 + b"\r\n", b""])
def test_nobody_sees_who_else_has_a_copy(text):
    content = BLIND[0] + COMPLETE + BLIND[1] + b"X-Bcc: y\r\n" + BLIND[2] + text
    for send in (Town.send, Town.drip):
        town = logged_in()
        town.say("MAIL FROM:<alice@a.test>", "RCPT TO:<carol@c.test>", "DATA")
        assert send(town, content + b".\r\n").startswith(b"250 2.0.0")
        assert town.intake.stored[0][2] == COMPLETE + b"X-Bcc: y\r\n" + text


def test_a_signed_message_without_bcc_passes_as_it_is():
    signed = COMPLETE + b"Subject:  odd \t spaces\r\n\tand folds\r\nDKIM-Signature: h=bcc:from\r\n\r\nx\r\n"
    assert without_blind_copies(signed) is signed


@given(
    st.lists(st.sampled_from([*BLIND, b"To: x\r\n", b"Bccc: x\r\n", b"no field\r\n", b"X: Bcc: y\r\n z\r\n"]))
)
def test_only_blind_copies_are_taken_out(fields):
    kept = b"".join(field for field in fields if field not in BLIND)
    assert without_blind_copies(b"".join(fields)) == kept
    assert without_blind_copies(b"".join(fields) + b"\r\n") == kept + b"\r\n"


@given(
    st.lists(
        st.sampled_from(
            [b"From", b":", b"Sender", b"\r\n", b" ", b"<", b"@", b"a.test", b"(", b'"', b",", b"\xc3\xa4"]
        )
    )
)
def test_no_header_is_too_strange_to_be_judged(pieces):
    try:
        originators(b"".join(pieces))
    except MailError as error:
        assert str(error).startswith("554 5.6.0")


def test_the_null_path_is_for_receipts():
    town = logged_in()
    assert submit(town, COMPLETE, sender="").startswith("250")
    assert town.intake.stored[0][0].reverse_path is None
    assert submit(town, b"From: bob@a.test\r\n", sender="").startswith("553")


def test_acting_for_somebody_else():
    town = Town("submission", cleartext=True)
    town.say("EHLO laptop")
    assert town.say(plain(other="bob@a.test")) == []
    town.clock.advance(10)
    assert town.said().startswith(b"535 5.7.8")
    assert town.say(plain(other="alice@a.test")) == ["235 2.7.0 Authentication succeeded"]


def test_a_failure_is_answered_late_and_told():
    town = Town("submission", cleartext=True)
    town.say("EHLO laptop")
    assert town.say(plain(password="wrong"), "NOOP") == []
    town.clock.advance(0.9)
    assert town.said() == b""
    town.clock.advance(9)
    assert [line[:3] for line in town.said().splitlines()] == [b"535", b"250"]
    (event,) = town.told
    assert event.facts["peer"] == "192.0.2.1"
    assert "wrong" not in str(event)


def test_starttls_forgets_the_login():
    town = logged_in(tls=True)
    town.say("STARTTLS")
    assert town.secure
    assert town.say("EHLO laptop", "MAIL FROM:<alice@a.test>")[-1] == "530 5.7.0 Authentication required"


def test_who_left_while_logging_in_is_forgotten():
    town = Town("submission", cleartext=True)
    town.say("EHLO laptop", plain(password="wrong"))
    town.hang_up()
    town.clock.advance(10)
    assert not town.listener.connections


@pytest.mark.parametrize("value", ["<a@a.tes:t>", "<a@a.t x>", "a@a.test Alice", "<a@a.test . test>"])
def test_readers_may_not_disagree_about_where_a_domain_ends(value):
    with pytest.raises(MailError, match="more than one way"):
        originators(f"From: {value}\r\n".encode())


@pytest.mark.parametrize(
    "value",
    [
        "a@a.test\r\n (Alice)",
        "Alice <a@a.test >",
        "us: a@a.test;",
        "a@ a.test",
        "a@a.test <a@a.test>",
        '"A: b" <a@a.test>',
    ],
)
def test_usual_ways_to_write_an_author(value):
    assert originators(f"From: {value}\r\n".encode()) == [address("a@a.test")]


def test_authors():
    assert originators(b"Subject: x\r\n\r\n") == []
    assert originators(b'From: "a b"@a.test\r\n') == [address('"a b"@a.test')]
    with pytest.raises(MailError):
        originators(b"From: a@-\r\n")


def test_nothing_is_added_to_a_complete_header():
    missing = missing_fields(COMPLETE, author=address("a@a.test"), hostname="mx", queue_id="Q", date=0.0)
    assert missing == b""
