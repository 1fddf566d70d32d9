"""Our client engine with our own server, each octet by itself or all at once."""

import pytest
from smtp_session import Town

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import EnvelopeRecipient
from twisted_mta.protocol.sasl.scram import ScramClient
from twisted_mta.protocol.smtp import outgoing
from twisted_mta.protocol.smtp.client import ClientEngine
from twisted_mta.protocol.smtp.client_events import EnvelopeReplied, Replied, Stage
from twisted_mta.protocol.smtp.transaction import Transaction

ALICE, BOB, NOBODY = (Address(name, "a.test") for name in ("alice", "bob", "nobody"))
CONTENT = b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\nno final line end"


class Wire:
    """Carries octets to and fro until nothing more happens; the client's events."""

    def __init__(self, step, **town):
        self.step = step
        self.town = Town(**town)
        self.engine = ClientEngine("mx.b.test")

    def carry(self):
        events = []
        said = self.town.said()
        while True:
            for start in range(0, len(said), self.step):
                self.engine.receive(said[start : start + self.step])
                while (event := self.engine.next_event()) is not None:
                    events.append(event)
            output = self.engine.take_output()
            if not output:
                return events
            said = b"".join(
                self.town.send(output[start : start + self.step])
                for start in range(0, len(output), self.step)
            )

    def event(self):
        (event,) = self.carry()
        return event


@pytest.fixture(params=[1, 7, 100_000])
def wire(request):
    wire = Wire(request.param, tls=True)
    assert wire.event().reply.code == 220
    return wire


def begin(wire, sender, *recipients, reset):
    transaction = Transaction(
        sender, [EnvelopeRecipient(to) for to in recipients], len(CONTENT), eight_bit=True
    )
    wire.engine.envelope(transaction, now=0.0, reset=reset)


def test_a_message(wire):
    wire.engine.hello()
    assert wire.event().stage is Stage.HELLO
    assert {"PIPELINING", "SIZE", "8BITMIME", "STARTTLS"} <= set(wire.engine.extensions)
    assert wire.engine.peer_name == "mx.a.test" and wire.engine.size_limit > 0
    begin(wire, Address("carol", "b.test"), ALICE, NOBODY, BOB, reset=True)
    event = wire.event()
    assert isinstance(event, EnvelopeReplied) and event.go_ahead
    assert [(reply.code, reply.status) for reply in event.recipients] == [
        (250, "2.1.5"),
        (550, "5.1.1"),
        (250, "2.1.5"),
    ]
    encoding = outgoing.lines if "CHUNKING" in wire.engine.extensions else outgoing.data
    wire.engine.send_content(b"".join(encoding([CONTENT])), last=True)
    event = wire.event()
    assert isinstance(event, Replied) and (event.stage, event.reply.code) == (Stage.FINAL, 250)
    ((envelope, _, body),) = wire.town.intake.stored
    assert envelope.forward_paths == (ALICE, BOB) and envelope.parameters.body == "8BITMIME"
    assert body == CONTENT + b"\r\n"
    wire.engine.quit()
    assert wire.event().reply.code == 221 and wire.town.closed


def test_nobody_is_accepted_and_then_somebody(wire):
    wire.engine.hello()
    wire.carry()
    begin(wire, None, NOBODY, reset=False)
    assert not wire.event().go_ahead
    begin(wire, None, BOB, reset=True)
    assert wire.event().go_ahead


def test_starttls(wire):
    wire.engine.hello()
    wire.carry()
    wire.engine.start_tls()
    assert wire.event().reply.code == 220 and wire.town.secure
    wire.engine.tls_started()
    wire.engine.hello()
    wire.carry()
    assert "STARTTLS" not in wire.engine.extensions


@pytest.mark.parametrize("step", [1, 100_000])
def test_login(step):
    wire = Wire(step, role="submission", secure=True)
    wire.carry()
    wire.engine.hello()
    wire.carry()
    assert wire.engine.mechanisms == ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"]
    wire.engine.authenticate("PLAIN", b"\0alice@a.test\0secret")
    assert wire.event().reply.code == 235


@pytest.mark.parametrize("step", [1, 100_000])
def test_login_without_showing_the_password(step):
    wire = Wire(step, role="submission", secure=True)
    wire.carry()
    wire.engine.hello()
    wire.carry()
    client = ScramClient("SCRAM-SHA-1", "bob", "secret", nonce="abc", binding=None, server_binds=False)
    wire.engine.authenticate("SCRAM-SHA-1", client.initial)
    for _ in range(2):
        wire.engine.respond(client.respond(wire.event().challenge))
    assert wire.event().reply.code == 235 and client.proven
    assert wire.town.session.account == "bob@a.test"
