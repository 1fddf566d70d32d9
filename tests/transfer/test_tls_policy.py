"""Who decides how much TLS, what becomes of mail when it cannot be had, and what is remembered of it."""

import dataclasses
import random
import tempfile
from pathlib import Path

from certificates import EXPIRED, Authority, authority
from dictionary_resolver import FAILURE, DictionaryResolver
from policy_host import PolicyHost
from relay_town import RelayTestCase
from scripted_server import DROP, Script
from twisted.internet import reactor
from twisted.internet.task import Clock

from twisted_mta.https import HttpsClient
from twisted_mta.interfaces import Found
from twisted_mta.journey.bus import Journey
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import MailParameters
from twisted_mta.message.outcome import Action
from twisted_mta.transfer.mta.route import Credentials, Host, Route
from twisted_mta.transfer.mta.routing import Routing
from twisted_mta.transfer.mta.tls import policy as tls_policy
from twisted_mta.transfer.mta.tls.ledger import DAY, TlsLedger
from twisted_mta.transfer.mta.tls.mta_sts import StsPolicy
from twisted_mta.transfer.mta.tls.policy import TlsLevel, TlsPolicy
from twisted_mta.transfer.mta.tls.rules import TlsRule
from twisted_mta.transfer.mta.tls.sts_client import StsClient
from twisted_mta.transfer.mta.tls.tls_required import may_go_without

NAME = "mx.b.test"
GOOD = authority().issue(NAME)
TLS = {
    "right": Script(tls=GOOD.options),
    "another name": Script(tls=authority().server("elsewhere.test")),
    "expired": Script(tls=authority().issue(NAME, until=EXPIRED).options),
    "unknown authority": Script(tls=Authority().server(NAME)),
    "none": Script(),
    "refused": Script({"STARTTLS": "454 not now"}, tls=GOOD.options),
    "dropped": Script({"STARTTLS": DROP}, tls=GOOD.options),
}
CAUSES = {
    "another name": "certificate-host-mismatch",
    "expired": "certificate-expired",
    "unknown authority": "certificate-not-trusted",
    "none": "starttls-not-supported",
    "refused": "starttls-not-supported",
    "dropped": "starttls-not-supported",
}


