"""Dialogs of the client engine. Each is played in one piece and one octet at a time."""

import base64
import tracemalloc

import pytest

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import EnvelopeRecipient
from twisted_mta.protocol.smtp.client import ClientEngine
from twisted_mta.protocol.smtp.client_events import (
    Broken,
    Challenged,
    EnvelopeReplied,
    RecipientsReplied,
    Replied,
    Stage,
)
from twisted_mta.protocol.smtp.offers import Limits
from twisted_mta.protocol.smtp.reply_reader import Reply
from twisted_mta.protocol.smtp.transaction import Transaction

ALICE = Address("alice", "a.test")
BOB, CAROL, DAVE = (Address(name, "b.test") for name in ("bob", "carol", "dave"))


class Dialog:
    """The engine of me.test, and a server that says what it is told to."""

    def __init__(self, step, lmtp=False):
        self.step = step
        self.hello = "LHLO" if lmtp else "EHLO"
        self.engine = ClientEngine("me.test", lmtp=lmtp)

    def server(self, *lines):
        """The server says these lines; the events that follow."""
        octets = b"".join(line.encode() + b"\r\n" for line in lines)
        events = []
        for start in range(0, len(octets), self.step):
            self.engine.receive(octets[start : start + self.step])
            while (event := self.engine.next_event()) is not None:
                events.append(event)
        return events

    def client(self):
        """What the client has sent since the last time, in lines."""
        output = self.engine.take_output()
        assert not output or output.endswith(b"\r\n")
        return output.decode().split("\r\n")[:-1]

    def greeted(self, *extensions):
        """Past the greeting and EHLO."""
        self.server("220 mx.b.test ESMTP")
        self.engine.hello()
        assert self.client() == [f"{self.hello} me.test"]
        lines = ["mx.b.test", *extensions]
        said = [f"250{'-' if n < len(lines) - 1 else ' '}{line}" for n, line in enumerate(lines)]
        assert self.server(*said) == [Replied(Stage.HELLO, Reply(250, tuple(lines)))]
        return self

    def envelope(self, *recipients, reset=False, size=100, eight_bit=False):
        transaction = Transaction(
            ALICE, [EnvelopeRecipient(to) for to in recipients], size, eight_bit=eight_bit
        )
        self.engine.envelope(transaction, now=0.0, reset=reset)
        return self.client()


@pytest.fixture(params=[1, 1000], ids=["octets", "whole"])
def dialog(request):
    return Dialog(request.param)


OK = Reply(250, ("ok",))
GO = Reply(354, ("go",))


def test_the_shortest_way(dialog):
    assert dialog.server("220-mx.b.test", "220 ready") == [
        Replied(Stage.BANNER, Reply(220, ("mx.b.test", "ready")))
    ]
    dialog.engine.hello()
    dialog.client()
    dialog.server("250 mx.b.test")
    assert dialog.envelope(BOB) == ["MAIL FROM:<alice@a.test>"]
    assert dialog.server("250 ok") == []
    assert dialog.client() == ["RCPT TO:<bob@b.test>"]
    assert dialog.server("250 ok") == []
    assert dialog.client() == ["DATA"]
    event = EnvelopeReplied(OK, (OK,), GO)
    assert dialog.server("354 go") == [event] and event.go_ahead
    assert dialog.engine.waiting_for is Stage.CONTENT
    dialog.engine.send_content(b"cont", last=False)
    assert dialog.engine.waiting_for is Stage.CONTENT
    dialog.engine.send_content(b"ent\r\n.\r\n", last=True)
    assert dialog.engine.waiting_for is Stage.FINAL
    assert dialog.client() == ["content", "."]
    assert dialog.server("250 2.0.0 queued") == [Replied(Stage.FINAL, Reply(250, ("2.0.0 queued",)))]
    assert dialog.engine.waiting_for is Stage.IDLE
    dialog.engine.quit()
    assert dialog.client() == ["QUIT"]
    assert dialog.server("221 bye") == [Replied(Stage.QUIT, Reply(221, ("bye",)))]
    assert dialog.engine.finished


def test_helo_when_ehlo_is_unknown(dialog):
    dialog.server("220 old")
    dialog.engine.hello()
    assert dialog.client() == ["EHLO me.test"]
    assert dialog.server("502 what?") == []
    assert dialog.client() == ["HELO me.test"]
    assert dialog.server("250 old.b.test hello") == [Replied(Stage.HELLO, Reply(250, ("old.b.test hello",)))]
    assert dialog.engine.extensions == {} and dialog.engine.peer_name == "old.b.test"


