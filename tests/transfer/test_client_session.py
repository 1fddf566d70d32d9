"""The session on a transport in memory: chunks, LMTP, logins, and what stands in the way of a message."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from twisted_mta.message.address import Address
from twisted_mta.message.conversion import Form
from twisted_mta.message.envelope import DeliverBy, EnvelopeRecipient, MailParameters
from twisted_mta.protocol.smtp import outgoing
from twisted_mta.protocol.smtp.client_events import Stage
from twisted_mta.protocol.smtp.transaction import Transaction
from twisted_mta.transfer.mta.relay.client_session import ClientSession
from twisted_mta.transfer.mta.relay.limits import StageTimeouts
from twisted_mta.transfer.mta.relay.verdict import Trouble
from twisted_mta.transfer.mta.route import Credentials, Host
from twisted_mta.transfer.mta.tls.level import TlsLevel

BOB, CAROL = (EnvelopeRecipient(Address(name, "b.test")) for name in ("bob", "carol"))
NOW = 1_700_000_000.0


class Transport(StringTransport):
    aborted = False

    def setTcpNoDelay(self, enabled):
        pass

    def abortConnection(self):
        self.aborted = True


async def travelling(pieces):
    for piece in pieces:
        yield piece


class Talk:
    """A session that has said EHLO to a server with these extensions."""

    def __init__(self, *extensions, lmtp=False, credentials=None, address="192.0.2.1"):
        self.clock = Clock()
        self.clock.rightNow = NOW
        self.transport = Transport()
        self.session = ClientSession(
            "me.test",
            Host("mx.b.test", address, lmtp=lmtp),
            timeouts=StageTimeouts().by_stage(),
            seconds=self.clock.seconds,
            steady=self.clock.seconds,
            on_end=lambda session: None,
        )
        self.session.makeConnection(self.transport)
        self.result = None
        self.do(self.session.open(TlsLevel.CLEAR, None, tls_first=False, credentials=credentials))
        lines = ["mx.b.test", *extensions]
        self.server("220 hello", *(f"250{'-' if line is not lines[-1] else ' '}{line}" for line in lines))
        self.transport.clear()

    def do(self, coroutine):
        def note(result):
            self.result = result

        Deferred.fromCoroutine(coroutine).addBoth(note)

    def send(self, *contents, recipients=(BOB,), **settings):
        self.result = None
        transaction = Transaction(None, recipients, sum(map(len, contents)), **settings)
        pieces = travelling(self.session.encoding(transaction)(contents))
        self.do(self.session.send(transaction, pieces, reset=self.session.messages > 0))
        return self

    def server(self, *lines):
        for line in lines:
            self.session.dataReceived(line.encode() + b"\r\n")

    def said(self):
        octets = self.transport.value()
        self.transport.clear()
        return octets

    def lose(self):
        self.session.connectionLost()

    @property
    def verdicts(self):
        return [(verdict.stage, verdict.code) for verdict in self.result]


# Chunks


def test_chunks_wait_for_each_other_without_pipelining():
    talk = Talk("CHUNKING").send(b"one\r\n", b"two\r\n", b"three")
    talk.server("250 ok", "250 ok")
    assert talk.said().endswith(b"RCPT TO:<bob@b.test>\r\nBDAT 5\r\none\r\n")
    talk.server("250 5 octets")
    assert talk.said() == b"BDAT 5\r\ntwo\r\n"
    talk.server("250 5 octets")
    assert talk.said() == b"BDAT 5\r\nthree"
    talk.server("250 5 octets")
    assert talk.said() == b"BDAT 2 LAST\r\n\r\n"
    assert talk.result is None
    talk.server("250 queued")
    assert talk.verdicts == [(Stage.FINAL, 250)] and talk.session.usable


def test_chunks_follow_each_other_with_pipelining():
    talk = Talk("CHUNKING", "PIPELINING").send(b".\r\n", b"two\r\n", b"")
    talk.server("250 ok", "250 ok")
    assert talk.said().endswith(b"BDAT 3\r\n.\r\nBDAT 5\r\ntwo\r\nBDAT 0 LAST\r\n")
    talk.server("250 ok", "250 ok", "250 ok")
    assert talk.verdicts == [(Stage.FINAL, 250)]


def test_the_size_of_a_chunk_counts_what_travels():
    """Line ends were made whole; a CR that waited for its LF went into the next chunk (RFC 5321 §2.3.8)."""
    talk = Talk("CHUNKING", "PIPELINING").send(b"a\nb\r", b"\nc\r", b"d")
    talk.server("250 ok", "250 ok")
    content = talk.said().partition(b"RCPT TO:<bob@b.test>\r\n")[2]
    assert content == b"BDAT 4\r\na\r\nbBDAT 3\r\n\r\ncBDAT 3\r\n\r\ndBDAT 2 LAST\r\n\r\n"


def test_binary_content_is_left_as_it_is():
    talk = Talk("CHUNKING", "PIPELINING", "BINARYMIME")
    talk.send(b"\0\n\r.\n", parameters=MailParameters(body="BINARYMIME"))
    assert b"BODY=BINARYMIME" in talk.said()
    talk.server("250 ok", "250 ok")
    assert talk.said() == b"BDAT 5 LAST\r\n\0\n\r.\n"


@pytest.mark.parametrize("offer", [("CHUNKING",), ("CHUNKING", "PIPELINING")])
def test_a_refused_chunk_ends_the_content_and_not_the_connection(offer):
    talk = Talk(*offer).send(b"one\r\n", b"two\r\n", b"three\r\n")
    talk.server("250 ok", "250 ok", "452 4.3.1 disk full")
    assert talk.verdicts == [(Stage.CONTENT, 452)] and talk.session.usable
    if len(offer) > 1:
        talk.server("503 no", "503 no")
    talk.said()
    talk.send(b"again\r\n")
    assert talk.said().startswith(b"RSET\r\n")
    talk.server("250 ok", "250 ok", "250 ok", "250 ok")
    assert talk.verdicts == [(Stage.FINAL, 250)]


@pytest.mark.parametrize("replies", [[], ["250 ok"], ["250 ok", "250 ok"]])
def test_the_connection_is_lost_between_chunks(replies):
    talk = Talk("CHUNKING").send(b"one\r\n", b"two\r\n", b"three\r\n")
    talk.server("250 ok", "250 ok", *replies)
    talk.lose()
    ((stage, code),) = talk.verdicts
    assert code == 0 and stage in (Stage.CONTENT, Stage.FINAL)
    assert not talk.session.usable


def test_lost_when_all_chunks_were_on_their_way():
    """The server may have the message: that is the end of data, at which no other host is tried."""
    talk = Talk("CHUNKING", "PIPELINING").send(b"one\r\n", b"two\r\n")
    talk.server("250 ok", "250 ok")
    talk.lose()
    assert talk.verdicts == [(Stage.FINAL, 0)]


def test_a_chunk_that_is_not_answered_in_time():
    talk = Talk("CHUNKING").send(b"one\r\n", b"two\r\n")
    talk.server("250 ok", "250 ok")
    assert talk.session.deadline == NOW + StageTimeouts().content
    talk.session.expire()
    talk.lose()
    assert talk.result[0].text == "Timed out waiting for message content" and talk.transport.aborted


def test_garbage_between_chunks():
    talk = Talk("CHUNKING").send(b"one\r\n", b"two\r\n")
    talk.server("250 ok", "250 ok", "what?")
    assert talk.verdicts == [(Stage.CONTENT, 0)] and talk.transport.aborted


# LMTP


def test_lmtp_recipients_get_their_own_verdicts():
    talk = Talk("PIPELINING", lmtp=True).send(b"x\r\n", recipients=[BOB, CAROL, BOB])
    talk.server("250 ok", "250 ok", "550 5.1.1 no", "250 ok", "354 go", "250 2.0.0 first", "452 4.2.2 third")
    assert [verdict.text for verdict in talk.result] == ["250 2.0.0 first", "550 5.1.1 no", "452 4.2.2 third"]
    assert talk.session.usable


def test_lmtp_lost_in_the_middle_of_the_replies():
    """Who has an answer keeps it; the others may have the message, or not (RFC 2033 §4.2)."""
    talk = Talk("PIPELINING", lmtp=True).send(b"x\r\n", recipients=[BOB, CAROL])
    talk.server("250 ok", "250 ok", "250 ok", "354 go", "250 first")
    talk.lose()
    assert talk.verdicts == [(Stage.FINAL, 250), (Stage.FINAL, 0)]


# Logging in


def test_no_password_in_the_clear_to_another_machine():
    talk = Talk("AUTH PLAIN LOGIN", credentials=Credentials("user", "secret"))
    verdict = talk.result.value.verdict
    assert (verdict.stage, verdict.permanent) == (Stage.AUTH, False)
    assert "PLAIN LOGIN" in verdict.text and b"AUTH" not in talk.said()


def test_no_login_offered():
    talk = Talk(credentials=Credentials("user", "secret"))
    assert (
        talk.result.check(Trouble) and talk.result.value.verdict.text == "The server offers no way to log in"
    )


def test_each_step_of_a_login_has_its_time():
    talk = Talk("AUTH PLAIN", credentials=Credentials("user", "x" * 600), address="127.0.0.1")
    talk.clock.advance(60)
    assert talk.session.deadline == NOW + StageTimeouts().auth
    talk.server("334 ")
    assert talk.session.deadline == NOW + 60 + StageTimeouts().auth
    talk.session.expire()
    talk.lose()
    assert talk.result.value.verdict.text == "Timed out waiting for AUTH"


# Obstacles


def obstacle(parameters, *extensions, **settings):
    talk = Talk(*extensions)
    verdict = talk.session.obstacle(Transaction(None, [BOB], 100, parameters, **settings))
    return verdict and verdict.status


def until(seconds, **settings):
    return MailParameters(deliver_by=DeliverBy(NOW + seconds, **settings))


@pytest.mark.parametrize(
    ("parameters", "extensions", "status"),
    [
        (MailParameters(), (), None),
        (MailParameters(smtputf8=True), (), None),
        (MailParameters(), ("SIZE 100",), None),
        (MailParameters(), ("SIZE 99",), "5.3.4"),
        (MailParameters(), ("SIZE 0",), None),
        (MailParameters(require_tls=True), ("REQUIRETLS",), "5.7.30"),
        (until(60), (), "5.3.3"),
        (until(60), ("DELIVERBY",), None),
        (until(60), ("DELIVERBY 60",), None),
        (until(60), ("DELIVERBY 61",), "5.4.7"),
        (until(0), ("DELIVERBY",), "5.4.7"),
        (until(0, notify=True), (), None),
        (MailParameters(hold_until=NOW + 9, priority=4, tracking="x", envid="y", ret="FULL"), (), None),
    ],
)
def test_obstacles(parameters, extensions, status):
    assert obstacle(parameters, *extensions) == status


def test_smtputf8_that_is_needed():
    assert obstacle(MailParameters(smtputf8=True), utf8=True) == "5.6.7"
    assert obstacle(MailParameters(smtputf8=True), "SMTPUTF8", utf8=True) is None


def test_requiretls_inside_tls():
    talk = Talk("REQUIRETLS")
    talk.session.tls_version = "TLSv1.3"
    assert talk.session.obstacle(Transaction(None, [BOB], 1, MailParameters(require_tls=True))) is None


@pytest.mark.parametrize(
    ("body", "eight_bit", "extensions", "form", "encoding"),
    [
        ("7BIT", False, (), None, outgoing.data),
        ("8BITMIME", True, (), Form.SEVEN_BIT, outgoing.data),
        ("8BITMIME", True, ("8BITMIME", "CHUNKING"), None, outgoing.lines),
        ("BINARYMIME", True, ("8BITMIME", "CHUNKING"), Form.EIGHT_BIT, outgoing.lines),
        ("BINARYMIME", True, ("8BITMIME", "BINARYMIME"), Form.EIGHT_BIT, outgoing.data),
        ("BINARYMIME", True, ("BINARYMIME",), Form.SEVEN_BIT, outgoing.data),
        ("BINARYMIME", True, ("BINARYMIME", "CHUNKING"), None, outgoing.binary),
    ],
)
def test_how_the_content_travels(body, eight_bit, extensions, form, encoding):
    talk = Talk(*extensions)
    transaction = Transaction(None, [BOB], 1, MailParameters(body=body), eight_bit=eight_bit)
    assert talk.session.other_form(transaction) is form
    assert talk.session.encoding(transaction) is encoding
