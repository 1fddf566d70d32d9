"""How a connection drives an engine: order, pauses, deadlines, the end. The engine here takes words."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from twisted_mta.message.status import MailError
from twisted_mta.wire.connection import AT_A_STRETCH, CLOSING_LIMIT, PARTING_LIMIT, Connection
from twisted_mta.wire.listener import (
    COMPLAINT_INTERVAL,
    END_LIMIT,
    END_SWEEP_INTERVAL,
    SWEEP_INTERVAL,
    Listener,
)


class Words:
    """Events are words; the session's answers are the output."""

    def __init__(self):
        self.input = b""
        self.output = b""
        self.finished = False

    def receive(self, data):
        self.input += data

    def next_event(self):
        word, space, rest = self.input.partition(b" ")
        if not space or self.finished:
            return None
        self.input = rest
        return word

    def take_output(self):
        output, self.output = self.output, b""
        return output


class Session(Connection[bytes]):
    idle_limit = 60.0

    def opened(self):
        self.engine = Words()
        self.engine.output = b"hello "
        self.gates = []
        self.is_closed = 0

    async def handle(self, event):
        if event == b"wait":
            gate = Deferred()
            self.gates.append(gate)
            await gate
        elif event == b"refused":
            raise MailError(550, "5.0.0", "refused")
        elif event == b"broken":
            raise RuntimeError("broken")
        elif event == b"quit":
            self.engine.finished = True
        elif event == b"drain":
            await self.drain()
        self.engine.output += event + b" "

    def refuse(self, event, error):
        if event == b"broken" and self.engine.input == b"twice ":
            raise RuntimeError("no answer possible")
        self.engine.output += f"{error.code} ".encode()

    def timed_out(self):
        self.engine.output += b"timeout "

    def shutting_down(self):
        self.engine.output += b"shutdown "

    def closed(self):
        self.is_closed += 1


class Transport(StringTransport):
    aborted = False

    def abortConnection(self):
        self.aborted = True
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def say(self):
        output = self.value()
        self.clear()
        return output


class House:
    def __init__(self, **options):
        self.clock = Clock()
        self.listener = Listener(Session, reactor=self.clock, overload=b"full ", **options)

    def enter(self, host="192.0.2.1"):
        session = self.listener.buildProtocol(None)
        transport = Transport(peerAddress=IPv4Address("TCP", host, 1))
        transport.protocol = session
        session.makeConnection(transport)
        return session, transport

    def leave(self, session):
        session.connectionLost(Failure(ConnectionDone()))


@pytest.fixture
def house():
    return House()


def test_events_are_handled_in_order_and_answered_in_one_write(house):
    session, transport = house.enter()
    assert transport.say() == b"hello "
    writes = []
    transport.write = writes.append
    session.dataReceived(b"a b refused c d")
    assert writes == [b"a b 550 c "]


def test_nothing_overtakes_a_pending_event(house):
    session, transport = house.enter()
    transport.say()
    session.dataReceived(b"a wait b c ")
    assert transport.say() == b"a "
    session.dataReceived(b"d ")
    assert transport.producerState == "paused"
    session.dataReceived(b"e ")  # as TLS may still deliver what it had decrypted
    assert transport.say() == b""
    session.gates[0].callback(None)
    assert transport.say() == b"wait b c d e "
    assert transport.producerState == "producing"


def test_an_accident_is_answered_and_the_session_goes_on(house):
    session, transport = house.enter()
    transport.say()
    session.dataReceived(b"broken a ")
    assert transport.say() == b"451 a "


@pytest.mark.parametrize(
    ("error", "answer"), [(ValueError(), b"451 "), (MailError(550, "5.0.0", "no"), b"550 ")]
)
def test_what_is_waited_for_may_fail(house, error, answer):
    session, transport = house.enter()
    transport.say()
    session.dataReceived(b"wait a ")
    session.dataReceived(b"b ")
    session.gates[0].errback(error)
    assert transport.say() == answer + b"a b "
    assert transport.producerState == "producing"
    session.dataReceived(b"c ")
    assert transport.say() == b"c "


