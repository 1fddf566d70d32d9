"""Which hosts the relay takes: shared among equals, kept connections first, those that failed last; the
limits that servers set (RFC 9422); the smarthost as a fallback."""

import random

from dictionary_resolver import DictionaryResolver
from relay_town import RelayTestCase
from scripted_server import DROP, EXTENSIONS, Script
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock

from twisted_mta.message.envelope import MailParameters
from twisted_mta.message.outcome import Action
from twisted_mta.protocol.smtp.client_events import Stage
from twisted_mta.transfer.mta.relay.hosts import HostMemory
from twisted_mta.transfer.mta.relay.verdict import Verdict, turned_away
from twisted_mta.transfer.mta.routing import Host, Routing

RELAYED, DELAYED, FAILED = Action.RELAYED, Action.DELAYED, Action.FAILED


class TestOrder:
    def setup_method(self):
        self.clock = Clock()
        self.clock.advance(1e9)
        self.memory = HostMemory(60.0, seconds=self.clock.seconds, randomness=random.Random(1))
        self.first = Host("a", "192.0.2.1", preference=10)
        self.equals = [
            Host("b", "192.0.2.2", preference=20),
            Host("b", "2001:db8::2", preference=20),
            Host("c", "192.0.2.3", preference=20),
        ]
        self.all = [self.first, *self.equals]

    def order(self, kept=()):
        return self.memory.in_order(self.all, lambda host: host in kept)

    def test_by_preference_and_by_chance_among_equals(self):
        orders = [self.order() for _ in range(200)]
        assert {order[0] for order in orders} == {self.first}
        seconds = [order[1] for order in orders]
        assert all(40 < seconds.count(host) < 100 for host in self.equals)  # 67 each, in 200

    def test_what_is_kept_first_among_equals_only(self):
        kept = self.equals[1]
        assert self.order([kept])[:2] == [self.first, kept]

    def test_what_failed_lately_goes_last(self):
        self.memory.failed(self.first)
        assert self.order()[-1] is self.first
        self.memory.failed(self.equals[0])
        assert self.order()[-2:] == [self.first, self.equals[0]]
        self.clock.advance(60)
        assert self.order()[0] is self.first
        self.memory.failed(self.first)
        self.memory.answered(self.first)
        assert self.order()[0] is self.first

    def test_a_clock_that_is_set_back_prolongs_nothing(self):
        self.memory.failed(self.first)
        self.clock.rightNow -= 3600
        assert self.order()[0] is self.first


class TestHosts(RelayTestCase):
    async def equals(self, *scripts, **settings):
        """The servers of b.test, all of the same preference."""
        await self.serve(*scripts)
        names = [f"mx{n}.b.test" for n in range(len(scripts))]
        resolver = DictionaryResolver(
            {"b.test": [(10, name) for name in names]},
            {name: [f"127.0.0.{n + 1}"] for n, name in enumerate(names)},
        )
        routing = Routing(
            resolver=resolver, hostname="mx.a.test", randomness=random.Random(1), mx_port=self.port
        )
        await self.start(routing_itself=routing, **settings)
        return self.servers

    async def test_the_load_is_shared(self):
        servers = await self.equals(Script(), Script(), Script())
        await gatherResults([Deferred.fromCoroutine(self.send()) for _ in range(30)])
        assert sum(len(server.dialogs) for server in servers) <= 30
        assert min(len(server.dialogs) for server in servers) >= 1  # by chance, so not evenly

    async def test_a_kept_connection_before_a_new_one(self):
        servers = await self.equals(Script(), Script(), Script())
        for _ in range(10):
            await self.send()
        assert sorted(len(server.dialogs) for server in servers) == [0, 0, 1]

    async def test_a_host_that_is_down_costs_one_attempt(self):
        await self.serve(Script({"BANNER": DROP}), Script())
        await self.start(limits={"messages": 1})
        for _ in range(5):
            (outcome,) = await self.send()
            assert (outcome.action, outcome.remote_mta) == (RELAYED, "mx1.b.test")
        assert len(self.servers[0].dialogs) == 1

    async def test_connections_are_shared_by_names_of_one_address(self):
        (server,) = await self.serve(Script())
        await self.start(routing={"routes": {"x.test": f"127.0.0.1:{server.port}"}})
        await self.send("bob@x.test")
        await self.send("bob@b.test")
        assert len(server.dialogs) == 1 and len(server.messages) == 2


class TestLimitsOfTheServer(RelayTestCase):
    async def test_recipients_in_a_transaction(self):
        (server,) = await self.serve(Script(extensions=(*EXTENSIONS, "LIMITS RCPTMAX=2 RCPTDOMAINMAX=1")))
        await self.start()
        outcomes = await self.send(*(f"r{n}@b.test" for n in range(5)))
        assert {outcome.action for outcome in outcomes} == {RELAYED}
        assert [len(message.recipients) for message in server.messages] == [2, 2, 1]
        assert len(server.dialogs) == 1

    async def test_transactions_in_a_session(self):
        (server,) = await self.serve(Script(extensions=(*EXTENSIONS, "LIMITS MAILMAX=2 RCPTMAX=1")))
        await self.start()
        outcomes = await self.send(*(f"r{n}@b.test" for n in range(5)))
        assert {outcome.action for outcome in outcomes} == {RELAYED}
        assert [dialog.count("DATA") for dialog in server.dialogs] == [2, 2, 1]


