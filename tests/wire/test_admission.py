"""Who may come in: rates, load, and room for those who have something to say."""

from __future__ import annotations

import ipaddress

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from twisted_mta.journey.bus import Journey
from twisted_mta.wire import rates
from twisted_mta.wire.admission import Admission, Verdict
from twisted_mta.wire.bans import Bans
from twisted_mta.wire.connection import Connection
from twisted_mta.wire.listener import LEAVING, Listener
from twisted_mta.wire.load import INTERVAL, Load
from twisted_mta.wire.rates import Rate, RateLimits, Rates


class Nothing:
    """An engine that has nothing to say to anything; octets that hold a "!" are an event."""

    finished = False

    def __init__(self):
        self.output = b"hello "
        self.input = b""

    def receive(self, data):
        self.input += data

    def next_event(self):
        event, self.input = b"!" in self.input, b""
        return event or None

    def take_output(self):
        output, self.output = self.output, b""
        return output


class Session(Connection[bool]):
    idle_limit = 300.0
    patience = 20.0

    def opened(self):
        self.engine = Nothing()

    async def handle(self, event):
        pass

    def timed_out(self):
        self.engine.output += b"timeout "


class Patient(Session):
    patience = float("inf")


class Transport(StringTransport):
    aborted = False

    def abortConnection(self):
        self.aborted = True
        self.protocol.connectionLost(Failure(ConnectionDone()))


class House:
    def __init__(self, kind=Session, **options):
        self.clock = Clock()
        self.listener = Listener(kind, reactor=self.clock, overload=b"full ", **options)

    def enter(self, host="192.0.2.1"):
        session = self.listener.buildProtocol(None)
        transport = Transport(peerAddress=IPv4Address("TCP", host, 1))
        transport.protocol = session
        session.makeConnection(transport)
        return session, transport

    def crowd(self, number, start=0):
        return [self.enter(f"10.0.{(start + i) // 200}.{(start + i) % 200}") for i in range(number)]


# Rates


def taken(rates, host, times):
    return sum(rates.message(host) for _ in range(times))


def test_a_burst_then_as_much_as_the_rate_says():
    clock = Clock()
    buckets = Rates(RateLimits(messages=Rate(60, 60.0)), seconds=clock.seconds)
    assert taken(buckets, "192.0.2.1", 100) == 60
    clock.advance(10)
    assert taken(buckets, "192.0.2.1", 100) == 10
    clock.advance(3600)
    assert taken(buckets, "192.0.2.1", 100) == 60
    assert taken(buckets, "192.0.2.2", 100) == 60
    assert buckets.recipient("192.0.2.1") and buckets.connection("192.0.2.1")  # no limits for these


def test_a_refusal_costs_nothing():
    clock = Clock()
    buckets = Rates(RateLimits(messages=Rate(1, 60.0)), seconds=clock.seconds)
    assert buckets.message("192.0.2.1")
    for _ in range(59):
        clock.advance(1)
        assert not buckets.message("192.0.2.1")
    clock.advance(1)
    assert buckets.message("192.0.2.1")


def test_networks_are_as_wide_as_is_said():
    clock = Clock()
    buckets = Rates(RateLimits(messages=Rate(2), v4=24, v6=48), seconds=clock.seconds)
    assert [buckets.message(f"192.0.2.{i}") for i in range(3)] == [True, True, False]
    assert [buckets.message(f"2001:db8:1:{i}::1") for i in range(3)] == [True, True, False]
    assert buckets.message("::ffff:192.0.3.1") and buckets.message("2001:db8:2::1")


def test_some_are_exempt():
    buckets = Rates(
        RateLimits(messages=Rate(1)), seconds=Clock().seconds, exempt=[ipaddress.ip_network("203.0.113.0/24")]
    )
    for host in ("127.0.0.1", "::1", "203.0.113.7"):
        assert taken(buckets, host, 10) == 10


def test_those_whose_address_nobody_knows_are_one_network():
    buckets = Rates(RateLimits(messages=Rate(3)), seconds=Clock().seconds)
    assert taken(buckets, "", 10) == 3


def test_memory_of_rates_is_bounded(monkeypatch):
    monkeypatch.setattr(rates, "MOST_BUCKETS", 100)
    buckets = Rates(RateLimits(messages=Rate(1)), seconds=Clock().seconds)
    for number in range(1000):
        buckets.message(f"10.0.{number // 250}.{number % 250}")
    assert len(buckets) == 100