def test_a_refusal_may_be_held_back(house):
    session, transport = house.enter()
    transport.say()
    held = []

    async def hold_back(error):
        held.append(Deferred())
        await held[-1]

    session.hold_back = hold_back
    session.dataReceived(b"refused a ")
    session.dataReceived(b"b ")
    assert transport.say() == b""
    held[0].callback(None)
    assert transport.say() == b"550 a b "
    session.dataReceived(b"refused a ")
    house.leave(session)
    held[1].callback(None)
    assert transport.say() == b"" and session.is_closed == 1


def test_a_session_that_cannot_answer_is_cut_off(house):
    session, transport = house.enter()
    session.dataReceived(b"broken twice ")
    assert transport.aborted
    assert not house.listener.connections


def test_the_end_of_the_dialog_closes(house):
    session, transport = house.enter()
    session.dataReceived(b"a quit b ")
    assert transport.say() == b"hello a quit "
    assert transport.disconnecting
    session.dataReceived(b"c ")
    assert transport.say() == b""


def test_who_does_not_read_is_not_read(house):
    session, transport = house.enter()
    session.dataReceived(b"a ")
    transport.producer.pauseProducing()  # the transport: the buffer is full
    assert transport.producerState == "paused"
    transport.producer.resumeProducing()
    assert transport.producerState == "producing"
    session.dataReceived(b"b ")
    assert transport.say() == b"hello a b "


def test_a_greeting_that_waits_for_the_handshake_does_not_stop_the_handshake(house):
    _, transport = house.enter()
    transport.producer.pauseProducing()  # TLS cannot write before it has read
    assert transport.producerState == "producing"


def test_drain_waits_for_the_peer(house):
    session, transport = house.enter()
    transport.producer.pauseProducing()
    session.dataReceived(b"drain a ")
    assert transport.say() == b"hello "
    transport.producer.resumeProducing()
    assert transport.say() == b"drain a "


def test_the_idle_clock_counts_events_not_octets(house):
    session, transport = house.enter()
    house.clock.advance(50)
    session.dataReceived(b"a ")
    house.clock.advance(50)
    house.listener.sweep()
    assert transport.say() == b"hello a "
    session.dataReceived(b"drip")
    house.clock.advance(11)
    house.listener.sweep()
    assert transport.say() == b"timeout "
    assert transport.disconnecting and not transport.aborted
    house.clock.advance(CLOSING_LIMIT + 1)
    house.listener.sweep()
    assert transport.aborted


def test_a_pending_event_is_no_idleness_but_a_peer_that_does_not_read_is(house):
    session, transport = house.enter()
    session.dataReceived(b"wait ")
    house.clock.advance(1000)
    house.listener.sweep()
    assert not transport.disconnecting
    transport.producer.pauseProducing()
    house.clock.advance(1000)
    house.listener.sweep()
    assert transport.aborted
    assert session.is_closed == 1


def test_sweep_survives_a_broken_session(house):
    session, transport = house.enter()
    _, other = house.enter()
    session.timed_out = None
    house.clock.advance(1000)
    house.listener.sweep()
    assert transport.aborted
    assert other.disconnecting


def test_the_sweep_runs_while_there_are_ports(house):
    house.listener.doStart()
    _, transport = house.enter()
    house.clock.pump([SWEEP_INTERVAL] * 13)
    assert transport.disconnecting
    house.listener.doStop()
    assert not house.clock.getDelayedCalls()


def test_closed_is_called_once_and_pending_work_ends_quietly(house):
    session, transport = house.enter()
    session.dataReceived(b"wait a ")
    transport.say()
    house.leave(session)
    assert session.is_closed == 1
    session.gates[0].callback(None)
    assert transport.say() == b""
    assert not house.listener.connections


def test_one_too_many():
    house = House(max_connections=2, max_connections_per_host=1)
    first, _ = house.enter()
    _, transport = house.enter()
    assert transport.say() == b"full " and transport.disconnecting
    house.enter("192.0.2.2")
    _, transport = house.enter("192.0.2.3")
    assert transport.say() == b"full "
    house.leave(first)
    _, transport = house.enter("192.0.2.1")
    assert transport.say() == b"hello "


def test_one_too_many_inside_tls_gets_no_handshake():
    house = House(max_connections=0, implicit_tls=True)
    _, transport = house.enter()
    assert transport.aborted and transport.say() == b""


