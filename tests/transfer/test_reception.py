"""Reception as a session: what gets in, what is stored, what is said when, what is told to the journey."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from tests.transfer.smtp_session import Intake, Town, address, full_disk
from twisted_mta.message.address import Address
from twisted_mta.message.networks import within
from twisted_mta.message.status import MailError
from twisted_mta.protocol.smtp.data import CHUNK
from twisted_mta.protocol.smtp.extensions import Extension
from twisted_mta.transfer.session import separator

ENVELOPE = ("EHLO b.test", "MAIL FROM:<x@b.test>", "RCPT TO:<alice@a.test>")
CONTENT = b"Subject: hi\r\n\r\n.dot\r\n\xe4\xf6\xfc\r\n"


def deliver(town, content=CONTENT):
    """Everything up to the reply to the final dot."""
    town.say(*ENVELOPE, "DATA")
    return town.send(content.replace(b"\r\n.", b"\r\n..") + b".\r\n").decode("ascii")


def test_the_message_is_stored_as_it_came_with_a_trace_in_front():
    town = Town()
    assert deliver(town) == "250 2.0.0 Ok, queued as Q1\r\n"
    ((envelope, head, body),) = town.intake.stored
    assert (envelope.reverse_path, envelope.forward_paths) == (
        address("x@b.test"),
        (address("alice@a.test"),),
    )
    assert envelope.parameters.body == "7BIT"
    assert body == CONTENT
    assert head == (
        b"Received: from b.test ([192.0.2.1]) by mx.a.test with ESMTP id Q1\r\n"
        b"\tfor <alice@a.test>; Tue, 14 Nov 2023 22:13:20 +0000\r\n"
    )


def test_a_full_mailbox_is_refused_for_a_while():
    town = Town()
    town.full.add("alice@a.test")
    recipients = ("RCPT TO:<alice@a.test>", "RCPT TO:<sales+x@a.test>", "RCPT TO:<bob@a.test>")
    assert town.say("EHLO b.test", "MAIL FROM:<x@b.test>", *recipients)[3:] == [
        "452 4.2.2 <alice@a.test> Mailbox is full",
        "452 4.2.2 <sales+x@a.test> Mailbox is full",  # the house answers an alias with its account
        "250 2.1.5 Recipient ok",
    ]
    assert town.stages == ["refused", "refused"]
    town.full.clear()
    assert town.say("RCPT TO:<alice@a.test>") == ["250 2.1.5 Recipient ok"]


def test_the_trace_tells_of_tls_and_hides_other_recipients():
    town = Town(tls=True)
    town.say("EHLO b.test", "STARTTLS")
    assert town.secure
    town.say(
        "EHLO b.test", "MAIL FROM:<> BODY=8BITMIME", "RCPT TO:<alice@a.test>", "RCPT TO:<bob@a.test>", "DATA"
    )
    town.send(b"x: y\r\n.\r\n")
    ((envelope, head, _),) = town.intake.stored
    assert envelope.reverse_path is None and envelope.parameters.body == "8BITMIME"
    assert b"using TLSv1.3" in head and b"with ESMTPS id" in head
    assert b"alice" not in head and b"bob" not in head


def test_a_hello_cannot_inject_a_header():
    """Acceptance 28."""
    town = Town()
    assert town.say("HELO b.test\tx", "HELO b.test x")[1:] == ["501 5.5.4 Syntax: HELO name"] * 2
    town.say("HELO (b;test<>", "MAIL FROM:<>", "RCPT TO:<alice@a.test>", "DATA")
    assert town.say("x: y", ".") == ["250 2.0.0 Ok, queued as Q1"]
    head = town.intake.stored[0][1]
    assert head.startswith(b"Received: from ?b?test?? ([192.0.2.1]) by mx.a.test with SMTP id Q1")


# 250 only once the queue has it


def test_250_waits_for_the_queue():
    town = Town()
    town.say(*ENVELOPE, "DATA")
    gate = town.intake.commit_gate = Deferred()
    assert town.send(b"x: y\r\n.\r\nNOOP\r\n") == b""
    assert not town.intake.stored
    gate.callback(None)
    assert town.said() == b"250 2.0.0 Ok, queued as Q1\r\n250 2.0.0 Ok\r\n"


@pytest.mark.parametrize("code", [451, 452])
def test_a_commit_that_fails_is_never_250(code):
    town = Town()
    town.intake.commit_error = MailError(code, "4.3.1", "Insufficient system storage")
    assert deliver(town) == f"{code} 4.3.1 Insufficient system storage\r\n"
    town.intake.commit_error = None
    assert town.say("RCPT TO:<alice@a.test>") == ["503 5.5.1 MAIL first"]
    assert deliver(town).startswith("250 2.0.0 Ok, queued as Q2")
    assert town.stages == ["refused", "accepted"]


def test_an_accident_is_temporary_and_tells_nothing():
    town = Town()
    town.intake.commit_error = RuntimeError("secret path /var")
    assert deliver(town) == "451 4.3.0 Local error in processing, try again later\r\n"
    town.intake.commit_error = None
    assert deliver(town).startswith("250")


def test_a_write_that_fails_is_told_at_the_end_of_data():
    town = Town()
    town.intake.write_error = full_disk()
    town.say(*ENVELOPE, "DATA")
    assert town.send(b"x: " + b"y" * CHUNK) == b""
    assert town.send(b"QUIT\r\n" * CHUNK + b".\r\nNOOP\r\n") == (
        b"452 4.3.1 Insufficient system storage\r\n250 2.0.0 Ok\r\n"
    )
    assert not town.intake.drafts[0].open
    assert not town.closed


def test_large_content_is_handed_on_in_pieces():
    town = Town()
    town.say(*ENVELOPE, "DATA")
    town.send(b"\r\n")
    for _ in range(100):
        town.send(b"x" * 1400 + b"\r\n")
    town.send(b".\r\n")
    assert len(town.intake.writes) == 9
    assert max(town.intake.writes) < 2 * CHUNK
    assert len(town.intake.stored[0][2]) == 140_202


# Order


def test_pipelined_commands_wait_for_a_slow_lookup():
    """twisted.mail answers what comes behind a pending Deferred first."""
    town = Town()
    town.say("EHLO b.test", "MAIL FROM:<x@b.test>")
    gate = town.directory.gate = Deferred()
    assert town.send(b"RCPT TO:<nobody@a.test>\r\nRCPT TO:<alice@a.test>\r\nNOOP\r\nVRFY x\r\n") == b""
    assert town.send(b"NOOP\r\n") == b""
    assert town.directory.lookups == ["nobody@a.test"]
    assert town.transport.producerState == "paused"
    town.directory.gate = None
    gate.callback(None)
    assert [line[:9] for line in town.said().splitlines()] == [
        b"550 5.1.1",
        b"250 2.1.5",
        b"250 2.0.0",
        b"252 2.0.0",
        b"250 2.0.0",
    ]
    assert town.transport.producerState == "producing"


def test_replies_to_pipelined_commands_leave_in_one_write():
    town = Town()
    writes = []
    town.transport.write = writes.append
    town.send("".join(f"{line}\r\n" for line in (*ENVELOPE, "DATA")).encode())
    assert len(writes) == 1 and writes[0].endswith(b"line by itself\r\n")


# Loops


def test_a_message_that_has_passed_a_hundred_hosts_is_refused():
    town = Town()
    trace = b"Received: from a by b; Tue, 14 Nov 2023 22:13:20 +0000\r\n"
    assert deliver(town, trace * 100 + b"\r\nx\r\n").startswith("554 5.4.6")
    assert deliver(town, trace * 99 + b"\r\n" + trace * 100).startswith("250")
    assert not town.intake.drafts[0].open


def test_a_header_without_end_is_refused():
    town = Town()
    assert deliver(town, b"x: y\r\n" * 200_000).startswith("552 5.3.4")
    assert deliver(town).startswith("250")


# Relaying


@pytest.mark.parametrize(
    ("host", "networks", "expected"),
    [
        ("192.0.2.1", ["192.0.2.0/24"], 250),
        ("192.0.3.1", ["192.0.2.0/24"], 550),
        ("::ffff:192.0.2.1", ["192.0.2.0/24"], 250),
        ("2001:db8::1", ["192.0.2.0/24", "2001:db8::/32"], 250),
        ("fe80::1%eth0", ["fe80::/10"], 250),
        ("192.0.2.1", [], 550),
        ("", ["0.0.0.0/0"], 550),
    ],
)
def test_relaying(host, networks, expected):
    town = Town(host=host, networks=networks)
    town.say("EHLO b.test", "MAIL FROM:<x@b.test>")
    (answer,) = town.say("RCPT TO:<carol@c.test>")
    assert answer.startswith(str(expected))


@pytest.mark.parametrize(("host", "is_relaying"), [("192.0.2.1", False), ("198.51.100.1", True)])
def test_the_mail_of_those_who_may_relay_has_a_way_of_its_own(host, is_relaying):
    own = Intake()
    town = Town(host=host, networks=["198.51.100.0/24"], relaying=own)
    town.say("EHLO x", "MAIL FROM:<>", "RCPT TO:<alice@a.test>", "DATA")
    assert town.send(b"Subject: x\r\n\r\nx\r\n.\r\n").startswith(b"250")
    assert (len(own.stored), len(town.intake.stored)) == ((1, 0) if is_relaying else (0, 1))


def test_within_without_networks_asks_nothing():
    assert within("not an address", ()) is False


# The end


def test_a_client_that_leaves_leaves_no_draft():
    town = Town()
    town.say(*ENVELOPE, "DATA")
    town.send(b"x" * 20_000)
    town.hang_up()
    assert not town.intake.drafts[0].open


@pytest.mark.parametrize("command", ["STARTTLS", "RSET", "EHLO x"])
def test_what_ends_a_transaction_between_two_chunks_leaves_no_draft(command):
    town = Town(tls=True, extensions=frozenset({Extension.CHUNKING}))
    town.say(*ENVELOPE, "BDAT 3")
    town.send(b"abc")
    assert town.intake.drafts[0].open
    town.say(command)
    assert not town.intake.drafts[0].open


def test_a_client_that_leaves_during_a_write_leaves_no_draft():
    town = Town()
    town.say(*ENVELOPE, "DATA")
    gate = town.intake.gate = Deferred()
    town.send(b"x" * 20_000)
    town.hang_up()
    assert not town.intake.drafts[0].open
    gate.callback(None)
    assert not town.intake.stored and town.session.gone


def test_shutdown_lets_a_commit_finish():
    """Otherwise the client would send again what has been accepted."""
    town = Town()
    town.say(*ENVELOPE, "DATA")
    gate = town.intake.commit_gate = Deferred()
    town.send(b"x: y\r\n.\r\nNOOP\r\n")
    town.listener.end_all()
    assert town.said() == b"" and not town.closed
    gate.callback(None)
    assert [line[:9] for line in town.said().splitlines()] == [b"250 2.0.0", b"421 4.3.2"]
    assert town.closed


def test_shutdown_sends_away_who_has_not_finished():
    town = Town()
    town.say(*ENVELOPE, "DATA", "x: y")
    town.listener.end_all()
    assert town.said() == b"421 4.3.2 mx.a.test Shutting down, closing\r\n"
    assert town.closed
    town.hang_up()
    assert not town.intake.stored and not any(draft.open for draft in town.intake.drafts)


@pytest.mark.parametrize("size", [100, 8192])
def test_a_header_that_never_ends_is_refused_before_it_fills_the_memory(size):
    town = Town(header=10_000)
    town.say(*ENVELOPE, "DATA")
    for _ in range(0, 30_000, size):
        town.send(b"X: " + b"y" * (size - 5) + b"\r\n")
    assert len(town.intake.drafts[0].body) <= 10_000 + 2 * 8192
    assert not town.intake.drafts[0].open
    assert town.send(b"\r\nbody\r\n.\r\n").startswith(b"552 5.3.4")
    assert deliver(town).startswith("250 2.0.0")


def test_the_journey():
    town = Town()
    deliver(town)
    town.say("MAIL FROM:<x@b.test>", "RCPT TO:<nobody@a.test>")
    accepted, refused = town.told
    assert (accepted.stage, accepted.queue_id) == ("accepted", "Q1")
    assert accepted.facts == {
        "client": "192.0.2.1",
        "reverse_path": "<x@b.test>",
        "to": (Address.parse("alice@a.test"),),
        "recipients": 1,
        "size": len(CONTENT),
        "tls": "",
        "account": "",
        "message_id": "",
        "envid": "",
        "certifier": "",
        "client_name": "",
        "doubts": "",
    }
    assert refused.stage == "refused"
    assert refused.facts["forward_path"] == "<nobody@a.test>"
    assert refused.facts["reply"] == "550 5.1.1 <nobody@a.test> No such mailbox here"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"Subject: x\r\n\r\n", b""),
        (b"", b""),
        (b"\r\n", b""),
        (b"just text\r\n", b"\r\n"),
        (b"just text\r\n\r\n", b"\r\n"),
        (b" folded\r\nSubject: x\r\n", b"\r\n"),
        (b"From x Mon\r\nSubject: x\r\n", b""),
    ],
)
def test_text_without_a_header_is_no_part_of_ours(header, expected):
    assert separator(header) == expected
