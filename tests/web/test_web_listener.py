"""The listener for HTTP, octet by octet and minute by minute: patience, bounds, who is counted, whose word is
taken for who the client is, and what an authority for certificates is told."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from twisted_mta.certificates.challenges import Challenges
from twisted_mta.web.acme_challenge import PATH, AcmeChallenge
from twisted_mta.web.listener import LARGEST_REQUEST, MOST_AT_ONCE, PATIENCE, WebListener
from twisted_mta.web.pages import Content, Door, Pages
from twisted_mta.wire.admission import Verdict

PROXIES = (ipaddress.ip_network("192.0.2.0/24"),)
GET = b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n"


class Transport(StringTransport):
    gone = False

    def unregisterProducer(self):
        self.producer = None  # sockets do not mind when there is none

    def abortConnection(self):
        self.gone = True
        self.protocol.connectionLost(None)


class House:
    def __init__(self, *, secure=True, allowed=lambda client: True, base="https://mail.a.test", **limits):
        self.clock = Clock()
        self.pages, self.plain = Pages(lambda domain: domain == "a.test"), Pages(lambda domain: True)
        self.challenges = Challenges()
        self.plain.add(PATH, AcmeChallenge(self.challenges))
        self.pages.add("/x", Content(b"secret"))
        self.pages.add("/policy", Content(b"policy"), label="mta-sts")
        door = Door(self.pages, plain=self.plain, secure=secure, base=base, proxies=PROXIES, allowed=allowed)
        options = {"max_connections": 100, "max_connections_per_host": 100, **limits}
        self.listener = WebListener(door, reactor=self.clock, secure=secure, tls_context=None, **options)

    def call(self, host="203.0.113.5"):
        transport = Transport(peerAddress=IPv4Address("TCP", "198.51.100.99", 1))
        transport.protocol = self.listener.buildProtocol(IPv4Address("TCP", host, 40000))
        transport.protocol.makeConnection(transport)
        return transport

    def ask(self, request=GET, host="203.0.113.5"):
        transport = self.call(host)
        transport.protocol.dataReceived(request)
        return transport.value()


def test_an_answer_tells_nothing_of_the_server_and_allows_nothing():
    head, _, body = House().ask().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK") and body == b"secret"
    assert b"server:" not in head.lower() and b"Content-Security-Policy: default-src 'none'" in head
    assert b"X-Content-Type-Options: nosniff" in head and b"Cache-Control: no-store" in head
    everything = House().ask(
        b"OPTIONS * HTTP/1.1\r\nHost: any.test\r\n\r\n"
    )  # has ways of its own in Twisted
    assert everything.startswith(b"HTTP/1.1 404 ") and b"server:" not in everything.lower()


def test_who_drips_octets_is_timed_out():
    house = House()
    drip = house.call()
    for number in range(200):
        if drip.gone:
            break
        drip.protocol.dataReceived(b"X%d: y\r\n" % number if number else b"GET /x HTTP/1.1\r\n")
        house.clock.advance(1)
    assert drip.gone and house.clock.seconds() == PATIENCE and not house.clock.getDelayedCalls()
    assert not house.listener.protocols


def test_who_says_nothing_or_does_not_read_is_timed_out():
    house = House()
    silent, deaf = house.call(), house.call()
    deaf.protocol.dataReceived(GET)
    house.clock.advance(PATIENCE)
    assert silent.gone and deaf.gone


def test_each_request_begins_patience_anew():
    house = House()
    steady = house.call()
    for _ in range(5):
        house.clock.advance(PATIENCE - 1)
        steady.protocol.dataReceived(GET)
    assert not steady.gone and steady.value().count(b"secret") == 5


def test_who_does_not_wait_for_answers_is_cut_off():
    """A read may hold thousands of requests, and everybody else would wait while they are answered."""
    house = House()
    patient, hasty = house.call(), house.call()
    patient.protocol.dataReceived(GET * MOST_AT_ONCE)
    patient.protocol.dataReceived(GET * MOST_AT_ONCE)
    assert not patient.gone and patient.value().count(b"secret") == 2 * MOST_AT_ONCE
    hasty.protocol.dataReceived(GET * 2000)
    assert hasty.gone and hasty.value().count(b"secret") == MOST_AT_ONCE


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: %d\r\n\r\n" % (LARGEST_REQUEST + 1),
        b"Content-Length: 99999999999999999999\r\nExpect: 100-continue\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + b"ffff\r\n" + bytes(0xFFFF) + b"\r\n" + b"2\r\nxx\r\n",
    ],
)
def test_too_much_ends_the_connection(head):
    house = House()
    client = house.call()
    client.protocol.dataReceived(b"POST /x HTTP/1.1\r\nHost: a.test\r\n" + head)
    assert client.gone


def test_the_largest_that_is_allowed():
    request = b"POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % LARGEST_REQUEST
    assert b" 405 " in House().ask(request + bytes(LARGEST_REQUEST))


def test_connections_are_counted_for_the_client():
    house = House(max_connections_per_host=2, spared=PROXIES)
    first, second, third, other = (house.call(host) for host in ("203.0.113.5",) * 3 + ("203.0.113.6",))
    assert [each.gone for each in (first, second, third, other)] == [False, False, True, False]
    first.abortConnection()
    assert not house.call().gone
    assert not any(house.call("192.0.2.1").gone for _ in range(5))


def test_there_is_an_end_to_all_connections():
    house = House(max_connections=3)
    calls = [house.call(f"203.0.113.{number}") for number in range(5)]
    assert [call.gone for call in calls] == [False, False, False, True, True]
    house.listener.end_all()
    assert all(call.gone for call in calls) and not house.clock.getDelayedCalls()


def test_who_is_not_welcome_is_told_nothing():
    assert House(admission=lambda host: Verdict.OVERLOADED).call().gone


# Who the client is


def asked_for(headers, host, secure=False):
    clients = []
    house = House(secure=secure, allowed=lambda client: clients.append(client) or True)
    answer = house.ask(b"GET /x HTTP/1.1\r\nHost: a.test\r\n" + headers + b"\r\n", host)
    return clients[0], b"secret" in answer


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        (b"X-Forwarded-For: 203.0.113.7\r\n", "203.0.113.7"),
        (b"X-Forwarded-For: 198.51.100.1, 203.0.113.7\r\n", "203.0.113.7"),
        (b"X-Forwarded-For: 198.51.100.1, 203.0.113.7, 192.0.2.4\r\n", "203.0.113.7"),
        (b"X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 203.0.113.7\r\n", "203.0.113.7"),
        (b"X-Forwarded-For: 203.0.113.7:4711\r\n", "203.0.113.7"),
        (b"X-Forwarded-For: [2001:db8::7]:4711\r\n", "2001:db8::7"),
        (b"X-Forwarded-For: 2001:DB8::7\r\n", "2001:db8::7"),
        (b"X-Forwarded-For: unknown\r\n", "192.0.2.9"),
        (b"X-Forwarded-For: 203.0.113.7, unknown\r\n", "192.0.2.9"),
        (b"X-Forwarded-For: ,\r\n", "192.0.2.9"),
        (b"", "192.0.2.9"),
    ],
)
def test_a_proxy_says_who_its_client_is(headers, client):
    assert asked_for(headers, "192.0.2.9")[0] == client


def test_nobody_else_says_so():
    forged = b"X-Forwarded-For: 192.0.2.4\r\nX-Forwarded-Proto: https\r\n"
    assert asked_for(forged, "203.0.113.5") == ("203.0.113.5", False)


def test_a_proxy_says_whether_tls_was_used():
    assert asked_for(b"X-Forwarded-Proto: https\r\n", "192.0.2.9")[1]
    assert asked_for(b"X-Forwarded-Proto: http, HTTPS\r\n", "192.0.2.9")[1]
    assert not asked_for(b"X-Forwarded-Proto: http\r\n", "192.0.2.9")[1]
    assert not asked_for(b"", "192.0.2.9")[1]
    assert asked_for(b"", "192.0.2.9", secure=True)[1]
    assert not asked_for(b"X-Forwarded-Proto: http\r\n", "192.0.2.9", secure=True)[1]


def test_too_many_requests():
    answer = House(allowed=lambda client: False).ask()
    assert answer.startswith(b"HTTP/1.1 429 ") and b"Retry-After: 60" in answer


# Without TLS


def test_what_needs_tls_is_moved_there_by_our_own_name():
    house = House(secure=False)
    for host in (b"a.test", b"evil.test", b"a.test:80"):
        moved = house.ask(b"GET /x?a=b%20c HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        assert (
            moved.startswith(b"HTTP/1.1 302 ") and b"\r\nLocation: https://mail.a.test/x?a=b%20c\r\n" in moved
        )
    posted = house.ask(b"POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nx")
    assert posted.startswith(b"HTTP/1.1 307 ")
    for target in (b"/y", b"//x", b"http://evil.test/x", b"/policy"):
        assert b" 404 " in house.ask(b"GET " + target + b" HTTP/1.1\r\nHost: a.test\r\n\r\n")
    assert b" 404 " in house.ask(b"GET /policy HTTP/1.1\r\nHost: mta-sts.a.test\r\n\r\n")
    assert b" 404 " in House(secure=False, base="").ask()


def test_hosts_with_a_table_of_their_own():
    house = House()

    def status(path, host):
        return house.ask(b"GET " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").split()[1]

    for host in (b"mta-sts.a.test", b"MTA-STS.A.test.", b"mta-sts.a.test:8443"):
        assert (status(b"/policy", host), status(b"/x", host)) == (b"200", b"404")
    for host in (b"a.test", b"mta-sts.b.test", b"mta-sts", b".a.test", b"[::1]:443", b"\xff\x00"):
        assert status(b"/policy", host) in (b"404", b"400"), host


def test_challenges_of_an_authority():
    house = House(secure=False)
    house.challenges.put("To-ken_1", "To-ken_1.thumb")

    def ask(token, host=b"any.test"):
        return house.ask(b"GET " + PATH.encode() + token + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")

    for host in (b"any.test", b"mta-sts.a.test"):
        answer = ask(b"/To-ken_1", host)
        assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\nTo-ken_1.thumb")
    for token in (b"", b"/", b"/other", b"/To-ken_1/", b"To-ken_1", b"/../To-ken_1", b"//To-ken_1"):
        assert b" 404 " in ask(token), token
    house.challenges.remove("To-ken_1")
    assert b" 404 " in ask(b"/To-ken_1")


# Whatever comes

_TOKEN = st.binary(max_size=30).map(lambda octets: octets.replace(b"\n", b"").replace(b"\r", b""))
_HEAD = st.builds(
    lambda method, target, lines: b"\r\n".join([method + b" " + target + b" HTTP/1.1", *lines, b"", b""]),
    st.sampled_from([b"GET", b"HEAD", b"POST", b"OPTIONS", b"get", b""]) | _TOKEN,
    st.sampled_from([b"/x", b"/", b"/x?address=a%40a.test", PATH.encode() + b"/t", b"*"]) | _TOKEN,
    st.lists(
        st.builds(
            lambda name, value: name + b": " + value,
            st.sampled_from([b"Host", b"X-Forwarded-For", b"X-Forwarded-Proto", b"Content-Type", b"Cookie"])
            | _TOKEN,
            st.sampled_from([b"a.test", b"203.0.113.7, 192.0.2.1", b"https", b"multipart/form-data"])
            | _TOKEN,
        ),
        max_size=5,
    ),
)


@given(_HEAD | st.binary(max_size=200), st.sampled_from(["203.0.113.5", "192.0.2.9"]), st.booleans())
def test_whatever_comes_is_answered_alike_whole_or_by_octets(data, host, secure):
    def said(pieces):
        house = House(secure=secure)
        transport = house.call(host)
        for piece in pieces:
            if not transport.gone:
                transport.protocol.dataReceived(piece)
        return [line for line in transport.value().split(b"\r\n") if not line.startswith(b"Date: ")]

    whole = said([data])
    assert not whole[0].startswith(b"HTTP/1.1 5")
    assert said(data[n : n + 1] for n in range(len(data))) == whole