def test_the_end_of_the_server(house):
    idle, idle_transport = house.enter()
    busy, busy_transport = house.enter()
    busy.dataReceived(b"wait a ")
    done = house.listener.end_all()
    assert idle_transport.say() == b"hello shutdown " and idle_transport.disconnecting
    assert busy_transport.say() == b"hello " and not busy_transport.disconnecting
    busy.gates[0].callback(None)
    assert busy_transport.say() == b"wait shutdown " and busy_transport.disconnecting
    house.leave(idle)
    assert not done.called
    house.leave(busy)
    assert done.called
    assert not house.clock.getDelayedCalls()


def test_who_does_not_end_is_cut_off(house):
    session, transport = house.enter()
    session.dataReceived(b"wait ")
    done = house.listener.end_all()
    house.clock.advance(END_LIMIT)
    assert transport.aborted and done.called


def test_the_end_of_a_server_without_sessions(house):
    assert house.listener.end_all().called
    assert not house.clock.getDelayedCalls()


def test_who_only_leaves_tls_open_does_not_delay_the_end_of_the_server(house):
    """After the goodbye, after a goodbye that had to wait, and after a QUIT before that."""
    entered = [house.enter() for _ in range(3)]
    (_, idle_transport), (busy, busy_transport), (quitter, _) = entered
    busy.dataReceived(b"wait ")
    quitter.dataReceived(b"quit ")
    done = house.listener.end_all()
    house.clock.pump([END_SWEEP_INTERVAL] * int(PARTING_LIMIT + 1))
    assert idle_transport.aborted
    assert house.listener.connections == {busy}
    busy.gates[0].callback(None)
    assert not busy_transport.aborted and not done.called
    house.clock.pump([END_SWEEP_INTERVAL] * int(PARTING_LIMIT + 1))
    assert busy_transport.aborted and done.called
    assert not house.clock.getDelayedCalls()


def test_who_is_still_reading_at_the_end_of_the_server_gets_more_time(house):
    session, transport = house.enter()
    session.dataReceived(b"a ")
    transport.producer.pauseProducing()
    house.listener.end_all()
    house.clock.pump([END_SWEEP_INTERVAL] * int(END_LIMIT - 1))
    assert transport.disconnecting and not transport.aborted
    house.clock.advance(1)
    assert transport.aborted


def test_a_handshake_that_never_comes_does_not_delay_the_end_of_the_server(house):
    _, transport = house.enter()
    transport.producer.pauseProducing()  # the greeting waits for the handshake
    house.listener.end_all()
    house.clock.pump([END_SWEEP_INTERVAL] * int(PARTING_LIMIT + 1))
    assert transport.aborted


def test_clients_sent_away_are_told_of_once_a_minute():
    house = House(max_connections=0)
    with capturedLogs() as logged:
        for _ in range(3):
            house.enter()
        house.clock.advance(COMPLAINT_INTERVAL)
        house.enter("192.0.2.2")
    assert [event["host"] for event in logged] == ["192.0.2.1", "192.0.2.2"]


def test_a_long_burst_lets_others_have_their_turn_and_waits_for_its_peer(house):
    session, transport = house.enter()
    transport.clear()
    slow, quick = AT_A_STRETCH * 0.75, session.handle

    async def handle(event):
        house.clock.rightNow += slow
        await quick(event)

    session.handle = handle
    other, its_transport = house.enter("192.0.2.2")
    its_transport.clear()
    session.dataReceived(b"a b c d e f ")
    assert transport.say() == b"a b "
    other.dataReceived(b"x ")
    assert its_transport.say() == b"x "  # in between
    transport.producer.pauseProducing()  # the peer does not take the answers
    for _ in range(5):
        house.clock.advance(0)
    assert transport.say() == b"c d "
    transport.producer.resumeProducing()
    for _ in range(5):
        house.clock.advance(0)
    assert transport.say() == b"e f "
    session.dataReceived(b"g ")
    assert transport.say() == b"g "


def test_an_engine_that_answers_much_by_itself_lets_others_have_their_turn(house):
    session, transport = house.enter()
    transport.clear()
    engine, answers = session.engine, [b"3 ", b"2 ", b"1 "]

    def next_event():
        house.clock.rightNow += AT_A_STRETCH * 1.5
        engine.output += answers.pop() if answers else b""
        engine.behind = bool(answers)

    engine.next_event = next_event
    session.dataReceived(b"x")
    assert transport.say() == b"1 "
    house.clock.advance(0)
    assert transport.say() == b"2 3 "