def test_helo_is_refused_too(dialog):
    dialog.server("220 no")
    dialog.engine.hello()
    dialog.server("554 no")
    assert dialog.server("554 really") == [Replied(Stage.HELLO, Reply(554, ("really",)))]


def test_a_temporary_refusal_of_ehlo_is_no_reason_for_helo(dialog):
    dialog.server("220 busy")
    dialog.engine.hello()
    assert dialog.server("450 later") == [Replied(Stage.HELLO, Reply(450, ("later",)))]


def test_extensions(dialog):
    dialog.greeted("size 1000", "PIPELINING", "Auth LOGIN plain", "")
    assert dialog.engine.extensions == {"SIZE": "1000", "PIPELINING": "", "AUTH": "LOGIN plain", "": ""}
    assert dialog.engine.size_limit == 1000
    assert dialog.engine.mechanisms == ["LOGIN", "PLAIN"]


@pytest.mark.parametrize(("parameter", "limit"), [("", 0), (" 0", 0), (" -1", 0), (" 1k", 0), (" 9" * 99, 0)])
def test_a_size_that_says_nothing(dialog, parameter, limit):
    assert dialog.greeted(f"SIZE{parameter}").engine.size_limit == limit


def test_parameters_of_mail(dialog):
    dialog.greeted("SIZE", "8BITMIME")
    assert dialog.envelope(BOB, size=4711, eight_bit=True) == [
        "MAIL FROM:<alice@a.test> SIZE=4711 BODY=8BITMIME"
    ]


def test_seven_bits_are_not_declared(dialog):
    assert dialog.greeted("8BITMIME").envelope(BOB) == ["MAIL FROM:<alice@a.test>"]


def test_the_null_path(dialog):
    transaction = Transaction(None, [EnvelopeRecipient(BOB)], 1, eight_bit=True)
    dialog.greeted("PIPELINING").engine.envelope(transaction, now=0.0, reset=False)
    assert dialog.client()[0] == "MAIL FROM:<>"


def test_pipelining(dialog):
    assert dialog.greeted("PIPELINING").envelope(BOB, CAROL, reset=True) == [
        "RSET",
        "MAIL FROM:<alice@a.test>",
        "RCPT TO:<bob@b.test>",
        "RCPT TO:<carol@b.test>",
        "DATA",
    ]
    no = Reply(550, ("5.1.1 no",))
    assert dialog.server("250 ok", "250 ok", "250 ok", "550 5.1.1 no", "354 go") == [
        EnvelopeReplied(OK, (OK, no), GO)
    ]
    assert dialog.engine.waiting_for is Stage.CONTENT


def test_without_pipelining_nothing_is_said_in_vain(dialog):
    dialog.greeted()
    assert dialog.envelope(BOB, CAROL, reset=True) == ["RSET"]
    dialog.server("250 ok")
    dialog.client()
    dialog.server("250 ok")
    assert dialog.client() == ["RCPT TO:<bob@b.test>"]
    dialog.server("550 no")
    assert dialog.client() == ["RCPT TO:<carol@b.test>"]
    no = Reply(550, ("no",))
    assert dialog.server("550 no") == [EnvelopeReplied(OK, (no, no), None)]
    assert dialog.client() == []
    dialog.envelope(BOB)
    assert dialog.server("452 full") == [EnvelopeReplied(Reply(452, ("full",)), (), None)]
    assert dialog.client() == [] and dialog.engine.waiting_for is Stage.IDLE


def test_a_refused_mail_with_pipelining(dialog):
    dialog.greeted("PIPELINING").envelope(BOB, CAROL)
    bad = Reply(503, ("order",))
    assert dialog.server("550 no", "503 order", "503 order", "503 order") == [
        EnvelopeReplied(Reply(550, ("no",)), (), bad)
    ]
    assert dialog.engine.waiting_for is Stage.IDLE and not dialog.engine.finished


