"""The resolver against a real DNS server, and against sockets that are silent or talk nonsense."""

import socket
import tempfile
import threading
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from nameserver import Nameserver
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from twisted_mta.interfaces import IResolver
from twisted_mta.resolver import DnsResolver, ResolutionError, host_and_port
from twisted_mta.resolver.name_servers import NameServer

ZONE = """\
$ORIGIN example.test.
$TTL 3600
@        SOA   ns hostmaster 1 3600 600 86400 60
@        NS    ns
ns       A     127.0.0.1
@        MX    10 MX1
@        MX    20 mx2.other.test.
mx1      A     192.0.2.1
mx1      A     192.0.2.2
mx1      AAAA  2001:db8::1
v6       AAAA  2001:db8::2
null     MX    0 .
bare     A     192.0.2.3
empty    TXT   "neither"
long     TXT   "one " "two"
_25._tcp.mx1 TLSA 3 1 1 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
alias    CNAME example.test.
mxalias  CNAME mx1
dangling CNAME nowhere
loop1    CNAME loop2
loop2    CNAME loop1
""" + "".join(f"many MX {n} a-rather-long-name-to-fill-the-answer-{n}.example.test.\n" for n in range(60))

REVERSE = """\
$TTL 3600
@ SOA ns.example.test. hostmaster.example.test. 1 3600 600 86400 60
@ NS ns.example.test.
1 PTR MX1.example.test.
1 PTR other.example.test.
"""


