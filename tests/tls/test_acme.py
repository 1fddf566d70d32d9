"""Certificates from a real authority (pebble): each challenge, renewal, and every way to be refused."""

import errno
import os
import random
import shutil
import socket
import ssl
import stat
import tempfile
from pathlib import Path
from unittest.mock import patch

import dns.resolver
import pytest
from certificates import authority
from cryptography import x509
from cryptography.x509.oid import NameOID
from dictionary_resolver import DictionaryResolver
from knot import KEY, Knot
from OpenSSL import crypto
from pebble import NAME, Pebble
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import eventAsText, globalLogPublisher
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.protocols.wire import Echo
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from twisted_mta import durable
from twisted_mta.certificates.acme.kept import KeptCertificates
from twisted_mta.certificates.acme.renewal import FIRST_WAIT, LOOK, Renewal, Wish
from twisted_mta.certificates.acme.solvers import DnsSolver, HttpSolver, TlsAlpnSolver
from twisted_mta.certificates.challenges import Challenges
from twisted_mta.certificates.dns_update import DnsUpdates, TsigKey
from twisted_mta.certificates.pair import CertificatePair
from twisted_mta.certificates.shown import ShownCertificates
from twisted_mta.certificates.tls_alpn import ChallengeAware
from twisted_mta.https import HttpsClient
from twisted_mta.web.acme_challenge import AcmeChallenge

ZONE = """\
$ORIGIN a.test.
$TTL 60
@        SOA   ns hostmaster 1 3600 600 86400 60
@        NS    ns
ns       A     127.0.0.1
mx       A     127.0.0.1
*.inside A     127.0.0.1
away     A     127.0.0.2
other    CAA   0 issue "elsewhere.test"
other    A     127.0.0.1
"""


class Steps(Clock):
    """The reactor, for everything but time that is waited for; `now` is the wall's at first."""

    def __init__(self) -> None:
        super().__init__()
        self.advance(reactor.seconds())

    def __getattr__(self, name):
        return getattr(reactor, name)


@pytest.fixture(scope="module", autouse=True)
def town():
    """One name server and one authority for all."""
    house = Path(tempfile.mkdtemp())
    servers = []
    try:
        servers.append(Knot({"a.test": ZONE}, house))
        servers.append(Pebble(house, dns=f"127.0.0.1:{servers[0].port}"))
        AcmeCase.house, (AcmeCase.knot, AcmeCase.pebble) = house, servers
        yield
    finally:
        for each in servers:
            each.stop()
        shutil.rmtree(house)


class AcmeCase(TestCase):
    timeout = 60

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name)
        self.kept = KeptCertificates(self.path / "acme")
        self.challenges = Challenges()
        self.shown = 0
        self.told = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event):
        if event.get("log_namespace", "").startswith("twisted_mta.certificates"):
            self.told.append(eventAsText(event, includeTimestamp=False, includeSystem=False))

    def listen(self, port, factory):
        factory.noisy = False
        listening = reactor.listenTCP(port, factory, interface="127.0.0.1")
        self.addCleanup(lambda: maybeDeferred(listening.stopListening))

    def show(self, name, pair):
        self.assertIn(name, pair.names)
        self.shown += 1

    def http(self):
        root = Resource()
        well_known = Resource()
        root.putChild(b".well-known", well_known)
        well_known.putChild(b"acme-challenge", AcmeChallenge(self.challenges))
        site = Site(root)
        self.listen(self.pebble.http_port, site)
        return HttpSolver(self.challenges)

    def renewal(self, *names, solver, clock=None, resolver=None, **wish):
        settings = {"directory": self.pebble.directory, "contact": "me@a.test", **wish}
        resolver = resolver or DictionaryResolver(hosts={NAME: ["127.0.0.1"]})
        renewal = Renewal(
            Wish(names=names, **settings),
            kept=self.kept,
            https=HttpsClient(reactor=reactor, resolver=resolver, trust_root=authority().certificate),
            solver=solver,
            show=self.show,
            reactor=clock or reactor,
            randomness=random.Random(1),
        )
        self.addCleanup(renewal.stop)
        return renewal

    async def look(self, renewal):
        """Until it sleeps."""
        slept = Deferred()
        with patch.object(renewal, "_sleep", slept.callback):
            renewal.start()
            return await slept

    async def get(self, name, solver, **wish):
        await self.look(self.renewal(name, solver=solver, **wish))
        pair = self.kept.pair(name)
        self.assertIsNotNone(pair, self.told)
        self.assertEqual(pair.names, (name,))
        pair.chain[-1].verify_directly_issued_by(self.pebble.root())
        return pair

    def sentence(self, name):
        return self.kept.progress(name).sentence


