"""Questions on their way, against name servers that lie, babble, cut short, hang and say nothing. Time is a
clock's that only the test moves: what is answered without it was answered without waiting."""

import errno
import socket
from unittest.mock import patch

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from process import free_port
from scripted_name_server import ScriptedNameServer, reply
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.internet.tcp import Client
from twisted.trial.unittest import SkipTest, TestCase

from twisted_mta.resolver import DnsResolver, ResolutionError
from twisted_mta.resolver import resolver as resolver_module
from twisted_mta.resolver import transport as resolver_transport
from twisted_mta.resolver.asking import LONGEST_PAUSE

RIGHT, WRONG = "192.0.2.1", "192.0.2.66"
TRY, LIFE = 3.0, 20.0


def right(query):
    return reply(query, ("A", RIGHT))


def wrong(query, **settings):
    return reply(query, ("A", WRONG), **settings)


def framed(octets):
    return len(octets).to_bytes(2, "big") + octets


def truncated(query):
    return [reply(query, flags=dns.flags.TC)]


class ResolverTestCase(TestCase):
    def setUp(self):
        self.clock = Clock()

    def server(self, *script, **scripts):
        server = ScriptedNameServer(*script, **scripts).start()
        self.addCleanup(server.stop)
        return server

    def resolver(self, *servers, **settings):
        resolver = DnsResolver(
            [f"127.0.0.1:{server if isinstance(server, int) else server.port}" for server in servers],
            reactor=reactor,
            clock=self.clock,
            timeout=TRY,
            lifetime=LIFE,
            **settings,
        )
        self.addCleanup(resolver.stop)
        return resolver

    def ask(self, resolver, name="host.test"):
        return Deferred.fromCoroutine(resolver.ipv4(name))

    async def answered(self, answer, **settings):
        """What is found at a server that sends these datagrams."""
        found = await self.ask(self.resolver(self.server(answer, **settings)))
        return found.records

    async def passed_over(self, answer, **settings):
        """Asserts that another server is asked, at once."""
        second = self.server(lambda query: [right(query)])
        found = await self.ask(self.resolver(self.server(answer, **settings), second))
        assert found.records == (RIGHT,) and len(second.queries) == 1

    async def fails(self, question, match):
        with pytest.raises(ResolutionError, match=match):
            await question


class TestWhatIsSent(ResolverTestCase):
    async def test_the_question(self):
        server = self.server(lambda query: [right(query)])
        await self.ask(self.resolver(server), "Host.Test")
        query = dns.message.from_wire(server.queries[0][0])
        (entry,) = query.question
        assert (entry.name.to_text(), entry.rdtype, entry.rdclass) == ("Host.Test.", dns.rdatatype.A, 1)
        assert query.flags == dns.flags.RD | dns.flags.AD
        assert (query.edns, query.payload, query.ednsflags) == (0, 1232, 0)

    async def test_numbers_and_ports_are_drawn_by_lot(self):
        server = self.server(lambda query: [right(query)])
        resolver = self.resolver(server)
        for number in range(60):
            await self.ask(resolver, f"h{number}.test")
        assert len({query[:2] for query, _ in server.queries}) > 50
        assert len({port for _, (_, port) in server.queries}) > 50

    async def test_over_ipv6(self):
        server = ScriptedNameServer(lambda query: [right(query)])
        server.noisy = False
        try:
            listening = reactor.listenUDP(0, server, interface="::1")
        except CannotListenError:
            raise SkipTest("this machine has no IPv6") from None
        self.addCleanup(listening.stopListening)
        port = listening.getHost().port
        resolver = DnsResolver([f"[::1]:{port}"], reactor=reactor, clock=self.clock)
        assert (await self.ask(resolver)).records == (RIGHT,)


