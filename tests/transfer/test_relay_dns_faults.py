"""The relay when the DNS misbehaves: a real name server with hostile zones, and one that says nothing
(acceptance 12; the mail servers are real sockets, too)."""

import random
import socket
import tempfile
from pathlib import Path

from nameserver import Nameserver
from relay_town import RelayTestCase
from scripted_server import Script
from twisted.internet import reactor

from twisted_mta.message.outcome import Action
from twisted_mta.resolver import DnsResolver
from twisted_mta.transfer.mta.routing import Routing

RELAYED, DELAYED, FAILED = Action.RELAYED, Action.DELAYED, Action.FAILED

ZONE = """\
$ORIGIN example.test.
$TTL 3600
@        SOA   ns hostmaster 1 3600 600 86400 60
@        NS    ns
ns       A     127.0.0.1
good     MX    10 mx
mx       A     127.0.0.1
down     A     127.0.0.9
alias    CNAME good
mxalias  CNAME mx
behind   MX    10 mxalias
null     MX    0 .
loop1    CNAME loop2
loop2    CNAME loop1
toloop   MX    10 loop1
tonowhere MX   10 nowhere
both     MX    10 broken.broken.test.
both     MX    20 mx
only     MX    10 broken.broken.test.
deaf     MX    10 down
"""
ZONE += "".join(f"crowd MX {n // 5} h{n}\nh{n} A 127.0.1.{n + 1}\n" for n in range(5))
ZONE += "".join(f"crowd MX {n} mx\n" for n in range(5, 200))
ZONE += "".join(f"ghosts MX 10 g{n}\ng{n} A 127.0.2.{n + 1}\n" for n in range(200))


class TestNames(RelayTestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        zones = {"example.test": ZONE, "broken.test": "this is not a zone file\n"}
        cls.nameserver = Nameserver(zones, Path(cls.directory.name))

    @classmethod
    def tearDownClass(cls):
        cls.nameserver.stop()
        cls.directory.cleanup()

    async def outcome(self, domain, nameserver=None, **limits):
        (self.server,) = await self.serve(Script())
        resolver = DnsResolver([nameserver or f"127.0.0.1:{self.nameserver.port}"], reactor=reactor, **limits)
        await resolver.start()
        self.addCleanup(resolver.stop)
        routing = Routing(
            resolver=resolver, hostname="mx.a.test", randomness=random.Random(1), mx_port=self.port
        )
        await self.start(routing_itself=routing)
        (outcome,) = await self.send(f"bob@{domain}")
        return outcome

    async def test_a_way_is_found(self):
        for domain in ("good", "alias", "behind"):
            outcome = await self.outcome(f"{domain}.example.test")
            assert (outcome.action, len(self.server.messages)) == (RELAYED, 1), domain

    async def test_what_does_not_exist_fails_at_once(self):
        for domain, status in (
            ("nowhere.example.test", "5.1.2"),
            ("null.example.test", "5.1.10"),
            ("tonowhere.example.test", "5.4.4"),
        ):
            outcome = await self.outcome(domain)
            assert (outcome.action, outcome.status) == (FAILED, status), domain

    async def test_what_cannot_be_known_waits(self):
        for domain in ("x.broken.test", "only.example.test", "loop1.example.test", "toloop.example.test"):
            outcome = await self.outcome(domain)
            assert (outcome.action, outcome.status) == (DELAYED, "4.4.3"), domain
            assert outcome.text.startswith("Name service error: "), outcome.text

    async def test_one_that_can_be_found_is_enough(self):
        outcome = await self.outcome("both.example.test")
        assert outcome.action is RELAYED

    async def test_a_name_server_that_says_nothing(self):
        with socket.socket(type=socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            server = f"127.0.0.1:{silent.getsockname()[1]}"
            outcome = await self.outcome("good.example.test", server, timeout=0.1, lifetime=0.2)
        assert (outcome.action, outcome.status) == (DELAYED, "4.4.3")

    async def test_two_hundred_mail_servers_of_which_the_first_are_down(self):
        outcome = await self.outcome("crowd.example.test")
        assert (outcome.action, outcome.remote_mta) == (RELAYED, "mx.example.test")
        assert len(self.told("host-failed")) == 5

    async def test_two_hundred_mail_servers_that_are_all_down(self):
        outcome = await self.outcome("ghosts.example.test")
        assert (outcome.action, outcome.status) == (DELAYED, "4.4.1")
        assert len(self.told("host-failed")) == 20