class TestChallenges(AcmeCase):
    async def test_http(self):
        pair = await self.get("mx.a.test", self.http())
        self.assertEqual(self.shown, 1)
        self.assertIn("Pebble Intermediate", pair.issuer)
        self.assertIn("tls.acme: a new certificate for mx.a.test, by Pebble", self.told[0])
        self.assertEqual(len(self.told), 1)
        progress = self.kept.progress("mx.a.test")
        lifetime = (pair.expires - pair.certificate.not_valid_before_utc).total_seconds()
        self.assertGreaterEqual(progress.next, pair.renewal.timestamp())
        self.assertLess(progress.next, pair.renewal.timestamp() + lifetime / 10)
        self.assertEqual(self.challenges._answers, {})

    async def test_nobody_else_reads_a_key_and_nothing_is_left_over(self):
        await self.get("mx.a.test", self.http())
        found = {path.name: path.stat().st_mode & 0o077 for path in (self.path / "acme").iterdir()}
        self.assertEqual(set(found.values()), {0})
        self.assertEqual(
            {name.partition("-")[0] for name in found}, {"account", "mx.a.test.json", "mx.a.test.pem"}
        )

    async def test_tls_alpn_while_everybody_else_sees_what_they_always_see(self):
        server = authority().issue("mx.a.test")
        key = crypto.PKey.from_cryptography_key(server.key)
        always = CertificatePair(self.path, tuple(server.chain), key)
        front = ChallengeAware(
            TLSMemoryBIOFactory(ShownCertificates([always]).context, False, Factory.forProtocol(Echo)),
            challenges=self.challenges,
            reactor=reactor,
        )
        self.listen(self.pebble.tls_port, front)
        solver = TlsAlpnSolver(self.challenges)
        solve, seen = solver.solve, []

        async def solve_while_others_come(challenge):
            await solve(challenge)
            for name, protocol in (
                ("mx.a.test", None),
                ("mx.a.test", "http/1.1"),
                ("mx.a.test", "acme-tls/1"),
                ("away.a.test", "acme-tls/1"),
            ):
                seen.append(await deferToThread(issuer_shown, self.pebble.tls_port, name, protocol))

        with patch.object(solver, "solve", solve_while_others_come):
            pair = await self.get("mx.a.test", solver, key="rsa")
        self.assertEqual(pair.certificate.public_key().key_size, 2048)
        self.assertEqual(seen, ["Test Authority", "Test Authority", "ACME challenge", "Test Authority"])
        self.assertEqual(self.challenges.contexts, {})

    def dns(self, key=KEY, zone="a.test"):
        updates = DnsUpdates("127.0.0.1", self.knot.port, zone=zone, key=TsigKey.parse(key), reactor=reactor)
        return DnsSolver({zone: updates}, settle=0, reactor=reactor)

    async def test_dns_for_a_name_that_nothing_answers_for_and_for_all_below(self):
        await self.get("away.a.test", self.dns())
        await self.get("*.inside.a.test", self.dns())
        asked = dns.resolver.Resolver(configure=False)
        asked.nameservers, asked.port = ["127.0.0.1"], self.knot.port
        with self.assertRaises((dns.resolver.NXDOMAIN, dns.resolver.NoAnswer)):
            asked.resolve("_acme-challenge.away.a.test", "TXT")

    async def test_a_key_that_the_name_server_does_not_know(self):
        stranger = "hmac-sha256:stranger:" + KEY.rpartition(":")[2]
        await self.look(self.renewal("mx.a.test", solver=self.dns(stranger)))
        self.assertIn("does not take our key stranger", self.sentence("mx.a.test"))
        wrong = "hmac-sha256:updates:AAAA"
        await self.look(self.renewal("away.a.test", solver=self.dns(wrong)))
        self.assertIn("does not take our key updates", self.sentence("away.a.test"))

    async def test_a_zone_that_it_does_not_have(self):
        await self.look(self.renewal("mx.b.test", solver=self.dns(zone="b.test")))
        self.assertIn("see that it has this zone", self.sentence("mx.b.test"))