class TestWhatAServerCannotDo(RelayTestCase):
    async def test_the_next_one_is_asked(self):
        first, second = await self.serve(Script(extensions=("SIZE 10",)), Script(extensions=("SIZE 100000",)))
        await self.start()
        (outcome,) = await self.send()
        assert (outcome.action, outcome.remote_mta) == (RELAYED, "mx1.b.test")
        assert first.dialogs == [["EHLO mx.a.test"]] and len(second.messages) == 1

    async def test_when_none_can_the_mail_goes_back(self):
        await self.serve(Script(), Script())
        await self.start()
        utf8 = "Subject: Grüße\r\n\r\nx\r\n".encode()
        (outcome,) = await self.send(content=utf8, parameters=MailParameters("8BITMIME", smtputf8=True))
        assert (outcome.action, outcome.status) == (FAILED, "5.6.7")
        plain = b"Subject: x\r\n\r\n" + "Grüße\r\n".encode()
        (outcome,) = await self.send(content=plain, parameters=MailParameters("8BITMIME", smtputf8=True))
        assert outcome.action is RELAYED

    async def test_who_reports_from_here_on(self):
        await self.serve(Script(extensions=(*EXTENSIONS, "DSN")))
        await self.start()
        (outcome,) = await self.send()
        assert outcome.passed_on


class TestFallback(RelayTestCase):
    """`servers`: the host of b.test, and the smarthost."""

    async def outcomes(self, direct, *recipients, smarthost=None):
        await self.serve(direct, smarthost or Script(name="smart.test"))
        resolver = DictionaryResolver({"b.test": [(10, "mx0.b.test")]}, {"mx0.b.test": ["127.0.0.1"]})
        routing = Routing(
            resolver=resolver,
            hostname="mx.a.test",
            randomness=random.Random(1),
            mx_port=self.port,
            smarthost=f"127.0.0.2:{self.port}",
            fallback=True,
        )
        await self.start(routing_itself=routing)
        return await self.send(*recipients)

    async def test_not_used_while_the_host_takes_mail_or_says_what_is_wrong_with_it(self):
        for reactions in ({}, {"RCPT": "550 5.1.1 nobody"}, {"RCPT": "451 4.7.1 greylisted"}):
            await self.outcomes(Script(reactions))
            assert self.servers[1].dialogs == [], reactions
            await self.relay.stop()

    async def test_used_when_the_host_would_not_have_us(self):
        for reactions in (
            {"BANNER": DROP},
            {"BANNER": "554 5.7.1 your address has a bad reputation"},
            {"MAIL": "550 5.7.25 no PTR"},
            {"RCPT": "550 5.7.1 Client host blocked using Spamhaus PBL"},
            {"RCPT": "450 4.7.1 Client host rejected: cannot find your reverse hostname"},
            {"FINAL": "550 5.7.1 [192.0.2.1] The IP you're using is not allowed: dynamic IP"},
        ):
            (outcome,) = await self.outcomes(Script(reactions))
            assert (outcome.action, outcome.remote_mta) == (RELAYED, "127.0.0.2"), reactions
            assert len(self.told("fallback")) == 1
            await self.relay.stop()

    async def test_only_for_whom_it_helps(self):
        script = Script({"RCPT": ["250 ok", "550 5.1.1 nobody", "550 5.7.25 no PTR"]})
        outcomes = await self.outcomes(script, "r1@b.test", "r2@b.test", "r3@b.test")
        assert [(o.action, o.remote_mta) for o in outcomes] == [
            (RELAYED, "mx0.b.test"),
            (FAILED, "mx0.b.test"),
            (RELAYED, "127.0.0.2"),
        ]
        assert [message.recipients for message in self.servers[1].messages] == [["<r3@b.test>"]]

    async def test_when_it_is_down_too_the_refusal_waits_with_it(self):
        script = Script({"RCPT": "550 5.7.25 no PTR"})
        (outcome,) = await self.outcomes(script, smarthost=Script({"BANNER": DROP}))
        assert outcome.action is DELAYED


class TestBlockedPort(RelayTestCase):
    async def test_the_log_and_the_sender_hear_of_it(self):
        await self.serve(Script())
        names = [f"d{n}.test" for n in range(4)]
        resolver = DictionaryResolver(
            {"b.test": [(10, "mx.b.test")], **{name: [(10, f"mx.{name}")] for name in names}},
            {"mx.b.test": ["127.0.0.1"], **{f"mx.{name}": ["127.0.0.9"] for name in names}},
        )
        routing = Routing(
            resolver=resolver, hostname="mx.a.test", randomness=random.Random(1), mx_port=self.port
        )
        await self.start(routing_itself=routing)
        texts = [(await self.send(f"x@{name}"))[0].text for name in names[:3]]
        assert texts[:2] == ["Connection refused"] * 2
        assert texts[2].startswith("Connection refused; port 25 seems to be blocked: ")
        await self.send("x@b.test")
        assert (await self.send(f"x@{names[3]}"))[0].text == "Connection refused"


def test_what_is_said_of_us_and_what_of_the_mail():
    assert not turned_away(Verdict(Stage.FINAL, 550, "5.7.1", "550 5.7.1 message looks like spam"))
    assert not turned_away(Verdict(Stage.FINAL, 0, "4.4.2", "Connection lost"))
    assert not turned_away(Verdict(Stage.BANNER, 421, "4.3.2", "421 busy"))
    assert turned_away(Verdict(Stage.CONNECT, 0, "4.4.1", "Connection timed out"))
