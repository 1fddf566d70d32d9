"""Connections that are looked into while a challenge is open: in pieces, silent, not TLS at all, too many."""

from test_client_hello import hello
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from twisted_mta.certificates import tls_alpn
from twisted_mta.certificates.challenges import Challenges
from twisted_mta.certificates.tls_alpn import PATIENCE, ChallengeAware, challenge_context


class Always(Protocol):
    """What stands behind: keeps what it gets."""

    def __init__(self) -> None:
        self.data = b""

    def dataReceived(self, data: bytes) -> None:
        self.data += data


class House:
    def __init__(self) -> None:
        self.clock = Clock()
        self.challenges = Challenges()
        self.front = ChallengeAware(
            Factory.forProtocol(Always), challenges=self.challenges, reactor=self.clock
        )

    def open_challenge(self) -> None:
        self.challenges.contexts["mx.a.test"] = challenge_context("mx.a.test", "token.thumb")

    def connect(self) -> StringTransport:
        transport = StringTransport()
        transport.protocol = self.front.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        return transport


def test_without_a_challenge_nothing_is_looked_into() -> None:
    assert isinstance(House().connect().protocol, Always)


def test_the_authority_is_answered_and_everybody_else_is_handed_on_whole() -> None:
    house = House()
    house.open_challenge()
    for data, is_authority in (
        (hello("mx.a.test", "acme-tls/1"), True),
        (hello("mx.a.test", "http/1.1"), False),
        (hello("other.test", "acme-tls/1"), False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
    ):
        transport = house.connect()
        for at in range(len(data)):
            transport.protocol.dataReceived(data[at : at + 1])
        if is_authority:
            assert transport.value()[:1] == b"\x16"  # a ServerHello
            assert house.clock.getDelayedCalls()  # it does not stay for ever
        else:
            assert isinstance(transport.protocol, Always)
            assert transport.protocol.data == data
    assert house.front.reading == 0


def test_who_says_nothing_is_sent_away() -> None:
    house = House()
    house.open_challenge()
    transport = house.connect()
    transport.protocol.dataReceived(hello("mx.a.test", "acme-tls/1")[:-1])
    house.clock.advance(PATIENCE)
    assert transport.disconnected
    assert house.front.reading == 0
    leaving = house.connect()
    leaving.protocol.connectionLost()
    assert house.front.reading == 0
    assert not house.clock.getDelayedCalls()


def test_a_crowd_keeps_nobody_out(monkeypatch) -> None:
    monkeypatch.setattr(tls_alpn, "MOST_READ", 2)
    house = House()
    house.open_challenge()
    kinds = [type(house.connect().protocol).__name__ for _ in range(3)]
    assert kinds == ["_HelloReader", "_HelloReader", "Always"]