def test_a_clock_that_is_set_back_stops_nobody_for_long():
    now = [1_000_000.0]
    buckets = Rates(RateLimits(messages=Rate(1, 60.0)), seconds=lambda: now[0])
    assert buckets.message("192.0.2.1")
    now[0] -= 86400
    assert not buckets.message("192.0.2.1")
    now[0] += 61
    assert buckets.message("192.0.2.1")


# Load


def test_a_reactor_that_is_behind_sends_newcomers_away_until_it_has_caught_up():
    clock = Clock()
    load = Load(reactor=clock, limit=2.0)
    Deferred.fromCoroutine(load.start())
    house = House(admission=Admission(load=load))
    clock.advance(INTERVAL)
    assert house.enter()[1].value() == b"hello "
    clock.advance(INTERVAL + 2.1)  # nothing else was done for so long
    assert load.overloaded
    _, transport = house.enter()
    assert transport.value() == b"full " and transport.disconnecting
    clock.advance(INTERVAL)
    assert house.enter()[1].value() == b"hello "
    Deferred.fromCoroutine(load.stop())


# At the door


def test_the_banned_hear_nothing():
    clock = Clock()
    bans = Bans(seconds=clock.seconds, journey=Journey())
    house = House(admission=Admission(bans=bans))
    for _ in range(10):
        bans.failed("imap", "192.0.2.1", "x")
    _, transport = house.enter("192.0.2.1")
    assert transport.aborted and transport.value() == b""
    assert house.enter("192.0.2.2")[1].value() == b"hello "
    assert len(house.listener.connections) == 1


def test_too_many_connections_of_a_network_are_told_to_come_later():
    clock = Clock()
    admission = Admission(rates=Rates(RateLimits(connections=Rate(3)), seconds=clock.seconds))
    assert [admission("192.0.2.1") for _ in range(4)] == [*[Verdict.WELCOME] * 3, Verdict.TOO_OFTEN]
    house = House(admission=admission)
    assert house.enter("192.0.2.1")[1].value() == b"full "


def test_with_tls_from_the_first_octet_nothing_is_said():
    house = House(max_connections=1, implicit_tls=True)
    house.enter()
    assert house.enter()[1].aborted


def test_addresses_of_one_ipv6_host_count_together():
    house = House(max_connections_per_host=2)
    assert [house.enter(f"2001:db8::{i}")[1].value() for i in (1, 2, 3)] == [b"hello ", b"hello ", b"full "]
    assert house.enter("2001:db8:0:1::1")[1].value() == b"hello "


# A crowd that holds its connections and says nothing (slow loris)


def test_a_silent_crowd_keeps_nobody_out():
    """Acceptance 37."""
    house = House(max_connections=100)
    crowd = house.crowd(100)
    assert house.enter("192.0.2.1")[1].value() == b"full "  # they have had no time yet
    for _ in range(3):  # an octet now and then is no progress
        house.clock.advance(7)
        for session, _ in crowd:
            session.dataReceived(b"x")
    _, transport = house.enter("192.0.2.1")
    assert transport.value() == b"hello "
    assert all(transport.value() == b"hello timeout " and transport.disconnecting for _, transport in crowd)


def test_those_with_something_to_say_stay():
    house = House(max_connections=100)
    crowd = house.crowd(100)
    house.clock.advance(25)
    for session, _ in crowd[:99]:
        session.dataReceived(b"!")
    assert house.enter("192.0.2.1")[1].value() == b"hello "
    assert [transport.disconnecting for _, transport in crowd] == [*[False] * 99, True]


def test_those_who_take_their_time_to_leave_are_not_too_many():
    house = House(max_connections=LEAVING * 5)
    house.crowd(LEAVING * 5)
    house.clock.advance(25)
    answers = [house.enter(f"192.0.2.{i}")[1].value() for i in range(10)]
    assert answers == [*[b"hello "] * 5, *[b"full "] * 5]
    house.clock.advance(11)  # CLOSING_LIMIT
    house.listener.sweep()
    assert len(house.listener.connections) == 5


def test_who_waits_for_good_reason_is_left_alone():
    house = House(Patient, max_connections=10)
    crowd = house.crowd(10)
    house.clock.advance(250)
    assert house.enter("192.0.2.1")[1].value() == b"full "
    assert not any(transport.disconnecting for _, transport in crowd)
