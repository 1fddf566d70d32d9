"""The PROXY header in front of a session: who is the client, who is counted, who is cut off."""

import ipaddress

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from twisted_mta.wire.proxied import PATIENCE, ProxyAware, ProxyReader

PROXY, STRANGER = "192.0.2.10", "203.0.113.5"
LINE = b"PROXY TCP4 198.51.100.7 192.0.2.1 40000 25\r\n"
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"


class Session(Protocol):
    def __init__(self, addr):
        self.addr = addr
        self.heard = b""
        self.lost = False

    def dataReceived(self, data):
        self.heard += data

    def connectionLost(self, reason):
        self.lost = True


class Transport(StringTransport):
    """As a socket's: what arrives goes to its present protocol."""

    protocol = None
    aborted = False

    def abortConnection(self):
        self.aborted = True


class House:
    def __init__(self):
        self.clock, self.sessions, self.complaints = Clock(), [], []
        house = self

        class Sessions(Factory):
            def buildProtocol(self, addr):
                house.sessions.append(Session(addr))
                return house.sessions[-1]

        networks = (ipaddress.ip_network("192.0.2.0/24"),)
        self.door = ProxyAware(Sessions(), networks=networks, reactor=self.clock)
        self.door.log = self

    def warn(self, text, **values):
        self.complaints.append(text.format(**values))

    def call(self, host):
        transport = Transport(peerAddress=IPv4Address("TCP", host, 50000))
        transport.protocol = self.door.buildProtocol(transport.getPeer())
        transport.protocol.makeConnection(transport)
        return transport


@pytest.fixture
def house():
    return House()


def test_the_session_is_that_of_the_client_and_gets_what_stands_behind_the_header(house):
    transport = house.call(PROXY)
    for octet in LINE:
        assert not house.sessions
        transport.protocol.dataReceived(bytes((octet,)))
    (session,) = house.sessions
    assert session.addr == IPv4Address("TCP", "198.51.100.7", 40000)
    assert transport.protocol is session and session.transport is transport
    transport.protocol.dataReceived(b"EHLO")
    house.call(PROXY).protocol.dataReceived(LINE + b"\x16\x03\x01")
    assert (session.heard, house.sessions[1].heard) == (b"EHLO", b"\x16\x03\x01")
    assert not house.clock.getDelayedCalls()


def test_a_health_check_is_a_session_of_the_proxy_itself(house):
    house.call(PROXY).protocol.dataReceived(LOCAL)
    assert house.sessions[0].addr.host == PROXY


def test_a_check_that_only_connects_is_not_told_of(house):
    reader = house.call(PROXY).protocol
    assert isinstance(reader, ProxyReader)
    reader.connectionLost()
    assert not (house.sessions or house.complaints or house.clock.getDelayedCalls())


def test_a_stranger_is_served_at_once_and_believed_nothing(house):
    transport = house.call(STRANGER)
    transport.protocol.dataReceived(LINE)
    assert (house.sessions[0].addr.host, house.sessions[0].heard) == (STRANGER, LINE)


@pytest.mark.parametrize(
    "octets", [b"EHLO b.test\r\n", b"PROXY TCP4 nobody\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31"]
)
def test_a_proxy_without_a_header_is_cut_off_and_told_of_now_and_then(house, octets):
    for _ in range(3):
        transport = house.call(PROXY)
        transport.protocol.dataReceived(octets)
        assert transport.aborted
    assert not house.sessions and not house.clock.getDelayedCalls()
    (complaint,) = house.complaints
    assert complaint.startswith(f"{PROXY} is in proxy.networks")


def test_a_header_that_does_not_come(house):
    transport = house.call(PROXY)
    transport.protocol.dataReceived(LINE[:-1])
    house.clock.advance(PATIENCE - 0.1)
    assert not transport.aborted
    house.clock.advance(0.2)
    assert transport.aborted and not house.sessions
