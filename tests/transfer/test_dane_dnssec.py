"""DANE with everything real but the network: a signed zone at NSD, validated by Unbound, and hosts with a
certificate that the zone names, or another one."""

import random
import tempfile
from pathlib import Path

from certificates import authority
from nameserver import Nameserver
from relay_town import RelayTestCase
from scripted_server import Script
from test_dane import record
from twisted.internet import reactor
from validator import Validator, sign

from twisted_mta.message.outcome import Action
from twisted_mta.resolver import DnsResolver
from twisted_mta.transfer.mta.routing import Routing
from twisted_mta.transfer.mta.tls.policy import TlsPolicy

SERVER = authority().issue("mx.signed.test", authority().own)
OTHER = authority().issue("mx.signed.test")

ZONE = """\
$ORIGIN {zone}.
$TTL 3600
@        SOA   ns hostmaster 1 3600 600 86400 60
@        NS    ns
ns       A     127.0.0.1
@        MX    10 mx
mx       A     127.0.0.1
wrong    MX    10 wrongmx
wrongmx  A     127.0.0.1
unusable MX    10 unusablemx
unusablemx A   127.0.0.1
bare     MX    10 baremx
baremx   A     127.0.0.1
alias    MX    10 aliasmx
aliasmx  CNAME mx
forged   MX    10 forgedmx
forgedmx A     127.0.0.1
elsewhere MX   10 mx.plain.test.
"""


class TestSignedZone(RelayTestCase):
    """The names of the hosts tell what is under them in the zone signed.test."""

    async def outcome(self, domain, script=None):
        (self.server,) = await self.serve(script or Script(tls=SERVER.options))
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name)
        tlsa = {
            "mx": record(3, 1, 1, SERVER.chain[0]),
            "wrongmx": record(3, 1, 1, OTHER.chain[0]),
            "unusablemx": record(1, 1, 1, SERVER.chain[0]),
            "forgedmx": record(3, 1, 1, SERVER.chain[0]),
        }
        zone = ZONE.format(zone="signed.test") + "".join(
            f"_{self.port}._tcp.{name} TLSA {usage} {selector} {matching} {data.hex()}\n"
            for name, (usage, selector, matching, data) in tlsa.items()
        )
        signed, anchor = sign("signed.test", zone, path)
        forged = record(3, 1, 1, OTHER.chain[0])[3].hex()
        lines = signed.split("\n")
        for number, line in enumerate(lines):
            if line.startswith(f"_{self.port}._tcp.forgedmx") and "\tTLSA\t" in line:
                lines[number] = f"_{self.port}._tcp.forgedmx.signed.test. 3600 IN TLSA 3 1 1 {forged}"
        plain = ZONE.format(zone="plain.test") + f"_{self.port}._tcp.mx TLSA 3 1 1 {forged}\n"
        nameserver = Nameserver({"signed.test": "\n".join(lines), "plain.test": plain}, path)
        self.addCleanup(nameserver.stop)
        validator = Validator([anchor], {"signed.test": nameserver.port, "plain.test": nameserver.port}, path)
        self.addCleanup(validator.stop)
        resolver = DnsResolver([f"127.0.0.1:{validator.port}"], reactor=reactor)
        await resolver.start()
        self.addCleanup(resolver.stop)
        self.resolver = resolver
        routing = Routing(
            resolver=resolver, hostname="mx.a.test", randomness=random.Random(1), mx_port=self.port
        )
        tls = TlsPolicy(trust_root=authority().certificate, resolver=resolver)
        await self.start(routing_itself=routing, tls=tls)
        (outcome,) = await self.send(f"bob@{domain}")
        return outcome

    def in_the_clear(self):
        return any(line.startswith("MAIL") for dialog in self.server.dialogs for line in dialog)

    async def test_the_right_certificate(self):
        outcome = await self.outcome("signed.test")
        assert outcome.action is Action.RELAYED and self.server.messages[0].tls
        assert (await self.resolver.mx("signed.test")).secure
        assert not (await self.resolver.mx("plain.test")).secure
        assert (await self.resolver.tlsa("_1._tcp.mx.signed.test")) is None

    async def test_the_right_certificate_behind_an_alias(self):
        outcome = await self.outcome("alias.signed.test")
        assert outcome.action is Action.RELAYED and self.server.messages[0].tls

    async def test_the_wrong_certificate(self):
        outcome = await self.outcome("wrong.signed.test")
        assert outcome.action is Action.DELAYED and outcome.status == "4.7.5"
        assert "DANE for wrongmx.signed.test" in outcome.text and not self.in_the_clear()

    async def test_starttls_stripped(self):
        outcome = await self.outcome("signed.test", Script())
        assert outcome.action is Action.DELAYED and not self.in_the_clear()

    async def test_unusable_records(self):
        outcome = await self.outcome("unusable.signed.test")
        assert outcome.action is Action.RELAYED and self.server.messages[0].tls
        outcome = await self.outcome("unusable.signed.test", Script())
        assert outcome.action is Action.DELAYED and not self.in_the_clear()

    async def test_forged_records(self):
        outcome = await self.outcome("forged.signed.test")
        assert outcome.action is Action.DELAYED and outcome.status == "4.7.5"
        assert "SERVFAIL" in outcome.text and self.server.dialogs == []

    async def test_what_is_not_signed_binds_nobody(self):
        for domain in ("plain.test", "elsewhere.signed.test", "bare.signed.test"):
            outcome = await self.outcome(domain, Script())
            assert outcome.action is Action.RELAYED, domain
