"""The SMTP server engine by itself, mostly against hostile clients."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.protocol.sasl.offer import Offer
from twisted_mta.protocol.smtp import commands
from twisted_mta.protocol.smtp.events import (
    Answered,
    Authenticate,
    Burl,
    DataChunk,
    DataEnd,
    DataSpoiled,
    Recipient,
    StartTls,
)
from twisted_mta.protocol.smtp.extensions import Circumstances, Extension, SmtpLimits
from twisted_mta.protocol.smtp.replies import MAX_REPLY_LINE, multiline, reply
from twisted_mta.protocol.smtp.server import SmtpServer
from twisted_mta.protocol.smtp.states import State

PLAIN = Circumstances(frozenset(), SmtpLimits(), secure=False, now=0.0)


def read_mail(argument):
    return commands.mail(argument, PLAIN)


def read_recipient(argument, postmaster_domain):
    return commands.recipient(argument, postmaster_domain, PLAIN, utf8=False)


def OPEN():
    """Everybody may log in."""
    return Offer(private=True, nonce=lambda: "nonce")


FETCHED = b"fetched\r\n"
WITH_RECIPIENTS = (State.RECIPIENT, State.CHUNKS, State.DATA)
OPENING = b"EHLO b.test\r\nMAIL FROM:<x@b.test>\r\nRCPT TO:<alice@a.test>\r\n"


class Talk:
    """Accepts everything the engine asks; keeps the messages and the events."""

    def __init__(self, **options):
        self.engine = SmtpServer(hostname="mx.a.test", **options)
        self.messages = []
        self.events = []
        self.content = b""
        self.spoil = None

    def send(self, data):
        self.engine.receive(data)
        while (event := self.engine.next_event()) is not None:
            self.events.append(event)
            self.answer(event)
        return self.engine.take_output()

    def answer(self, event):
        match event:
            case DataChunk():
                self.content += event.content
                if self.spoil:
                    self.engine.refuse(self.spoil)
            case Burl():
                self.fetch(event)
            case DataEnd():
                self.messages.append(self.content)
                self.content = b""
                self.engine.accept()
            case DataSpoiled():
                self.content = b""
                self.engine.refuse(event.error)
            case Answered():
                pass
            case _:
                self.engine.accept()

    def fetch(self, chunk):
        """As a session answers BURL."""
        try:
            for octet in FETCHED:
                self.engine.include(bytes((octet,)))
                self.content += bytes((octet,))
            if chunk.last:
                self.engine.complete()
        except MailError as error:
            self.content = b""
            self.engine.refuse(error)
            return
        if chunk.last:
            self.messages.append(self.content)
            self.content = b""
        self.engine.accept()

    def drip(self, data):
        return b"".join(self.send(data[i : i + 1]) for i in range(len(data)))

    def codes(self, data):
        return [int(line[:3]) for line in self.send(data).split(b"\r\n") if line[3:4] == b" "]


def opened(**options):
    talk = Talk(**options)
    talk.send(OPENING)
    return talk


# SMTP smuggling: what some servers take for the end of data, in front of a second message

SMUGGLERS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\r\n.\r\r\n",
    b"\n\n.\r\n",
    b"\r.\n",
    b"\n.\r",
    b"\r\n\x00.\r\n",
    b"\r\n.\x00\r\n",
    b"\r\n.\r\x00\n",
    b"\r\n. \r\n",
    b"\r\n\x0b.\r\n",
    b"\r\n\xe2\x80\xa8.\r\n",
]
SECOND = b"MAIL FROM:<evil@b.test>\r\nRCPT TO:<alice@a.test>\r\nDATA\r\nForged\r\n.\r\n"


@pytest.mark.parametrize("way", ["send", "drip"])
@pytest.mark.parametrize("sequence", SMUGGLERS, ids=repr)
def test_smuggling_makes_no_second_message(sequence, way):
    talk = opened()
    output = getattr(talk, way)(b"DATA\r\nOne" + sequence + SECOND)
    # One end of data: the one of SECOND. Either all of it was content, or it was refused.
    codes = [line[:3] for line in output.split(b"\r\n")[:-1]]
    assert codes in ([b"354", b"250"], [b"354", b"550"])
    assert len(talk.messages) <= 1
    assert all(b"MAIL FROM:<evil" in message for message in talk.messages)
    if re.search(rb"(?<!\r)\n|\r(?!\n)", sequence):
        assert codes[1] == b"550" and not talk.messages
    assert talk.codes(b"NOOP\r\n") == [250]


def test_bare_line_ends_spoil_content_wherever_they_are():
    for content in (b"\nx", b"x\n", b"x\r", b"\r", b"a\r\n\rb", b"a\r\n\nb"):
        talk = opened()
        assert talk.codes(b"DATA\r\n" + content + b"\r\n.\r\n") == [354, 550], content
        assert talk.codes(OPENING[OPENING.index(b"MAIL") :] + b"DATA\r\nok\r\n.\r\n")[-1] == 250
        assert talk.messages == [b"ok\r\n"]


# The faults of twisted.mail that concern a server


def test_plaintext_behind_starttls_is_never_answered():
    """twisted.mail keeps it and answers it inside TLS."""
    talk = Talk(tls_available=True)
    output = talk.send(b"EHLO b.test\r\nSTARTTLS\r\nMAIL FROM:<evil@b.test>\r\n")
    assert output.splitlines()[-1].startswith(b"554 5.5.1")
    assert talk.engine.finished
    assert not any(isinstance(event, StartTls) for event in talk.events)
    assert talk.send(b"EHLO b.test\r\n") == b""


def test_plaintext_that_arrives_while_starttls_is_decided():
    engine = SmtpServer(hostname="mx.a.test", tls_available=True)
    engine.receive(b"EHLO b.test\r\n")
    engine.next_event()
    engine.accept()
    engine.take_output()
    engine.receive(b"STARTTLS\r\n")
    assert isinstance(engine.next_event(), StartTls)
    engine.receive(b"M")
    engine.accept()
    assert engine.take_output().startswith(b"554")
    assert engine.finished and not engine.secure


def test_a_long_line_of_data_is_data():
    """twisted.mail falls back to command mode behind 16 KiB without a line end."""
    talk = opened()
    line = b"x" * 100_000 + b"QUIT"
    assert talk.codes(b"DATA\r\n" + line + b"\r\nRSET\r\n.\r\n") == [354, 250]
    assert talk.messages == [line + b"\r\nRSET\r\n"]


def test_nothing_is_read_while_a_verdict_is_due():
    """twisted.mail lets pipelined commands overtake a pending Deferred (see also test_reception)."""
    engine = SmtpServer(hostname="mx.a.test")
    engine.receive(OPENING)
    engine.next_event()
    with pytest.raises(AssertionError):
        engine.next_event()
    assert engine.take_output() == b""
    engine.accept()
    assert engine.take_output().startswith(b"250-mx.a.test\r\n")


# Limits


def test_1001_recipients():
    talk = Talk()
    talk.send(b"EHLO b.test\r\nMAIL FROM:<x@b.test>\r\n")
    commands = b"".join(b"RCPT TO:<user%d@a.test>\r\n" % number for number in range(1001))
    assert talk.codes(commands) == [250] * 1000 + [452]
    assert len(talk.engine.forward_paths) == 1000
    assert talk.codes(commands + b"DATA\r\nx\r\n.\r\n") == [452] * 1001 + [354, 250]


def test_a_recipient_given_twice_counts_once():
    talk = opened()
    assert talk.codes(b"RCPT TO:<alice@a.test>\r\n") == [250]
    assert talk.engine.forward_paths == (Address("alice", "a.test"),)


def test_long_command_lines():
    talk = Talk(offer=OPEN, secure=True)
    assert talk.codes(b"NOOP " + b"x" * 2041 + b"\r\n") == [250]
    assert talk.codes(b"NOOP " + b"x" * 2042 + b"\r\n") == [500]
    assert talk.codes(b"x" * 100_000 + b"\r\nNOOP\r\n") == [500, 250]
    assert talk.drip(b"x" * 13_000 + b"\r\n") == b"500 5.5.2 Line too long\r\n"


def test_authentication_lines_may_be_longer():
    talk = Talk(offer=OPEN, secure=True)
    talk.send(b"EHLO b.test\r\n")
    response = base64.b64encode(b"\0alice\0" + b"x" * 9000)
    assert talk.codes(b"AUTH PLAIN\r\n" + response + b"\r\n") == [334, 235]
    assert isinstance(talk.events[-1], Authenticate)
    talk = Talk(offer=OPEN, secure=True)
    talk.send(b"EHLO b.test\r\n")
    assert talk.codes(b"AUTH PLAIN " + response + b"\r\n") == [235]
    talk = Talk(offer=OPEN, secure=True)
    talk.send(b"EHLO b.test\r\n")
    output = talk.send(b"AUTH PLAIN\r\n" + b"x" * 12_287 + b"\r\nNOOP\r\n")
    assert output == b"334 \r\n500 5.5.6 Line too long\r\n250 2.0.0 Ok\r\n"


def test_50_megabytes_without_a_line_end():
    talk = Talk()
    chunk = b"x" * 65_536
    output = b"".join(talk.send(chunk) for _ in range(800))
    assert output == b"500 5.5.2 Line too long\r\n"
    assert len(talk.engine._lines) == 0


def test_a_dripping_client_makes_few_events():
    talk = opened()
    talk.send(b"DATA\r\n")
    talk.events.clear()
    talk.drip(b"x" * 50_000)
    assert [len(event.content) for event in talk.events] == [16_384, 16_384, 16_384]


@pytest.mark.parametrize("content", [b"DATA\r\na\nb\r\n.\r\n", b"BDAT 3 LAST\r\na\nb"])
def test_a_refusal_is_not_kept_for_the_next_client(content):
    """Each time it is raised an exception holds on to one frame more, and to all that is in it."""
    talk = Talk(extensions=frozenset({Extension.CHUNKING}))
    for _ in range(2):
        talk.send(OPENING + content)
    first, second = [event.error for event in talk.events if isinstance(event, DataSpoiled)]
    assert str(first) == str(second) and first is not second


def test_content_that_is_skipped_makes_events_too():
    talk = opened(limits=SmtpLimits(message=100_000))
    talk.send(b"DATA\r\n" + b"x" * 100_001)
    talk.events.clear()
    for _ in range(4):
        talk.send(b"x" * 20_000)
    assert talk.events == [DataChunk(b"")] * 4
    assert talk.codes(b"\r\n.\r\n") == [552]


def test_content_refused_while_it_comes_in():
    talk = opened()
    talk.spoil = MailError(452, "4.3.1", "No space")
    output = talk.send(b"DATA\r\n" + b"x" * 20_000) + talk.send(b"QUIT\r\n" * 20_000 + b".\r\nNOOP\r\n")
    assert [line[:9] for line in output.splitlines()[1:]] == [b"452 4.3.1", b"250 2.0.0"]
    assert not talk.messages


def test_errors_are_forgotten_when_mail_is_accepted():
    talk = opened()
    assert talk.codes(b"WHAT\r\n" * 19) == [500] * 19
    assert talk.codes(b"DATA\r\nx\r\n.\r\n") == [354, 250]
    assert talk.codes(b"WHAT\r\n" * 25) == [500] * 19 + [421]
    assert talk.engine.finished


def test_many_unknown_recipients_end_the_session_late():
    """A list with some members who have left must get its mail to the others."""

    class Strict(Talk):
        def answer(self, event):
            if isinstance(event, Recipient):
                self.engine.refuse(MailError(550, "5.1.1", "No such mailbox"))
            else:
                super().answer(event)

    talk = Strict()
    codes = talk.codes(OPENING + b"RCPT TO:<nobody@a.test>\r\n" * 200)
    assert codes[2:] == [550] * 99 + [421]


# Replies


def test_replies_cannot_be_split():
    assert reply(550, "5.1.1", "<a\r\n250 ok\0\x7f\xe9>") == b"550 5.1.1 <a??250 ok???>\r\n"
    assert len(reply(250, "2.0.0", "x" * 1000)) == MAX_REPLY_LINE
    assert multiline(250, ["one", "two"]) == b"250-one\r\n250 two\r\n"


# Fuzz

words = st.sampled_from(
    [
        *(b"EHLO b.test", b"HELO x", b"MAIL FROM:<", b"x@b.test>", b" SIZE=1", b"RCPT TO:<alice@a.test>"),
        *(b"DATA", b"RSET", b"NOOP", b"AUTH PLAIN", b" =", b"*", b"STARTTLS", b"QUIT", b".", b".."),
        *(b"BDAT 3", b"BDAT 0", b"BDAT 7 LAST", b"BDAT", b" LAST", b"BURL imap://a/b", b"BURL x:y LAST"),
        *(b"XCLIENT ADDR=192.0.2.9", b"XCLIENT NAME=[TEMPUNAVAIL] LOGIN=x", b"EXPN x", b"HELP", b"HELP RCPT"),
        *(b"MAIL FROM:<x@b.test> SOLICIT=a:b", b"MAIL FROM:<x@b.test> BODY=BINARYMIME", b"ETRN x"),
        *(b"\r\n", b"\r\n", b"\r\n", b"\r", b"\n", b"\0", b"\xff"),
        *(b"<", b'"', b"\\", b">", b"@", b":", b" ", b"x" * 3000),
    ]
)
streams = st.lists(words | st.binary(max_size=5), max_size=40).map(b"".join)


MANNERS = {"extensions": frozenset(Extension), "limits": SmtpLimits(message=5000, no_soliciting=("a:b",))}


@settings(max_examples=300, deadline=None)
@given(streams, st.booleans())
def test_any_octets_get_well_formed_replies(stream, trusted):
    options = {"tls_available": True, "offer": OPEN, "trusted": trusted, "normalise": trusted, **MANNERS}
    whole = Talk(**options)
    output = whole.send(stream)
    assert all(re.fullmatch(rb"[2345]\d\d[ -][ -~]*", line) for line in output.split(b"\r\n")[:-1])
    assert (whole.engine.state in WITH_RECIPIENTS) == bool(whole.engine.recipients)
    assert len(whole.engine._lines) <= 12_288
    assert all(len(message) <= 5000 for message in whole.messages)
    # Octet by octet the same, but for STARTTLS, where it matters whether something waits behind it.
    if b"STARTTLS" not in stream:
        dripped = Talk(**options)
        assert dripped.drip(stream) == output
        assert dripped.messages == whole.messages


@settings(max_examples=300)
@given(st.text(alphabet='<>@:,"\\ ab.%!=[]', max_size=30))
def test_paths_are_read_or_refused(text):
    for parse in (lambda: read_mail("FROM:" + text), lambda: read_recipient("TO:" + text, "a.test")):
        try:
            parse()
        except MailError as error:
            assert error.code in (501, 553, 555)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("TO:<alice@A.Test>", Address("alice", "a.test")),
        ("to:\t<alice@a.test>", Address("alice", "a.test")),
        ('TO:<"a b"@a.test>', Address("a b", "a.test")),
        ('TO:<"a>b"@a.test>', Address("a>b", "a.test")),
        ("TO:<POSTMASTER>", Address("POSTMASTER", "home.test")),
    ],
)
def test_forward_paths(argument, expected):
    assert read_recipient(argument, "home.test").forward_path == expected


def test_reverse_paths():
    assert read_mail("FROM:<>").reverse_path is None
    assert read_mail("FROM:<@b.test,@c.test:x@d.test> SIZE=5 BODY=8BITMIME").reverse_path == Address(
        "x", "d.test"
    )
    assert read_mail("FROM:<> SIZE=5 BODY=8BITMIME").parameters.body == "8BITMIME"


def test_commands_that_bring_no_message_any_further_are_borne_a_hundred_times():
    talk = opened()
    idle = (b"RSET", b"NOOP", b"HELP", b"VRFY x", b"EXPN x", b"EHLO b.test", b"HELO b.test") * 15
    talk.send(b"\r\n".join(idle[:98]) + b"\r\nEHLO b.test\r\n")
    assert talk.codes(OPENING.partition(b"\n")[2] + b"DATA\r\n.\r\n") == [250, 250, 354, 250]
    assert talk.codes(b"NOOP\r\n" * 100 + b"MAIL FROM:<x@b.test>\r\n") == [250] * 101
    assert talk.send(b"NOOP\r\nNOOP\r\n") == b"421 4.7.0 mx.a.test Too many idle commands, closing\r\n"