class TestRenewal(AcmeCase):
    async def test_the_key_stays_unless_another_is_wanted_and_so_does_the_account(self):
        solver = self.http()
        first = await self.get("mx.a.test", solver)
        account = self.kept.account(self.pebble.directory).url
        self.make_due("mx.a.test")
        second = await self.get("mx.a.test", solver)
        self.assertNotEqual(first.certificate, second.certificate)
        self.assertEqual(first.certificate.public_key(), second.certificate.public_key())
        self.make_due("mx.a.test")
        third = await self.get("mx.a.test", solver, keep_key=False)
        self.assertNotEqual(second.certificate.public_key(), third.certificate.public_key())
        self.assertEqual(self.kept.account(self.pebble.directory).url, account)
        self.assertEqual(self.shown, 3)

    def make_due(self, name):
        self.kept.put_progress(
            name, self.kept.progress(name).__class__(next=1.0, directory=self.pebble.directory)
        )

    async def test_nothing_is_asked_for_before_it_is_time(self):
        first = await self.get("mx.a.test", self.http())
        seconds = await self.look(self.renewal("mx.a.test", solver=None))
        self.assertGreater(seconds, LOOK)
        self.assertEqual(self.kept.pair("mx.a.test").certificate, first.certificate)

    async def test_another_authority_makes_its_own_at_once(self):
        solver = self.http()
        first = await self.get("mx.a.test", solver)
        progress = self.kept.progress("mx.a.test")
        self.kept.put_progress(
            "mx.a.test", progress.__class__(next=progress.next, directory="https://before")
        )
        second = await self.get("mx.a.test", solver)
        self.assertNotEqual(first.certificate, second.certificate)

    async def test_another_contact_is_told_to_the_authority(self):
        solver = self.http()
        await self.get("mx.a.test", solver)
        before = self.kept.account(self.pebble.directory)
        self.make_due("mx.a.test")
        await self.get("mx.a.test", solver, contact="you@a.test")
        after = self.kept.account(self.pebble.directory)
        self.assertEqual((after.url, after.contact), (before.url, "you@a.test"))
        self.make_due("mx.a.test")
        await self.look(self.renewal("mx.a.test", solver=solver, contact="nobody"))
        self.assertIn("correct tls.acme.email", self.sentence("mx.a.test"))

    async def test_an_account_that_the_authority_has_forgotten(self):
        account = self.kept.account(self.pebble.directory)
        account.url, account.contact = self.pebble.directory.replace("/dir", "/my-account/99999"), "me@a.test"
        self.kept.put_account(self.pebble.directory, account)
        await self.get("mx.a.test", self.http())
        self.assertNotEqual(self.kept.account(self.pebble.directory).url, account.url)