def test_all_recipients_refused_and_data_accepted_all_the_same(dialog):
    """The server waits for an end of data; the next transaction goes behind it (RFC 2920 §3.1)."""
    dialog.greeted("PIPELINING").envelope(BOB)
    no = Reply(550, ("no",))
    (event,) = dialog.server("250 ok", "550 no", "354 go")
    assert event == EnvelopeReplied(OK, (no,), GO) and not event.go_ahead
    assert dialog.client() == ["."]
    assert dialog.envelope(CAROL, reset=True)[:2] == ["RSET", "MAIL FROM:<alice@a.test>"]
    assert dialog.server("554 no recipients", "250 ok", "250 ok", "250 ok", "354 go") == [
        EnvelopeReplied(OK, (OK,), GO)
    ]


def test_a_go_ahead_for_a_refused_sender(dialog):
    dialog.greeted("PIPELINING").envelope(BOB)
    assert dialog.server("550 no", "250 ok", "354 go") == [
        Broken(Stage.DATA, "Go-ahead for a refused transaction")
    ]
    assert dialog.client() == []


def test_data_refused(dialog):
    dialog.greeted("PIPELINING").envelope(BOB)
    (event,) = dialog.server("250 ok", "250 ok", "451 disk")
    assert event == EnvelopeReplied(OK, (OK,), Reply(451, ("disk",))) and not event.go_ahead


def test_421_answers_all_that_is_outstanding(dialog):
    dialog.greeted("PIPELINING").envelope(BOB, CAROL, DAVE)
    bye = Reply(421, ("bye",))
    assert dialog.server("250 ok", "250 ok", "421 bye") == [EnvelopeReplied(OK, (OK, bye, bye), bye)]
    assert dialog.engine.finished
    dialog.engine.quit()
    assert dialog.client() == []


def test_421_without_pipelining(dialog):
    dialog.greeted().envelope(BOB, CAROL)
    bye = Reply(421, ("bye",))
    assert dialog.server("250 ok", "421 bye") == [EnvelopeReplied(OK, (bye, bye), bye)]
    assert dialog.engine.finished


def test_421_to_mail(dialog):
    dialog.greeted("PIPELINING").envelope(BOB)
    assert dialog.server("421 bye") == [EnvelopeReplied(Reply(421, ("bye",)), (), Reply(421, ("bye",)))]
    assert dialog.engine.finished


def test_421_out_of_the_blue(dialog):
    dialog.greeted()
    assert dialog.server("421 idle for too long") == [Broken(Stage.IDLE, "421 idle for too long")]
    assert dialog.engine.finished


def test_a_refused_reset(dialog):
    dialog.greeted("PIPELINING").envelope(BOB, reset=True)
    assert dialog.server("500 what?") == [Broken(Stage.RESET, "500 what?")]


def test_a_verdict_before_the_end_of_the_content(dialog):
    dialog.greeted("PIPELINING").envelope(BOB)
    dialog.server("250 ok", "250 ok", "354 go")
    dialog.engine.send_content(b"much\r\n", last=False)
    assert dialog.server("552 too much") == [Replied(Stage.CONTENT, Reply(552, ("too much",)))]
    assert dialog.engine.finished
    dialog.engine.send_content(b".\r\n", last=True)


def test_acceptance_before_the_end_of_the_content(dialog):
    dialog.greeted("PIPELINING").envelope(BOB)
    dialog.server("250 ok", "250 ok", "354 go")
    assert dialog.server("250 ok") == [Broken(Stage.CONTENT, "Reply out of place: 250 ok")]


@pytest.mark.parametrize("lines", [["354 go"], ["250 ok", "354 go"], ["250 ok", "250 ok", "250 ok"]])
def test_replies_out_of_place(dialog, lines):
    dialog.greeted("PIPELINING").envelope(BOB)
    (event,) = dialog.server(*lines)
    assert isinstance(event, Broken) and dialog.engine.finished
    assert dialog.server("250 ok") == []


def test_a_reply_nobody_asked_for(dialog):
    dialog.greeted()
    assert dialog.server("250 ok") == [Broken(Stage.IDLE, "Reply without a command")]


def test_garbage(dialog):
    assert dialog.server("SSH-2.0-OpenSSH_9.2") == [
        Broken(Stage.BANNER, "Not an SMTP reply: 'SSH-2.0-OpenSSH_9.2'")
    ]
    assert dialog.engine.finished


# STARTTLS


