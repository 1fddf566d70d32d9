"""Our client engine and our server engine, with every extension: what one says is what the other reads."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import DeliverBy, EnvelopeRecipient, MailParameters
from twisted_mta.message.status import MailError
from twisted_mta.protocol.smtp import outgoing
from twisted_mta.protocol.smtp.client import ClientEngine
from twisted_mta.protocol.smtp.client_events import EnvelopeReplied, RecipientsReplied, Replied
from twisted_mta.protocol.smtp.events import Answered, DataChunk, DataEnd, DataSpoiled, Mail, Recipient
from twisted_mta.protocol.smtp.extensions import Extension
from twisted_mta.protocol.smtp.server import SmtpServer
from twisted_mta.protocol.smtp.transaction import Transaction

NOW = 1_700_000_000.0
BOB, CAROL, NOBODY = (Address(name, "b.test") for name in ("bob", "carol", "nobody"))


class Pair:
    """Both engines, with `step` octets at a time between them. `mail`, `recipients`, `content`: what the
    server understood; it refuses `nobody`."""

    def __init__(self, step=1, lmtp=False, without=()):
        extensions = [extension for extension in Extension if extension not in without]
        self.step = step
        self.server = SmtpServer(
            hostname="mx.b.test", secure=True, lmtp=lmtp, extensions=extensions, seconds=lambda: NOW
        )
        self.client = ClientEngine("me.test", lmtp=lmtp)
        self.mail, self.recipients, self.content, self.messages = None, [], b"", []
        self.server.greet()
        assert self.event().reply.code == 220
        self.client.hello()
        assert self.event().reply.code == 250

    def carry(self):
        """Until nothing more happens; the client's events."""
        events = []
        while True:
            moved = self.move(self.client.take_output(), self.server.receive, self.decide)
            moved |= self.move(
                self.server.take_output(),
                self.client.receive,
                lambda: events.extend(iter(self.client.next_event, None)),
            )
            if not moved:
                return events

    def move(self, octets, receive, then):
        for start in range(0, len(octets), self.step):
            receive(octets[start : start + self.step])
            then()
        return bool(octets)

    def event(self):
        (event,) = self.carry()
        return event

    def decide(self):
        while (event := self.server.next_event()) is not None:
            match event:
                case Answered():
                    continue
                case DataChunk():
                    self.content += event.content
                    continue
                case DataSpoiled():
                    self.server.refuse(event.error)
                    continue
                case Recipient() if event.forward_path == NOBODY:
                    self.server.refuse(MailError(550, "5.1.1", "Nobody"))
                    continue
                case Recipient():
                    self.recipients.append(event)
                case Mail():
                    self.mail, self.recipients, self.content = event, [], b""
                case DataEnd():
                    self.messages.append(self.content)
            self.server.accept()

    def send(self, pieces, *recipients, parameters=MailParameters(), **settings):
        """One message; the last event."""
        told = [to if isinstance(to, EnvelopeRecipient) else EnvelopeRecipient(to) for to in recipients]
        transaction = Transaction(None, told, sum(map(len, pieces)), parameters, **settings)
        self.client.envelope(transaction, now=NOW, reset=self.mail is not None)
        event = self.event()
        assert isinstance(event, EnvelopeReplied)
        if not event.go_ahead:
            return event
        encoding = outgoing.lines if "CHUNKING" in self.client.extensions else outgoing.data
        encoding = outgoing.binary if parameters.body == "BINARYMIME" else encoding
        *some, last = encoding(pieces)
        for piece in some:
            self.client.send_content(piece, last=False)
            assert self.carry() == []
        self.client.send_content(last, last=True)
        return self.event()


EVERYTHING = MailParameters(
    body="8BITMIME",
    ret="HDRS",
    envid="an=id+ x",
    require_tls=True,
    priority=-4,
    deliver_by=DeliverBy(NOW + 600, notify=True, trace=True),
    tracking="aGFzaGhhc2hoYXNoaGFzaGhhc2g=",
)


@pytest.mark.parametrize("step", [1, 100_000])
def test_every_parameter(step):
    pair = Pair(step)
    assert {extension.value for extension in Extension} <= set(pair.client.extensions)
    bob = EnvelopeRecipient(BOB, frozenset({"SUCCESS", "DELAY"}), "rfc822;Bob+x=y@b.test")
    carol = EnvelopeRecipient(CAROL, frozenset({"NEVER"}), "utf-8;jürgen+x@b.test")
    event = pair.send([b"x\r\n"], bob, carol, NOBODY, parameters=EVERYTHING, eight_bit=True, utf8=True)
    assert isinstance(event, Replied) and event.reply.code == 250, event
    got = pair.mail.parameters
    assert (got.body, got.smtputf8, got.ret, got.envid) == ("8BITMIME", True, "HDRS", "an=id+ x")
    assert (got.require_tls, got.priority, got.deliver_by) == (True, -4, EVERYTHING.deliver_by)
    assert got.tracking.rstrip("=") == EVERYTHING.tracking.rstrip("=")
    assert [(one.notify, one.orcpt) for one in pair.recipients] == [
        (one.notify, one.orcpt) for one in (bob, carol)
    ]
    assert pair.client.limits.recipients == 1000


PIECES = [b"\r", b"\n", b".", b"\r\n", b"\r\n.\r\n", b"BDAT 1\r\n", b""]
CHUNKS = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=5)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(CHUNKS, st.booleans(), st.booleans(), st.sampled_from([1, 3, 1000]))
def test_any_content_is_one_message(chunks, as_it_is, in_chunks, step):
    """And the connection stays in step (RFC 3030 §4.2, RFC 5321 §4.5.2)."""
    as_it_is = as_it_is and in_chunks
    pair = Pair(step, without=() if in_chunks else (Extension.CHUNKING,))
    parameters = MailParameters(body="BINARYMIME" if as_it_is else "7BIT")
    event = pair.send(chunks, BOB, parameters=parameters)
    assert isinstance(event, Replied), event
    encoding = outgoing.binary if as_it_is else outgoing.lines
    expected = b"".join(encoding(chunks))
    assert event.reply.code == 250 and pair.messages == [expected]
    event = pair.send([b"next\r\n"], NOBODY, CAROL)
    assert event.reply.code == 250 and pair.messages == [expected, b"next\r\n"]
    pair.client.quit()
    assert pair.event().reply.code == 221


@pytest.mark.parametrize("without", [(), (Extension.CHUNKING,)])
@pytest.mark.parametrize("step", [1, 100_000])
def test_lmtp(step, without):
    pair = Pair(step, lmtp=True, without=without)
    for _ in range(2):
        event = pair.send([b"x\r\n", b".\r\n"], BOB, NOBODY, CAROL)
        assert isinstance(event, RecipientsReplied), event
        assert [reply.code for reply in event.replies] == [250, 250]
    assert pair.messages == [b"x\r\n.\r\n"] * 2
    assert not pair.send([b"x"], NOBODY).go_ahead