class TestLies(ResolverTestCase):
    """What is not the answer is passed over, and the answer behind it is taken."""

    async def test_another_number(self):
        def answer(query):
            return [
                bytes([query[0] ^ 1]) + wrong(query)[1:],
                query[:1] + bytes([query[1] ^ 1]) + wrong(query)[2:],
                right(query),
            ]

        assert await self.answered(answer) == (RIGHT,)

    async def test_another_question(self):
        def answer(query):
            lies = []
            for name, kind, of_class in (
                ("hoax.test.", "A", "IN"),
                ("host.test.", "AAAA", "IN"),
                ("host.test.", "A", "CH"),
            ):
                asked = dns.message.from_wire(query)
                asked.question = [
                    dns.rrset.RRset(
                        dns.name.from_text(name),
                        dns.rdataclass.from_text(of_class),
                        dns.rdatatype.from_text(kind),
                    )
                ]
                lies.append(wrong(asked.to_wire(), name="host.test."))
            return [*lies, right(query)]

        assert await self.answered(answer) == (RIGHT,)

    async def test_no_answer_at_all(self):
        def answer(query):
            header = query[:4]
            opcode = wrong(query)
            return [
                b"",
                query[:2],
                query,  # a question
                opcode[:2] + bytes([opcode[2] | 0x20]) + opcode[3:],  # NOTIFY
                header[:2] + b"\x81\x80" + bytes(8),  # NOERROR without a question
                header[:2] + b"\xff" * 40,
                right(query),
            ]

        assert await self.answered(answer) == (RIGHT,)

    async def test_another_sender(self):
        with socket.socket(type=socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.1", 0))

            def answer(query):
                stranger.sendto(wrong(query), server.queries[-1][1])
                return [right(query)]

            server = self.server(answer)
            assert (await self.ask(self.resolver(server))).records == (RIGHT,)

    async def test_the_case_of_names_does_not_matter(self):
        assert await self.answered(lambda query: [right(query.replace(b"host", b"hOST"))]) == (RIGHT,)


class TestUselessServers(ResolverTestCase):
    """The next one is asked at once, and what the last one said is told."""

    async def test_malformed(self):
        await self.passed_over(lambda query: [right(query)[:-1]])

    async def test_what_it_cannot_do(self):
        for rcode in ("SERVFAIL", "REFUSED", "NOTIMP", "FORMERR", "NOTAUTH", "BADVERS"):
            await self.passed_over(
                lambda query, rcode=rcode: [reply(query, rcode=dns.rcode.from_text(rcode))]
            )

    async def test_a_failure_that_does_not_repeat_the_question(self):
        await self.passed_over(lambda query: [query[:2] + b"\x81\x81" + bytes(8)])

    async def test_lame(self):
        """It names other servers, which is no "there is nothing"."""
        name_servers = dns.rrset.from_text("test.", 100, "IN", "NS", "ns.test.")

        def answer(query):
            referral = bytearray(reply(query, authority=[name_servers]))
            referral[3] &= 0x7F  # not RA
            return [bytes(referral)]

        await self.passed_over(answer)

    async def test_nothing_there_is_an_answer(self):
        end_of_zone = dns.rrset.from_text("test.", 100, "IN", "SOA", "ns.test. a.test. 1 2 3 4 5")
        assert await self.answered(lambda query: [reply(query, authority=[end_of_zone])]) == ()

    async def test_aliases_in_a_circle(self):
        await self.passed_over(lambda query: [reply(query, ("CNAME", "host.test."))])

    async def test_what_strangers_call_themselves_is_told_in_ascii(self):
        server = self.server(lambda query: [reply(query, rcode=dns.rcode.SERVFAIL)])
        question = self.ask(self.resolver(server), "a\n\x1b.gr\xfcn.test")
        await self.fails(question, r"^A of a\\n\\x1b\.gr\\xfcn\.test: SERVFAIL$")

    async def test_all_of_them(self):
        servers = [self.server(lambda query, code=code: [reply(query, rcode=code)]) for code in (2, 5)]
        await self.fails(self.ask(self.resolver(*servers)), r"^A of host\.test: REFUSED$")
        assert [len(server.queries) for server in servers] == [1, 1]


class TestSilence(ResolverTestCase):
    async def test_one_server_after_the_other_and_round_again(self):
        servers = [self.server(), self.server()]
        resolver = self.resolver(*servers)
        question = self.ask(resolver)
        for round_ in (1, 2):
            for server in servers:
                await server.asked(round_)
                self.clock.advance(TRY)
            self.clock.advance(0.1)
        assert not question.called
        self.clock.advance(LIFE)
        await self.fails(question, "no answer from the DNS")
        servers[0].answer = lambda query: [right(query)]
        assert (await self.ask(resolver, "last.test")).records == (RIGHT,)
        assert [len(server.queries) for server in servers] == [3, 2]

    async def test_an_answer_that_comes_too_late(self):
        server = self.server()
        question = self.ask(self.resolver(server))
        await server.asked(1)
        self.clock.advance(TRY)
        self.clock.advance(0.1)
        await server.asked(2)
        late, there = server.queries
        server.transport.write(wrong(late[0]), late[1])
        server.transport.write(right(there[0]), there[1])
        assert (await question).records == (RIGHT,)

    async def test_a_server_that_fails_is_not_asked_again_while_another_is_silent(self):
        failing, silent = self.server(lambda query: [reply(query, rcode=2)]), self.server()
        question = self.ask(self.resolver(failing, silent))
        await silent.asked(1)
        self.clock.advance(TRY)
        self.clock.advance(0.1)
        await silent.asked(2)
        assert len(failing.queries) == 1
        self.clock.advance(LIFE)
        await self.fails(question, "no answer")

    async def test_where_nobody_listens_nobody_waits(self):
        gone = self.server()
        await gone.stop()
        second = self.server(lambda query: [right(query)])
        assert (await self.ask(self.resolver(gone, second))).records == (RIGHT,)

    async def test_a_server_that_starts_anew_is_asked_again(self):
        port, pauses = free_port(), []
        self.patch(self.clock, "callLater", later(self.clock, pauses))
        question = self.ask(self.resolver(port))
        await until(lambda: pauses)
        server = ScriptedNameServer(lambda query: [right(query)])
        server.noisy = False
        listening = reactor.listenUDP(port, server, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        self.clock.advance(0.1)
        assert (await question).records == (RIGHT,)

    async def test_pauses_grow(self):
        port, pauses = free_port(), []
        self.patch(self.clock, "callLater", later(self.clock, pauses))
        question = self.ask(self.resolver(port))
        for count in range(1, 8):
            await until(lambda count=count: len(pauses) == count)
            self.clock.advance(pauses[-1])
        assert pauses[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0] and not question.called
        self.clock.advance(LIFE)
        await self.fails(question, "no answer")

    async def test_without_a_free_file(self):
        server = self.server(lambda query: [right(query)])
        real = socket.socket

        def none_left(*_):
            self.patch(resolver_transport.socket, "socket", real)
            raise OSError(errno.EMFILE, "Too many open files")

        resolver = self.resolver(server)
        self.patch(resolver_transport.socket, "socket", none_left)
        question = self.ask(resolver)
        assert not question.called and not server.queries
        self.clock.advance(0.1)
        assert (await question).records == (RIGHT,)


def later(clock, seen):
    """`callLater` that tells of pauses."""

    def call_later(seconds, *call, **arguments):
        if seconds <= LONGEST_PAUSE:
            seen.append(seconds)
        return Clock.callLater(clock, seconds, *call, **arguments)

    return call_later


async def until(condition):
    """Lets the reactor run until it holds."""
    while not condition():
        turn = Deferred()
        reactor.callLater(0, turn.callback, None)
        await turn


class TestConnections(ResolverTestCase):
    """Answers that are too large for a datagram."""

    async def test_in_one_piece_and_octet_by_octet(self):
        def whole(transport, query):
            transport.write(framed(right(query)) + b"more")

        def dripping(transport, query):
            transport.setTcpNoDelay(True)
            for octet in framed(right(query)):
                transport.write(bytes([octet]))

        for over_tcp in (whole, dripping):
            server = self.server(truncated, over_tcp)
            assert (await self.ask(self.resolver(server))).records == (RIGHT,)
            assert len(server.queries) == len(server.connections) == 1

    async def test_a_truncated_answer_is_not_taken_for_what_it_has(self):
        def answer(query):
            return [wrong(query, flags=dns.flags.TC)]

        def over_tcp(transport, query):
            transport.write(framed(right(query)))

        assert await self.answered(answer, over_tcp=over_tcp) == (RIGHT,)

    async def test_64_kib(self):
        texts = ["x" * 250 + str(number) for number in range(240)]

        def over_tcp(transport, query):
            transport.write(framed(reply(query, *(("TXT", text) for text in texts))))

        resolver = self.resolver(self.server(truncated, over_tcp))
        assert list((await resolver.txt("host.test")).records) == texts

    async def test_useless_ones(self):
        for over_tcp in (
            lambda transport, query: transport.loseConnection(),
            lambda transport, query: (transport.write(framed(right(query))[:-1]), transport.loseConnection()),
            lambda transport, query: transport.write(framed(b"")),
            lambda transport, query: transport.write(framed(bytes([query[0] ^ 1]) + right(query)[1:])),
            lambda transport, query: transport.write(framed(truncated(query)[0])),
            lambda transport, query: transport.write(framed(right(query)[:-1])),
        ):
            await self.passed_over(truncated, over_tcp=over_tcp)

    async def test_none_at_all(self):
        server, second = self.server(truncated), self.server(lambda query: [right(query)])
        await server.stop_tcp()
        assert (await self.ask(self.resolver(server, second))).records == (RIGHT,)

    async def test_one_that_hangs(self):
        hanging, heard = ScriptedNameServer(truncated), Deferred()
        hanging.over_tcp = lambda transport, query: heard.callback(None)
        self.addCleanup(hanging.start().stop)
        second = self.server(lambda query: [right(query)])
        question = self.ask(self.resolver(hanging, second))
        await heard
        assert not question.called
        self.clock.advance(TRY)
        assert (await question).records == (RIGHT,)

    async def test_one_that_is_never_made(self):
        server = self.server(truncated)
        await server.stop_tcp()
        full = socket.create_server(("127.0.0.1", server.port), backlog=0)
        self.addCleanup(full.close)
        for _ in range(4):  # more than the system holds
            waiting = socket.socket()
            self.addCleanup(waiting.close)
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        resolver = self.resolver(server)
        question = self.ask(resolver)
        await until(lambda: any(isinstance(each, Client) for each in reactor.getWriters()))
        self.clock.advance(TRY)
        assert not question.called  # it is silent, for now
        self.clock.advance(LIFE)
        await self.fails(question, "no answer from the DNS")
        stopped = self.ask(resolver, "other.test")
        await until(lambda: any(isinstance(each, Client) for each in reactor.getWriters()))
        await resolver.stop()
        await self.fails(stopped, "the server is stopping")


class TestMany(ResolverTestCase):
    async def test_what_is_remembered_takes_only_so_much_memory(self):
        server = self.server(lambda query: [right(query)])
        resolver = self.resolver(server)
        room = 2 * resolver_module.RECORD_COST + len(RIGHT)
        with patch.object(resolver_module, "MOST_CACHED", 3 * room):
            for name in ("a.test", "b.test", "c.test", "a.test"):
                await self.ask(resolver, name)
            assert len(server.queries) == 3
            for name in ("d.test", "c.test", "d.test", "a.test"):  # the oldest has gone
                await self.ask(resolver, name)
            assert len(server.queries) == 5

    async def test_300_without_an_answer_hold_up_nobody(self):
        server = self.server(lambda query: None if b"silent" in query else [right(query)])
        resolver = self.resolver(server)
        silent = []
        for count in (100, 200, 300):  # more at once are too many for the server's socket
            silent += [self.ask(resolver, f"silent{number}.test") for number in range(count - 100, count)]
            await server.asked(count)
        for number in range(20):
            assert (await self.ask(resolver, f"h{number}.test")).records == (RIGHT,)
        assert not any(question.called for question in silent)
        self.clock.advance(TRY)
        assert (await self.ask(resolver, "last.test")).records == (RIGHT,)
        await resolver.stop()
        for question in silent:
            await self.fails(question, "the server is stopping")

    async def test_only_so_many_are_on_their_way(self):
        server = self.server()
        resolver = self.resolver(server, most=3)
        questions = [self.ask(resolver, f"h{number}.test") for number in range(5)]
        await server.asked(3)
        server.transport.write(right(server.queries[1][0]), server.queries[1][1])
        assert (await questions[1]).records == (RIGHT,)
        await server.asked(4)
        assert server.queries[3][0][13:15] == b"h3"
        for query, address in server.queries:
            server.transport.write(right(query), address)
        await server.asked(5)
        server.transport.write(right(server.queries[4][0]), server.queries[4][1])
        for question in questions[:1] + questions[2:]:
            assert (await question).records == (RIGHT,)

    async def test_waiting_for_a_turn_is_part_of_the_time_that_a_question_has(self):
        server = self.server()
        resolver = self.resolver(server, most=1)
        questions = [self.ask(resolver, f"h{number}.test") for number in range(2000)]
        await server.asked(1)
        self.clock.advance(LIFE)
        for question in questions:
            await self.fails(question, "no answer")
        server.answer = lambda query: [right(query)]
        assert (await self.ask(resolver, "last.test")).records == (RIGHT,)
        assert len(server.queries) == 2

    async def test_only_so_many_wait(self):
        self.patch(resolver_module, "MOST_WAITING", 2)
        resolver = self.resolver(self.server())
        questions = [self.ask(resolver, f"h{number}.test") for number in range(3)]
        await self.fails(questions[2], r"^A of h2\.test: too many questions")
        await resolver.stop()
        for question in questions[:2]:
            await self.fails(question, "stopping")

    async def test_who_goes_away_does_not_take_the_answer_from_others(self):
        server = self.server()
        resolver = self.resolver(server)
        first, second = self.ask(resolver), self.ask(resolver)
        await server.asked(1)
        first.cancel()
        with pytest.raises(CancelledError):
            await first
        server.transport.write(right(server.queries[0][0]), server.queries[0][1])
        assert (await second).records == (RIGHT,)

    async def test_stopping_asks_nobody_any_more(self):
        server = self.server()
        resolver = self.resolver(server, most=1)
        questions = [self.ask(resolver, f"h{number}.test") for number in range(2000)]
        await server.asked(1)
        await resolver.stop()
        for question in questions:
            await self.fails(question, "the server is stopping")
        server.answer = lambda query: [right(query)]
        assert (await self.ask(self.resolver(server), "last.test")).records == (RIGHT,)
        assert len(server.queries) == 2

    async def test_stopping_ends_a_connection_too(self):
        heard = Deferred()
        server = self.server(truncated, lambda transport, query: heard.callback(None))
        resolver = self.resolver(server)
        question = self.ask(resolver)
        await heard
        await resolver.stop()
        await self.fails(question, "the server is stopping")
        await self.fails(self.ask(resolver, "later.test"), "the server is stopping")