def test_starttls(dialog):
    dialog.greeted("STARTTLS", "SIZE 10", "AUTH PLAIN")
    dialog.engine.start_tls()
    assert dialog.client() == ["STARTTLS"]
    assert dialog.server("220 go") == [Replied(Stage.START_TLS, Reply(220, ("go",)))]
    dialog.engine.tls_started()
    assert dialog.engine.extensions == {}
    dialog.engine.hello()
    assert dialog.client() == ["EHLO me.test"]
    dialog.server("250-mx.b.test", "250 8BITMIME")
    assert dialog.engine.extensions == {"8BITMIME": ""}


@pytest.mark.parametrize("injected", ["250 injected", "", "250-half of a reply"])
def test_words_behind_the_go_ahead_for_tls(dialog, injected):
    """A regression test of twisted.mail's fault, on the client's side: they would be answers inside TLS."""
    dialog.greeted("STARTTLS")
    dialog.engine.start_tls()
    events = dialog.server("220 go", injected)
    assert events[-1] == Broken(Stage.START_TLS, "Plain text behind the go-ahead for TLS")
    assert dialog.engine.finished


def test_starttls_refused(dialog):
    dialog.greeted("STARTTLS")
    dialog.engine.start_tls()
    assert dialog.server("454 no certificate") == [Replied(Stage.START_TLS, Reply(454, ("no certificate",)))]
    assert not dialog.engine.finished
    dialog.client()
    assert dialog.envelope(BOB) == ["MAIL FROM:<alice@a.test>"]


# AUTH


def encoded(octets):
    return base64.b64encode(octets).decode()


def test_auth_with_an_initial_response(dialog):
    dialog.greeted("AUTH LOGIN PLAIN")
    dialog.engine.authenticate("PLAIN", "\0üser\0secret".encode())
    assert dialog.client() == ["AUTH PLAIN " + encoded("\0üser\0secret".encode())]
    assert dialog.server("235 welcome") == [Replied(Stage.AUTH, Reply(235, ("welcome",)))]


def test_an_empty_initial_response(dialog):
    dialog.greeted("AUTH EXTERNAL").engine.authenticate("EXTERNAL", b"")
    assert dialog.client() == ["AUTH EXTERNAL ="]


def test_an_initial_response_too_long_for_one_line(dialog):
    dialog.greeted("AUTH PLAIN")
    dialog.engine.authenticate("PLAIN", b"\0user\0" + b"x" * 500)
    assert dialog.client() == ["AUTH PLAIN"]
    assert dialog.server("334 ") == []
    assert dialog.client() == [encoded(b"\0user\0" + b"x" * 500)]
    assert dialog.server("334 ") == [Challenged(b"")]


def test_auth_with_challenges(dialog):
    dialog.greeted("AUTH CRAM-MD5 LOGIN")
    dialog.engine.authenticate("LOGIN", None)
    assert dialog.client() == ["AUTH LOGIN"]
    assert dialog.server("334 VXNlcm5hbWU6") == [Challenged(b"Username:")]
    dialog.engine.respond(b"user")
    assert dialog.client() == [encoded(b"user")]
    assert dialog.server("334 no base64") == [Challenged(b"")]
    dialog.engine.respond(b"secret")
    assert dialog.client() == [encoded(b"secret")]
    assert dialog.server("535 5.7.8 no") == [Replied(Stage.AUTH, Reply(535, ("5.7.8 no",)))]
    assert not dialog.engine.finished


@pytest.mark.parametrize(
    ("answer", "event"),
    [
        ("501 cancelled", Replied(Stage.AUTH, Reply(501, ("cancelled",)))),
        ("334 more", Broken(Stage.AUTH, "Challenge after the exchange was cancelled")),
        ("235 welcome", Broken(Stage.AUTH, "Reply out of place: 235 welcome")),
    ],
)
def test_auth_cancelled(dialog, answer, event):
    dialog.greeted("AUTH PLAIN").engine.authenticate("PLAIN", b"\0user\0secret")
    dialog.server("334 ")
    dialog.client()
    dialog.engine.cancel()
    assert dialog.client() == ["*"]
    assert dialog.server(answer) == [event]


# CHUNKING (RFC 3030)


def chunked(dialog, *extensions):
    dialog.greeted("CHUNKING", *extensions)
    return dialog