class PolicyCase(RelayTestCase):
    """b.test has one mail server, mx.b.test at the loopback, and perhaps an MTA-STS policy on a real web
    server."""

    async def town(self, script, *, sts=None, rules=None, secure=False, records=None, texts=None, **policy):
        (self.server,) = await self.serve(dataclasses.replace(script))
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.ledger = TlsLedger(Path(directory.name) / "tls.sqlite", reactor=reactor, clock=self.clock)
        await self.ledger.start()
        self.addCleanup(self.ledger.stop)
        texts = {"_mta-sts.b.test": ["v=STSv1; id=1"]} if texts is None and sts is not None else texts
        self.resolver = DictionaryResolver(
            {"b.test": Found(((10, NAME),), secure=secure), "c.test": Found(((10, NAME),))},
            {NAME: Found(("127.0.0.1",), secure=secure), "mta-sts.b.test": ["127.0.0.1"]},
            texts or {},
            {f"_{self.port}._tcp.{NAME}": records} if records is not None else {},
        )
        client = None
        if sts is not None:
            web = PolicyHost("mta-sts.b.test", bytes(sts))
            self.addCleanup(web.close)
            https = HttpsClient(
                reactor=reactor, resolver=self.resolver, trust_root=authority().certificate, port=web.port
            )
            client = StsClient(resolver=self.resolver, https=https, ledger=self.ledger, reactor=self.clock)
        journey = Journey()
        self.tls_events = []
        journey.add_reader(self.tls_events.append)
        self.policy = TlsPolicy(
            trust_root=authority().certificate,
            resolver=self.resolver,
            sts=client,
            ledger=self.ledger,
            journey=journey,
            rules={name: TlsRule.parse(rule) for name, rule in (rules or {}).items()},
            **policy,
        )
        routing = Routing(
            resolver=self.resolver, hostname="mx.a.test", randomness=random.Random(1), mx_port=self.port
        )
        await self.start(routing_itself=routing, tls=self.policy)
        return self.server

    async def outcome(self, to="bob@b.test", **message):
        (outcome,) = await self.send(to, **message)
        return outcome

    async def relayed(self, *, tls, **message):
        outcome = await self.outcome(**message)
        assert outcome.action is Action.RELAYED, outcome
        assert self.server.messages[-1].tls == tls

    async def deferred(self, *words, **message):
        outcome = await self.outcome(**message)
        assert outcome.action is Action.DELAYED and outcome.status.startswith("4.7."), outcome
        assert not any(line.startswith("MAIL") for dialog in self.server.dialogs for line in dialog)
        for word in words:
            assert word in outcome.text, outcome

    async def findings(self):
        """(kind of policy, result, sessions) of what would be reported."""
        await self.ledger.written()
        today = int(self.clock.seconds() // DAY)
        found = await self.ledger.run(lambda database: database.findings(today, "b.test"))
        return sorted((finding.policy.kind, finding.result, count) for finding, count in found)

    def told_of_tls(self):
        return [(event.stage, event.facts["host"]) for event in self.tls_events]


def sts(mode, *mx):
    return StsPolicy(mode, 7 * DAY, mx or (NAME,))


class TestMtaSts(PolicyCase):
    """Acceptance 24, and the modes of RFC 8461 §5."""

    async def test_enforce(self):
        for situation, script in TLS.items():
            await self.town(script, sts=sts("enforce", "*.b.test"))
            if situation == "right":
                await self.relayed(tls=True)
                assert await self.findings() == [("sts", "", 1)]
            else:
                await self.deferred("the MTA-STS policy of b.test demands TLS")
                assert await self.findings() == [("sts", CAUSES[situation], 1)], situation

    async def test_testing(self):
        for situation, script in TLS.items():
            await self.town(script, sts=sts("testing"))
            await self.relayed(tls=situation not in ("none", "refused", "dropped"))
            assert await self.findings() == [("sts", CAUSES.get(situation, ""), 1)], situation

    async def test_none(self):
        await self.town(TLS["none"], sts=sts("none"))
        await self.relayed(tls=False)
        assert await self.findings() == [("no-policy-found", "starttls-not-supported", 1)]

    async def test_a_host_that_is_not_in_the_policy(self):
        await self.town(TLS["right"], sts=sts("enforce", "other.b.test", "*.mx.b.test"))
        await self.deferred("mx.b.test is not among the mail servers")
        assert self.server.dialogs == []
        await self.town(TLS["right"], sts=sts("testing", "other.b.test"))
        await self.relayed(tls=True)
        assert await self.findings() == [("sts", "validation-failure", 1)]

    async def test_a_policy_that_cannot_be_fetched_is_none_and_is_told(self):
        await self.town(TLS["none"], sts=sts("enforce"))
        self.resolver.hosts["mta-sts.b.test"] = []
        await self.relayed(tls=False)
        assert await self.findings() == [
            ("no-policy-found", "starttls-not-supported", 1),
            ("sts", "sts-policy-fetch-error", 1),
        ]

    async def test_other_domains_at_the_same_host_are_not_concerned(self):
        await self.town(TLS["unknown authority"], sts=sts("enforce"))
        await self.deferred()
        await self.relayed(tls=True, to="carol@c.test")


class TestPrecedence(PolicyCase):
    RECORDS = Found(((3, 1, 1, bytes(32)),), secure=True)  # of no certificate at all

    async def test_dane_wins_over_mta_sts(self):
        await self.town(TLS["right"], sts=sts("testing"), secure=True, records=self.RECORDS)
        await self.deferred("DANE for mx.b.test demands TLS", "TLSA")
        assert await self.findings() == [("tlsa", "validation-failure", 1)]

    async def test_the_configuration_wins_over_both(self):
        for rules in ({"b.test": "may"}, {"*.test": "may"}, {NAME: "may"}):
            await self.town(
                TLS["unknown authority"], sts=sts("enforce"), secure=True, records=self.RECORDS, rules=rules
            )
            await self.relayed(tls=True)
            assert await self.findings() == []

    async def test_levels(self):
        for rule, relayed_in in {
            "none": {"right": False, "none": False},
            "may": {"another name": True, "none": False, "dropped": False},
            "encrypt": {"another name": True, "expired": True, "none": None, "dropped": None},
            "verify": {"right": True, "another name": None, "expired": None, "none": None},
        }.items():
            for situation, tls in relayed_in.items():
                await self.town(TLS[situation], rules={"b.test": rule})
                if tls is None:
                    await self.deferred("the configuration for b.test demands TLS")
                else:
                    await self.relayed(tls=tls)

    async def test_verify_takes_the_name_of_the_domain_too(self):
        await self.town(Script(tls=authority().server("b.test")), rules={"b.test": "verify"})
        await self.relayed(tls=True)

    async def test_the_default(self):
        await self.town(TLS["none"], default=TlsRule.parse("encrypt"), rules={"c.test": "may"})
        await self.deferred("the configuration demands TLS")
        await self.relayed(tls=False, to="carol@c.test")

    async def test_the_least_version(self):
        old = authority().issue(NAME)
        options = old.options
        options.getContext().set_options(0x20000000)  # SSL_OP_NO_TLSv1_3
        await self.town(Script(tls=options), rules={"b.test": "encrypt TLSv1.3", "c.test": "encrypt"})
        await self.deferred("the configuration for b.test demands TLS")
        await self.relayed(tls=True, to="carol@c.test")


class TestKeptConnections(PolicyCase):
    async def test_never_reused_for_mail_that_demands_more(self):
        await self.town(TLS["unknown authority"], rules={"b.test": "verify"})
        await self.relayed(tls=True, to="carol@c.test")
        outcome = await self.outcome()
        assert outcome.action is Action.DELAYED
        assert len(self.server.messages) == 1

    async def test_reused_for_the_same_demand(self):
        await self.town(TLS["right"], rules={"b.test": "verify"})
        await self.relayed(tls=True)
        await self.relayed(tls=True)
        assert len(self.server.dialogs) == 1

    def test_keys(self):
        """No key of a weaker demand is that of a stronger one."""
        policy = TlsPolicy(rules={name: TlsRule.parse(rule) for name, rule in RULES.items()})
        keys = {}
        for name in RULES:
            host = Host(NAME, "192.0.2.1")
            coroutine = policy.demand(Route(name, (host,), domain=name), host)
            try:
                coroutine.send(None)
            except StopIteration as end:
                keys[name] = end.value.key
        assert len(set(keys.values())) == len(RULES)


RULES = {
    "1.test": "none",
    "2.test": "may",
    "3.test": "may TLSv1.3",
    "4.test": "encrypt",
    "5.test": "encrypt TLSv1.3",
    "6.test": "verify",
    "7.test": "verify TLSv1.3",
    "8.test": "verify",  # for another name
}


class TestRequireTls(PolicyCase):
    """RFC 8689 §4.2.1."""

    def setUp(self):
        self.patch(tls_policy, "_is_near", lambda host: False)

    async def required(self, **message):
        return await self.outcome(parameters=MailParameters(require_tls=True), **message)

    SUPPORTED = Script(tls=GOOD.options, extensions=("REQUIRETLS", "PIPELINING"))

    async def test_nobody_vouches_for_the_host(self):
        await self.town(self.SUPPORTED)
        outcome = await self.required()
        assert (outcome.action, outcome.status) == (Action.FAILED, "5.7.10")
        assert "neither DNSSEC nor MTA-STS" in outcome.text and self.server.dialogs == []

    async def test_dnssec_vouches(self):
        await self.town(self.SUPPORTED, secure=True)
        outcome = await self.required()
        assert outcome.action is Action.RELAYED and self.server.messages[0].tls

    async def test_mta_sts_vouches_in_any_mode_that_is_one(self):
        for mode in ("enforce", "testing"):
            await self.town(self.SUPPORTED, sts=sts(mode))
            assert (await self.required()).action is Action.RELAYED
        await self.town(self.SUPPORTED, sts=sts("none"))
        assert (await self.required()).action is Action.FAILED

    async def test_a_host_that_is_not_in_the_policy(self):
        await self.town(self.SUPPORTED, sts=sts("enforce", "other.test"))
        outcome = await self.required()
        assert (outcome.action, outcome.status) == (Action.FAILED, "5.7.10")

    async def test_dns_that_does_not_answer_is_no_reason_to_go_back(self):
        await self.town(self.SUPPORTED, secure=True, records=FAILURE)
        outcome = await self.required()
        assert (outcome.action, outcome.status) == (Action.DELAYED, "4.7.5")

    async def test_without_the_right_tls_it_goes_back(self):
        for situation in ("another name", "expired", "unknown authority", "none", "dropped"):
            await self.town(TLS[situation], secure=True)
            outcome = await self.required()
            assert (outcome.action, outcome.status) == (Action.FAILED, "5.7.10"), situation
            assert self.server.messages == []


class TestTlsOptional(PolicyCase):
    async def test_nobodys_policy_counts_but_the_administrators(self):
        await self.town(TLS["none"], sts=sts("enforce"), rules={"c.test": "encrypt"})
        for domain, level in (("b.test", TlsLevel.MAY), ("c.test", TlsLevel.REQUIRED)):
            host = Host(NAME, "127.0.0.1", self.port)
            route = Route(domain, (host,), domain=domain)
            assert (await self.policy.demand(route, host, tls_optional=True)).level is level
        assert (
            await self.policy.demand(Route("b.test", (host,), domain="b.test"), host)
        ).level is TlsLevel.VERIFIED

    async def test_a_note_about_broken_tls_arrives(self):
        """RFC 8689 §4.2.2."""
        for situation in ("unknown authority", "none"):
            await self.town(TLS[situation], sts=sts("enforce"))
            await self.deferred()
            await self.relayed(
                tls=situation != "none", content=b"TLS-Required: No\r\n\r\nYours is broken\r\n"
            )

    async def test_only_that_wish_counts(self):
        for header in (
            b"TLS-Required: Yes",
            b"TLS-Required: No\r\nTLS-Required: No",
            b"X-TLS-Required: No",
            b"Subject: x\r\n\r\nTLS-Required: No",
            b"Subject: x\r\n TLS-Required: No",
        ):
            assert not may_go_without(Content(b"", header + b"\r\n\r\nhello\r\n"))
        for header in (b"TLS-Required: No", b"tls-required:\r\n\tno ", b"Subject: x\r\nTLS-Required:No"):
            assert may_go_without(Content(b"Received: x\r\n", header + b"\r\n\r\nhello\r\n"))
        assert not may_go_without(Content(b"", b""))

    async def test_a_login_is_protected_all_the_same(self):
        self.patch(tls_policy, "_is_near", lambda host: False)
        await self.town(TLS["right"])
        host = Host("smart.test", "192.0.2.1")
        route = Route("smart.test:25", (host,), Credentials("x", "y"), may_be_us=False)
        assert (await self.policy.demand(route, host, tls_optional=True)).level is TlsLevel.VERIFIED


class TestMemory(PolicyCase):
    async def test_a_host_that_stops_to_speak_tls_is_told_once(self):
        await self.town(TLS["right"])
        await self.relayed(tls=True)
        assert self.told_of_tls() == []
        await self.hang_up()
        self.server.script.tls = None
        for _ in range(2):
            await self.relayed(tls=False)
            await self.hang_up()
            assert self.told_of_tls() == [("tls-lost", NAME)]
        self.server.script.tls = GOOD.options
        await self.relayed(tls=True)
        assert self.told_of_tls() == [("tls-lost", NAME), ("tls-found", NAME)]

    async def hang_up(self):
        """Nothing is kept for the next message."""
        for connection in list(self.server.open):
            connection.transport.loseConnection()
        await self.until(lambda: not self.server.open)
        await self.turn()

    async def test_it_is_remembered_over_a_restart(self):
        await self.town(TLS["right"])
        await self.relayed(tls=True)
        await self.ledger.written()
        (known,) = await self.ledger.run(lambda database: database.hosts(10))
        assert (known.name, known.lost) == (NAME, None)
        self.ledger._hosts.clear()
        self.ledger._hosts[known.name] = known
        self.clock.advance(DAY)
        assert self.ledger.silent(NAME) == known
        assert self.ledger.silent(NAME) is None
        await self.ledger.written()
        (lost,) = await self.ledger.run(lambda database: database.hosts(10))
        assert lost.lost == self.clock.seconds()
        assert self.ledger.spoke(NAME) == lost
        assert self.ledger.spoke(NAME) is None