class TestRefusals(AcmeCase):
    async def test_the_sentence_is_told_once_and_the_wait_grows(self):
        clock = Steps()
        renewal = self.renewal("mx.a.test", solver=HttpSolver(self.challenges), clock=clock)
        with patch("twisted_mta.certificates.acme.client.deferLater", lambda _, s, f: wait(reactor, s, f)):
            waits = []
            for _ in range(3):
                before = clock.seconds()
                waits.append(await self.look(renewal))
                self.assertEqual(clock.seconds(), before)
                clock.advance(waits[-1] + 1)
        self.assertTrue(0.8 * FIRST_WAIT <= waits[0] <= 1.2 * FIRST_WAIT, waits)
        self.assertTrue(1.6 * FIRST_WAIT <= waits[1] <= 2.4 * FIRST_WAIT, waits)
        self.assertEqual(len(self.told), 1)
        self.assertIn(
            "no new certificate for mx.a.test: the DNS must lead from mx.a.test to this server, "
            "and port 80 must be open",
            self.told[0],
        )
        self.assertEqual(self.kept.progress("mx.a.test").failures, 3)
        self.assertIsNone(self.kept.pair("mx.a.test"))

    async def test_somebody_else_answers_at_port_80(self):
        self.listen(self.pebble.http_port, Site(Resource()))
        await self.look(self.renewal("mx.a.test", solver=HttpSolver(self.challenges)))
        self.assertIn("another web server answers for mx.a.test at port 80", self.sentence("mx.a.test"))

    async def test_a_name_that_the_authority_gives_nothing_for(self):
        await self.look(self.renewal("mx.blocked.test", "mx.a.test", solver=self.http()))
        self.assertIn("take the name out of tls.acme.domains", self.sentence("mx.blocked.test"))
        self.assertIsNotNone(self.kept.pair("mx.a.test"))  # which it holds up for nothing

    async def test_a_name_that_the_dns_does_not_know(self):
        await self.look(self.renewal("nowhere.a.test", solver=self.http()))
        self.assertIn("the DNS must lead from nowhere.a.test", self.sentence("nowhere.a.test"))

    async def test_an_authority_that_is_not_there(self):
        resolver = DictionaryResolver()
        await self.look(self.renewal("mx.a.test", solver=self.http(), resolver=resolver))
        self.assertIn("the authority cannot be reached", self.sentence("mx.a.test"))
        dead = self.renewal("away.a.test", solver=None, directory=f"https://{NAME}:1/dir")
        await self.look(dead)
        self.assertIn("the authority cannot be reached", self.sentence("away.a.test"))

    async def test_an_address_that_is_no_directory(self):
        wrong = self.pebble.directory.replace("/dir", "/nothing")
        await self.look(self.renewal("mx.a.test", solver=None, directory=wrong))
        self.assertIn("correct tls.acme.directory", self.sentence("mx.a.test"))

    async def test_a_full_disk_wastes_no_order_and_keeps_what_there_is(self):
        solver = self.http()
        first = await self.get("mx.a.test", solver)
        TestRenewal.make_due(self, "mx.a.test")
        before = self.orders()
        with patch.object(durable.os, "fsync", full):
            await self.look(self.renewal("mx.a.test", solver=solver))
        self.assertEqual(self.orders(), before)
        self.assertGreater(before, 0)
        self.assertEqual(self.kept.pair("mx.a.test").certificate, first.certificate)
        self.assertIn("it cannot be written to disk (No space left on device: ", self.told[-1])
        self.assertIn("the certificate of before is shown, until 20", self.told[-1])
        self.assertEqual(self.left_over(), [".json", ".json", ".pem"])

    async def test_a_disk_that_is_full_when_the_certificate_comes(self):
        solver = self.http()
        first = await self.get("mx.a.test", solver)
        TestRenewal.make_due(self, "mx.a.test")
        before = self.orders()
        with patch.object(durable.os, "fsync", full_for_chains):
            await self.look(self.renewal("mx.a.test", solver=solver))
        self.assertGreater(self.orders(), before)
        self.assertEqual(self.kept.pair("mx.a.test").certificate, first.certificate)
        self.assertEqual(self.kept.progress("mx.a.test").failures, 1)
        self.assertEqual(self.left_over(), [".json", ".json", ".key", ".pem"])

    def orders(self):
        return (self.house / "pebble.log").read_text().count("POST /order-plz")

    def left_over(self):
        return sorted(path.suffix for path in (self.path / "acme").iterdir())


def issuer_shown(port, name, protocol):
    """Who has signed what a client is shown that asks for this name and protocol."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocol:
        context.set_alpn_protocols([protocol])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as connection,
        context.wrap_socket(connection, server_hostname=name) as wrapped,
    ):
        shown = x509.load_der_x509_certificate(wrapped.getpeercert(binary_form=True))
    return shown.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value


def full_for_chains(descriptor):
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_size > 1000:
        full(descriptor)


def wait(clock, seconds, function):
    done = Deferred()
    clock.callLater(seconds, done.callback, None)
    return done


def full(descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full")