class TestRealServer(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        zones = {
            "example.test": ZONE,
            "broken.test": "this is not a zone file\n",
            "2.0.192.in-addr.arpa": REVERSE,
            "8.b.d.0.1.0.0.2.ip6.arpa": REVERSE.replace("1 PTR", "1" + ".0" * 23 + " PTR"),
        }
        cls.nameserver = Nameserver(zones, Path(cls.directory.name))

    @classmethod
    def tearDownClass(cls):
        cls.nameserver.stop()
        cls.directory.cleanup()

    async def setUp(self):
        self.resolver = DnsResolver([f"127.0.0.1:{self.nameserver.port}"], reactor=reactor)
        await self.resolver.start()
        self.addCleanup(self.resolver.stop)

    def test_interface(self):
        assert verifyObject(IResolver, self.resolver)

    async def test_mx(self):
        assert sorted((await self.resolver.mx("example.test")).records) == [
            (10, "mx1.example.test"),
            (20, "mx2.other.test"),
        ]

    async def test_names_of_addresses(self):
        for address in ("192.0.2.1", "2001:db8::1", "2001:DB8:0::1"):
            names = (await self.resolver.ptr(address)).records
            assert sorted(names) == ["mx1.example.test", "other.example.test"]
        assert await self.resolver.ptr("192.0.2.2") is None

    async def test_mx_behind_an_alias(self):
        assert len((await self.resolver.mx("alias.example.test")).records) == 2

    async def test_null_mx(self):
        assert (await self.resolver.mx("null.example.test")).records == ((0, ""),)

    async def test_no_mx(self):
        assert (await self.resolver.mx("bare.example.test")).records == ()

    async def test_no_such_domain(self):
        assert await self.resolver.mx("nowhere.example.test") is None
        assert await self.resolver.addresses("nowhere.example.test") is None
        assert await self.resolver.addresses("dangling.example.test") is None

    async def test_a_name_that_cannot_stand_in_the_dns_does_not_exist(self):
        assert await self.resolver.mx(".".join(["x" * 63] * 4)) is None

    async def test_addresses_of_both_families(self):
        found = await self.resolver.addresses("mx1.example.test")
        assert sorted(found.records) == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
        assert found.canonical == "mx1.example.test" and not found.secure
        behind_alias = await self.resolver.addresses("mxalias.example.test")
        assert sorted(behind_alias.records) == sorted(found.records)
        assert behind_alias.canonical == "mx1.example.test"
        assert (await self.resolver.addresses("v6.example.test")).records == ("2001:db8::2",)

    async def test_texts(self):
        assert (await self.resolver.txt("empty.example.test")).records == ("neither",)
        assert (await self.resolver.txt("long.example.test")).records == ("one two",)
        assert (await self.resolver.txt("bare.example.test")).records == ()
        assert await self.resolver.txt("nowhere.example.test") is None

    async def test_tlsa(self):
        found = await self.resolver.tlsa("_25._tcp.mx1.example.test")
        assert found.records == ((3, 1, 1, bytes(range(32))),)
        assert await self.resolver.tlsa("_25._tcp.v6.example.test") is None

    async def test_a_name_without_addresses(self):
        assert (await self.resolver.addresses("empty.example.test")).records == ()

    async def test_an_answer_too_big_for_udp(self):
        assert len((await self.resolver.mx("many.example.test")).records) == 60

    async def test_server_failure(self):
        with pytest.raises(ResolutionError, match=r"MX of broken\.test: SERVFAIL"):
            await self.resolver.mx("broken.test")

    async def test_refusal(self):
        with pytest.raises(ResolutionError, match="REFUSED"):
            await self.resolver.addresses("elsewhere.test")

    async def test_alias_loop(self):
        with pytest.raises(ResolutionError):
            await self.resolver.addresses("loop1.example.test")

    async def test_the_next_server_is_asked(self):
        with silent_socket() as silent:
            servers, clock = [f"127.0.0.1:{silent.port}", f"127.0.0.1:{self.nameserver.port}"], Clock()
            resolver = DnsResolver(servers, reactor=reactor, clock=clock)
            await resolver.start()
            self.addCleanup(resolver.stop)
            question = Deferred.fromCoroutine(resolver.mx("example.test"))
            await silent.heard(1)
            clock.advance(3)
            assert len((await question).records) == 2


class udp_socket:
    """A UDP socket that answers what `answer` makes of a query; with None, nothing. A thread reads from it:
    `asked` is how many it has read by now."""

    def __init__(self, answer=None):
        self.answer = answer
        self.asked = 0

    def __enter__(self):
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return self

    def serve(self):
        while True:
            query, peer = self.socket.recvfrom(4096)
            if not query:
                return
            self.asked += 1
            if self.answer is not None:
                self.socket.sendto(self.answer(query), peer)

    def __exit__(self, *exception):
        with socket.socket(type=socket.SOCK_DGRAM) as stopper:
            stopper.sendto(b"", ("127.0.0.1", self.port))
        self.thread.join()
        self.socket.close()

    async def heard(self, count):
        """Wait for so many queries."""
        while self.asked < count:
            await deferLater(reactor, 0)


def silent_socket():
    return udp_socket()


def one_address(query):
    question = dns.message.from_wire(query)
    answer = dns.message.make_response(question)
    name = question.question[0].name
    if question.question[0].rdtype == dns.rdatatype.A:
        answer.answer.append(dns.rrset.from_text(name, 100, "IN", "A", "192.0.2.9"))
    else:
        answer.set_rcode(dns.rcode.SERVFAIL)
    return answer.to_wire()


def nothing(query):
    return dns.message.make_response(dns.message.from_wire(query)).to_wire()


class Elsewhere:
    """What asks for a resolver; the answers look as if they came from another machine."""

    def __init__(self, asking):
        self.asking = asking

    async def ask(self, question):
        answer, _ = await self.asking.ask(question)
        return answer, NameServer("192.0.2.53")

    def stop(self):
        self.asking.stop()


def vouched(query):
    """An answer with the AD bit, when the question asks for it."""
    question = dns.message.from_wire(query)
    answer = dns.message.make_response(question)
    answer.flags |= question.flags & dns.flags.AD
    if question.question[0].rdtype == dns.rdatatype.A:
        answer.answer.append(dns.rrset.from_text(question.question[0].name, 100, "IN", "A", "192.0.2.9"))
    return answer.to_wire()


class TestOddServers(TestCase):
    async def resolver(self, server, **limits):
        resolver = DnsResolver([f"127.0.0.1:{server.port}"], reactor=reactor, **limits)
        await resolver.start()
        self.addCleanup(resolver.stop)
        return resolver

    async def test_silence(self):
        with silent_socket() as server:
            resolver = await self.resolver(server, timeout=0.05, lifetime=0.1)
            with pytest.raises(ResolutionError, match="no answer"):
                await resolver.mx("example.test")

    async def test_garbage(self):
        with udp_socket(lambda query: query[:2] + b"\xff" * 40) as server:
            resolver = await self.resolver(server, timeout=0.05, lifetime=0.1)
            with pytest.raises(ResolutionError):
                await resolver.mx("example.test")

    async def test_one_family_failing_does_not_hide_the_other(self):
        with udp_socket(one_address) as server:
            resolver = await self.resolver(server)
            assert (await resolver.addresses("host.test")).records == ("192.0.2.9",)

    async def test_a_server_on_the_loopback_is_believed(self):
        with udp_socket(vouched) as server:
            resolver = await self.resolver(server)
            assert (await resolver.addresses("host.test")).secure
            assert (await resolver.mx("host.test")).secure
            assert (await resolver.addresses("host.test")).secure  # as it was remembered

    async def test_a_server_elsewhere_is_believed_only_when_it_was_declared_safe(self):
        with udp_socket(vouched) as server:
            for trusted in (False, True):
                resolver = await self.resolver(server, trusted=trusted)
                self.patch(resolver, "_asking", Elsewhere(resolver._asking))
                assert (await resolver.addresses("host.test")).secure == trusted

    async def test_that_there_is_no_tlsa_is_remembered_for_a_minute(self):
        with udp_socket(vouched) as server:
            clock = Clock()
            resolver = await self.resolver(server, clock=clock)
            for moment, asked in ((0, 1), (59, 1), (61, 2)):
                clock.advance(moment - clock.seconds())
                assert (await resolver.tlsa("_25._tcp.host.test")).records == ()
                assert server.asked == asked

    async def test_localhost_is_not_asked_for(self):
        with silent_socket() as server:
            resolver = await self.resolver(server)
            assert (await resolver.addresses("localhost")).records == ("127.0.0.1", "::1")
            assert server.asked == 0

    async def test_answers_are_remembered_for_their_time_to_live(self):
        with udp_socket(one_address) as server:
            clock = Clock()
            resolver = await self.resolver(server, clock=clock)
            asked = []
            for moment in (0, 99, 101):
                clock.advance(moment - clock.seconds())
                await resolver.addresses("host.test")
                asked.append(server.asked)
            # Two questions each time, but for the one whose answer was remembered; a failure never is.
            assert asked == [2, 3, 5]

    async def test_what_is_very_large_is_not_remembered(self):
        def large(query):
            question = dns.message.from_wire(query)
            answer = dns.message.make_response(question)
            texts = [f'"{number}{"x" * 240}"' for number in range(100)]
            answer.answer.append(dns.rrset.from_text(question.question[0].name, 100, "IN", "TXT", *texts))
            return answer.to_wire(max_size=65535)

        with udp_socket(large) as server:
            resolver = await self.resolver(server)
            for asked in (1, 2):
                assert len((await resolver.txt("host.test")).records) == 100
                assert server.asked == asked

    async def test_that_there_is_nothing_is_remembered_where_strangers_ask(self):
        with udp_socket(nothing) as server:
            clock = Clock()
            resolver = await self.resolver(server, clock=clock, absent=30.0)
            for moment, asked in ((0, 1), (29, 1), (31, 2)):
                clock.advance(moment - clock.seconds())
                assert (await resolver.ipv4("nothing.test")).records == ()
                assert server.asked == asked

    async def test_what_is_being_asked_is_not_asked_again(self):
        with udp_socket(one_address) as server:
            resolver = await self.resolver(server)
            questions = [Deferred.fromCoroutine(resolver.ipv4("host.test")) for _ in range(10)]
            assert [(await question).records for question in questions] == [("192.0.2.9",)] * 10
            assert server.asked == 1
        with silent_socket() as server:
            clock = Clock()
            resolver = await self.resolver(server, clock=clock, timeout=3.0, lifetime=3.0)
            for asked, times in ((1, 10), (2, 1)):
                questions = [Deferred.fromCoroutine(resolver.ipv4("host.test")) for _ in range(times)]
                await server.heard(asked)
                clock.advance(3)
                for question in questions:
                    with pytest.raises(ResolutionError):
                        await question
                assert server.asked == asked

    async def test_the_reactor_runs_on_while_a_question_waits(self):
        with silent_socket() as server:
            clock = Clock()
            resolver = await self.resolver(server, clock=clock, timeout=3.0, lifetime=3.0)
            question = Deferred.fromCoroutine(resolver.mx("example.test"))
            assert await deferToThread(lambda: "meanwhile") == "meanwhile"
            assert not question.called
            clock.advance(3)
            with pytest.raises(ResolutionError):
                await question

    async def test_a_stopped_resolver_makes_no_further_try_and_takes_no_more_questions(self):
        with silent_socket() as server:
            resolver = DnsResolver([f"127.0.0.1:{server.port}"], reactor=reactor, timeout=0.1, lifetime=3600)
            await resolver.start()
            question = Deferred.fromCoroutine(resolver.mx("example.test"))
            await resolver.stop()
            for refused in (question, Deferred.fromCoroutine(resolver.addresses("host.test"))):
                with pytest.raises(ResolutionError):
                    await refused


def test_host_and_port():
    assert host_and_port("mx.test", 25) == ("mx.test", 25)
    assert host_and_port("mx.test:2525", 25) == ("mx.test", 2525)
    assert host_and_port("[::1]:2525", 25) == ("::1", 2525)
    assert host_and_port("[::1]", 25) == ("::1", 25)
    assert host_and_port("::1", 25) == ("::1", 25)
    for nonsense in ("", ":25", "mx.test:smtp", "[::1", "[::1]25", "mx.test:-1"):
        with pytest.raises(ValueError):
            host_and_port(nonsense, 25)
