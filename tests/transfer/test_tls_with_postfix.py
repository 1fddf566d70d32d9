"""TLS demanded of a real Postfix, whose certificate is right for mx.b.test: by DANE, the configuration,
REQUIRETLS."""

import random

from certificates import Authority, authority
from cryptography import x509
from dictionary_resolver import DictionaryResolver
from real_peers import RealPeers, wait_for
from relay_town import RelayTestCase
from test_dane import record
from twisted.internet.threads import deferToThread

from twisted_mta.interfaces import Found
from twisted_mta.message.envelope import MailParameters
from twisted_mta.message.outcome import Action
from twisted_mta.transfer.mta.routing import Routing
from twisted_mta.transfer.mta.tls import policy as tls_policy
from twisted_mta.transfer.mta.tls.policy import TlsPolicy
from twisted_mta.transfer.mta.tls.rules import TlsRule

NAME = "mx.b.test"


class TestPostfix(RelayTestCase):
    @classmethod
    def setUpClass(cls):
        cls.peers = RealPeers()
        pem = (cls.peers.directory / "certificate.pem").read_bytes()
        cls.certificate = x509.load_pem_x509_certificates(pem)[0]

    @classmethod
    def tearDownClass(cls):
        cls.peers.stop()

    async def outcome(self, *, records=(), rule="may", root=None, **message):
        resolver = DictionaryResolver(
            {"b.test": Found(((10, NAME),), secure=True)},
            {NAME: Found(("127.0.0.1",), secure=True)},
            associations={f"_{self.peers.port}._tcp.{NAME}": Found(tuple(records), secure=True)},
        )
        routing = Routing(
            resolver=resolver, hostname="mx.a.test", randomness=random.Random(1), mx_port=self.peers.port
        )
        policy = TlsPolicy(
            trust_root=(root or authority()).certificate, resolver=resolver, default=TlsRule.parse(rule)
        )
        self.servers, self.port = [], self.peers.port
        await self.start(routing_itself=routing, tls=policy)
        (outcome,) = await self.send("erin@b.test", **message)
        return outcome

    async def test_dane(self):
        for usage in (record(3, 1, 1, self.certificate), record(3, 0, 2, self.certificate)):
            assert (await self.outcome(records=[usage])).action is Action.RELAYED
        anchor = record(2, 0, 0, authority().own)  # Postfix does not send it along
        assert (await self.outcome(records=[anchor])).action is Action.RELAYED
        for wrong in (record(3, 1, 1, authority().own), record(2, 0, 0, Authority().own)):
            outcome = await self.outcome(records=[wrong])
            assert (outcome.action, outcome.status) == (Action.DELAYED, "4.7.5"), outcome

    async def test_the_configuration(self):
        for rule in ("verify", "encrypt TLSv1.3"):
            assert (await self.outcome(rule=rule)).action is Action.RELAYED
        outcome = await self.outcome(rule="verify", root=Authority())
        assert outcome.action is Action.DELAYED and "not trusted" in outcome.text

    async def test_requiretls_is_more_than_postfix_offers(self):
        self.patch(tls_policy, "_is_near", lambda host: False)
        outcome = await self.outcome(parameters=MailParameters(require_tls=True))
        assert (outcome.action, outcome.status) == (Action.FAILED, "5.7.30"), outcome

    async def test_what_was_relayed_arrives_inside_tls(self):
        await self.outcome(records=[record(3, 1, 1, self.certificate)])
        await deferToThread(wait_for, lambda: bool(self.peers.mail("postfix", "erin")))
        assert b" with ESMTPS" in self.peers.mail("postfix", "erin")[-1]