def test_content_in_chunks(dialog):
    chunked(dialog, "PIPELINING")
    assert dialog.envelope(BOB, CAROL)[-1] == "RCPT TO:<carol@b.test>"
    no = Reply(550, ("no",))
    assert dialog.server("250 ok", "250 ok", "550 no") == [EnvelopeReplied(OK, (OK, no), None, True)]
    dialog.engine.send_content(b"one\r\n", last=False)
    dialog.engine.send_content(b"", last=False)
    dialog.engine.send_content(b".\r\nthree\r\n", last=True)
    assert dialog.engine.take_output() == b"BDAT 5\r\none\r\nBDAT 10 LAST\r\n.\r\nthree\r\n"
    assert dialog.engine.waiting_for is Stage.FINAL
    assert dialog.server("250 5 octets") == []
    assert dialog.server("250 queued") == [Replied(Stage.FINAL, Reply(250, ("queued",)))]
    assert dialog.envelope(BOB, reset=True)[0] == "RSET"


def test_chunks_in_turn_without_pipelining(dialog):
    chunked(dialog).envelope(BOB)
    dialog.server("250 ok")
    assert dialog.client() == ["RCPT TO:<bob@b.test>"]
    assert dialog.server("250 ok") == [EnvelopeReplied(OK, (OK,), None, True)]
    dialog.engine.send_content(b"one", last=False)
    assert dialog.engine.take_output() == b"BDAT 3\r\none" and not dialog.engine.holds_content
    dialog.engine.send_content(b"two", last=True)
    assert dialog.engine.take_output() == b"" and dialog.engine.holds_content
    dialog.server("250 ok")
    assert dialog.engine.take_output() == b"BDAT 3 LAST\r\ntwo"
    assert dialog.server("250 ok") == [Replied(Stage.FINAL, OK)]


def test_nobody_accepted_means_no_chunk(dialog):
    chunked(dialog, "PIPELINING").envelope(BOB)
    (event,) = dialog.server("250 ok", "550 no")
    assert not event.go_ahead and dialog.engine.waiting_for is Stage.IDLE
    dialog.engine.send_content(b"content", last=True)
    assert dialog.engine.take_output() == b""


def test_a_refused_chunk(dialog):
    """Those behind it were in vain, and the conversation stays in step."""
    chunked(dialog, "PIPELINING").envelope(BOB)
    dialog.server("250 ok", "250 ok")
    for _ in range(3):
        dialog.engine.send_content(b"x", last=False)
    full = Reply(452, ("4.3.1 full",))
    assert dialog.server("250 ok", "452 4.3.1 full") == [Replied(Stage.CONTENT, full)]
    dialog.engine.take_output()
    dialog.engine.send_content(b"y", last=True)
    assert dialog.engine.take_output() == b"" and not dialog.engine.finished
    assert dialog.envelope(CAROL, reset=True)[:2] == ["RSET", "MAIL FROM:<alice@a.test>"]
    assert dialog.server("503 no", "250 ok", "250 ok", "250 ok") == [EnvelopeReplied(OK, (OK,), None, True)]


def test_421_to_a_chunk(dialog):
    chunked(dialog, "PIPELINING").envelope(BOB)
    dialog.server("250 ok", "250 ok")
    dialog.engine.send_content(b"x", last=False)
    dialog.engine.send_content(b"x", last=True)
    assert dialog.server("421 bye") == [Replied(Stage.CONTENT, Reply(421, ("bye",)))]
    assert dialog.engine.finished


def test_an_empty_message_in_a_chunk(dialog):
    chunked(dialog, "PIPELINING").envelope(BOB)
    dialog.server("250 ok", "250 ok")
    dialog.engine.send_content(b"", last=True)
    assert dialog.client() == ["MAIL", "BDAT 0 LAST"][1:]


# LMTP (RFC 2033)


@pytest.fixture(params=[1, 1000], ids=["octets", "whole"])
def lmtp(request):
    return Dialog(request.param, lmtp=True)


