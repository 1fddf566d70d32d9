"""How long the client waits, on a clock that is not the wall's (RFC 5321 §4.5.3.2)."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import EnvelopeRecipient
from twisted_mta.protocol.smtp.transaction import Transaction
from twisted_mta.transfer.mta.relay.client_session import ClientSession
from twisted_mta.transfer.mta.relay.limits import StageTimeouts
from twisted_mta.transfer.mta.relay.verdict import Trouble
from twisted_mta.transfer.mta.route import Host
from twisted_mta.transfer.mta.tls.level import TlsLevel

MINUTE = 60.0
BOB = Address("bob", "b.test")


class Transport(StringTransport):
    aborted = False

    def setTcpNoDelay(self, enabled):
        pass

    def abortConnection(self):
        self.aborted = True


async def pieces(*octets):
    for piece in octets:
        yield piece


class Conversation:
    """A session on a transport in memory; `wait` is what it would wait from now on, in seconds."""

    def __init__(self):
        self.clock = Clock()
        self.ended = []
        self.session = ClientSession(
            "me.test",
            Host("mx.b.test", "192.0.2.1"),
            timeouts=StageTimeouts().by_stage(),
            seconds=self.clock.seconds,
            steady=self.clock.seconds,
            on_end=self.ended.append,
        )
        self.transport = Transport()
        self.session.makeConnection(self.transport)
        self.results = []

    def do(self, coroutine):
        self.results = []
        Deferred.fromCoroutine(coroutine).addBoth(self.results.append)

    def open(self):
        self.do(self.session.open(TlsLevel.CLEAR, None, tls_first=False, credentials=None))

    def send(self, *content):
        transaction = Transaction(None, [EnvelopeRecipient(BOB)] * 2, 5)
        self.do(self.session.send(transaction, pieces(*content), reset=False))

    def opened(self, *extensions):
        self.open()
        self.server("220 hello", "250 hello" if not extensions else f"250-hello\r\n250 {extensions[0]}")
        return self

    def server(self, *lines):
        for line in lines:
            self.session.dataReceived(line.encode() + b"\r\n")

    @property
    def wait(self):
        return self.session.deadline - self.clock.seconds()


def test_each_stage_has_its_own_limit():
    talk = Conversation()
    talk.open()
    assert talk.wait == 5 * MINUTE
    talk.server("220 hello")
    assert talk.wait == 5 * MINUTE
    talk.server("250 hello")
    assert talk.results == [None]
    talk.send(b"content\r\n", b".\r\n")
    assert talk.wait == 5 * MINUTE  # MAIL
    talk.server("250 ok")
    assert talk.wait == 5 * MINUTE  # RCPT
    talk.server("250 ok", "250 ok")
    assert talk.wait == 2 * MINUTE  # DATA
    talk.server("354 go")
    assert talk.wait == 10 * MINUTE  # the end of data
    talk.server("250 ok")
    assert len(talk.results) == 1
    talk.session.rest()
    assert talk.wait == 5


def test_each_buffer_of_content_has_three_minutes():
    talk = Conversation().opened()
    talk.send(b"content\r\n", b"more\r\n", b".\r\n")
    talk.server("250 ok", "250 ok", "250 ok")
    talk.transport.producer.pauseProducing()
    talk.server("354 go")
    assert talk.wait == 3 * MINUTE
    talk.clock.advance(MINUTE)
    talk.transport.producer.resumeProducing()
    talk.transport.producer.pauseProducing()
    assert talk.wait == 10 * MINUTE


def test_the_limit_counts_from_the_last_whole_reply():
    talk = Conversation().opened("PIPELINING")
    talk.send(b".\r\n")
    talk.clock.advance(MINUTE)
    talk.server("250 ok")
    assert talk.wait == 5 * MINUTE
    talk.clock.advance(MINUTE)
    talk.server("250-so", "250-slow")
    talk.session.dataReceived(b"2")
    assert talk.wait == 4 * MINUTE


@pytest.mark.parametrize(
    ("replies", "stage"),
    [
        ([], "greeting"),
        (["220 hello"], "EHLO"),
    ],
)
def test_out_of_time_before_mail(replies, stage):
    talk = Conversation()
    talk.open()
    talk.server(*replies)
    talk.session.expire()
    assert talk.transport.aborted and talk.results == []
    talk.session.connectionLost()
    (failure,) = talk.results
    assert failure.check(Trouble) and failure.value.verdict.text == f"Timed out waiting for {stage}"
    assert talk.ended == [talk.session] and talk.session.deadline == float("inf")


def test_out_of_time_in_a_transaction_keeps_what_is_known():
    talk = Conversation().opened("PIPELINING")
    talk.send(b".\r\n")
    talk.server("250 ok", "550 nobody")
    talk.session.expire()
    talk.session.connectionLost()
    ((refused, unknown),) = talk.results
    assert refused.permanent and refused.text == "550 nobody"
    assert unknown.code == 0 and unknown.text == "Timed out waiting for RCPT"


def test_out_of_time_at_rest_is_a_goodbye():
    talk = Conversation().opened()
    talk.session.rest()
    talk.transport.clear()
    talk.session.expire()
    assert talk.transport.value() == b"QUIT\r\n" and not talk.session.usable
    talk.session.expire()
    assert talk.transport.aborted