@pytest.mark.parametrize("offer", [(), ("CHUNKING",)])
def test_lmtp_has_a_reply_for_each_recipient(lmtp, offer):
    lmtp.greeted("PIPELINING", *offer)
    lmtp.envelope(BOB, CAROL, DAVE)
    (event,) = lmtp.server("250 ok", "250 ok", "550 no", "250 ok", *(() if offer else ("354 go",)))
    assert event.go_ahead
    lmtp.engine.send_content(b".\r\n", last=True)
    assert lmtp.server("250 bob") == []
    assert lmtp.engine.final_replies == [Reply(250, ("bob",))] and lmtp.engine.waiting_for is Stage.FINAL
    full = Reply(452, ("4.2.2 dave",))
    assert lmtp.server("452 4.2.2 dave") == [RecipientsReplied((Reply(250, ("bob",)), full))]
    assert lmtp.engine.waiting_for is Stage.IDLE


def test_lmtp_421_in_the_middle_of_the_replies(lmtp):
    lmtp.greeted("PIPELINING").envelope(BOB, CAROL, DAVE)
    lmtp.server("250 ok", "250 ok", "250 ok", "250 ok", "354 go")
    lmtp.engine.send_content(b".\r\n", last=True)
    bye = Reply(421, ("bye",))
    assert lmtp.server("250 ok", "421 bye") == [RecipientsReplied((OK, bye, bye))]
    assert lmtp.engine.finished


def test_lmtp_has_no_helo(lmtp):
    lmtp.server("220 x")
    lmtp.engine.hello()
    assert lmtp.server("500 what?") == [Replied(Stage.HELLO, Reply(500, ("what?",)))]


def test_lmtp_go_ahead_for_nobody(lmtp):
    """An end of data would have no reply at all (RFC 2033 §4.2)."""
    lmtp.greeted("PIPELINING").envelope(BOB)
    assert lmtp.server("250 ok", "550 no", "354 go") == [
        Broken(Stage.DATA, "Go-ahead for a refused transaction")
    ]


# What a server says beside the point


def test_a_reply_too_many_does_not_answer_the_next_command(dialog):
    dialog.greeted("PIPELINING").envelope(BOB)
    dialog.server("250 ok", "250 ok", "354 go")
    dialog.engine.send_content(b".\r\n", last=True)
    dialog.engine.receive(b"250 ok\r\n250 one more\r\n")
    assert dialog.engine.next_event() == Replied(Stage.FINAL, OK)
    dialog.client()
    dialog.envelope(CAROL, reset=True)
    assert dialog.engine.next_event() == Broken(Stage.IDLE, "Reply without a command")
    assert dialog.client() == []


def test_a_flood_is_not_kept():
    dialog = Dialog(1_000_000)
    dialog.server("SSH-2.0")
    flood = b"250 x\r\n" * 150_000
    tracemalloc.start()
    for _ in range(20):
        dialog.engine.receive(flood)
        assert dialog.engine.next_event() is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000


def test_an_endless_list_of_extensions(dialog):
    dialog.server("220 x")
    dialog.engine.hello()
    lines = [f"250-X{n}" for n in range(200)]
    (event,) = dialog.server(*lines)
    assert event == Broken(Stage.HELLO, "Reply has too many lines")


@pytest.mark.parametrize(
    ("offer", "limits"),
    [
        ("LIMITS RCPTMAX=50 MAILMAX=3 RCPTDOMAINMAX=1", Limits(3, 50, 1)),
        ("limits rcptmax=999999", Limits(0, 999_999, 0)),
        ("LIMITS RCPTMAX=0 MAILMAX=-1 RCPTDOMAINMAX=1000000 NEW=7", Limits()),
        ("LIMITS RCPTMAX=5 RCPTMAX=9", Limits(0, 5, 0)),
        ("SIZE", Limits()),
    ],
)
def test_limits(dialog, offer, limits):
    assert dialog.greeted(offer).engine.limits == limits


def test_an_address_with_a_command_in_it_is_never_sent(dialog):
    dialog.greeted("PIPELINING")
    for sender, recipient in ((Address("a\r\nDATA", "b.test"), BOB), (ALICE, Address("b", "c\r\nQUIT"))):
        with pytest.raises(ValueError):
            dialog.engine.envelope(
                Transaction(sender, [EnvelopeRecipient(recipient)], 1), now=0.0, reset=False
            )
    assert dialog.client() == []


def test_a_thousand_recipients(dialog):
    dialog.greeted("PIPELINING")
    recipients = [Address(f"r{n}", "b.test") for n in range(1000)]
    assert len(dialog.envelope(*recipients)) == 1002
    (event,) = dialog.server("250 ok", *["250 ok"] * 1000, "354 go")
    assert len(event.recipients) == 1000
