"""MTA-STS policies of others: discovered, fetched over real HTTPS, kept over restarts (RFC 8461 §3.3,
§5.1)."""

import sqlite3
import tempfile
from pathlib import Path

import pytest
from certificates import Authority, authority
from dictionary_resolver import FAILURE, DictionaryResolver
from policy_host import PolicyHost, babbler
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import TestCase

from twisted_mta.https import FetchError, HttpsClient
from twisted_mta.transfer.mta.tls.ledger import DAY, TlsLedger
from twisted_mta.transfer.mta.tls.mta_sts import StsPolicy
from twisted_mta.transfer.mta.tls.sts_client import REST, StsClient

NAME = "mta-sts.b.test"
ENFORCE = StsPolicy("enforce", 7 * DAY, ("mx.b.test",))
TESTING = StsPolicy("testing", 7 * DAY, ("mx.b.test",))


class StsCase(TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "tls.sqlite"
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.texts = {"_mta-sts.b.test": ["v=STSv1; id=1;"]}
        self.resolver = DictionaryResolver(hosts={NAME: ["127.0.0.1"]}, texts=self.texts)

    def host(self, body=bytes(ENFORCE), **settings):
        self.web = PolicyHost(NAME, body, **settings)
        self.addCleanup(self.web.close)
        return self.web

    patience = 60.0

    def https(self, port=None):
        return HttpsClient(
            reactor=reactor,
            resolver=self.resolver,
            trust_root=authority().certificate,
            port=port or self.web.port,
            patience=self.patience,
        )

    async def client(self, port=None):
        self.ledger = TlsLedger(self.path, reactor=reactor, clock=self.clock)
        await self.ledger.start()
        self.addCleanup(self.ledger.stop)
        https_client = self.https(port)
        self.sts = StsClient(
            resolver=self.resolver, https=https_client, ledger=self.ledger, reactor=self.clock
        )
        return self.sts

    async def restart(self):
        await self.ledger.stop()
        self._cleanups = [entry for entry in self._cleanups if entry[0] != self.ledger.stop]
        return await self.client()


class TestDiscovery(StsCase):
    async def test_a_policy_is_fetched_once(self):
        self.host()
        client = await self.client()
        for _ in range(3):
            assert (await client.discover("b.test")).policy == ENFORCE
        assert self.web.requests == [("GET", "/.well-known/mta-sts.txt", b"")]
        assert self.web.headers["host"] == NAME + f":{self.web.port}" or self.web.headers["host"] == NAME

    async def test_without_a_record_there_is_no_policy(self):
        self.host()
        client = await self.client()
        for texts in ([], ["v=STSv1"], ["v=STSv1; id=1", "v=STSv1; id=2"], FAILURE):
            self.texts["_mta-sts.b.test"] = texts
            assert (await client.discover("b.test")).policy is None
        assert (await client.discover("c.test")).policy is None
        assert self.web.requests == []

    async def test_a_kept_policy_outlives_its_record_and_its_file_and_a_restart(self):
        self.host()
        client = await self.client()
        await client.discover("b.test")
        self.web.status = 404
        for texts in (None, [], FAILURE, ["v=STSv1; id=2;"]):
            self.texts["_mta-sts.b.test"] = texts
            client = await self.restart()
            assert (await client.discover("b.test")).policy == ENFORCE
            self.clock.advance(DAY)
        self.clock.advance(3 * DAY)
        client = await self.restart()
        assert (await client.discover("b.test")).policy is None

    async def test_it_expires_in_memory_too(self):
        self.host()
        client = await self.client()
        await client.discover("b.test")
        self.texts["_mta-sts.b.test"] = []
        self.clock.advance(ENFORCE.max_age - 1)
        assert (await client.discover("b.test")).policy == ENFORCE
        self.clock.advance(1)
        assert (await client.discover("b.test")).policy is None

    async def test_a_new_id_has_it_fetched_anew(self):
        self.host()
        client = await self.client()
        await client.discover("b.test")
        self.web.body = bytes(TESTING)
        self.texts["_mta-sts.b.test"] = ["v=STSv1; id=2;"]
        assert (await client.discover("b.test")).policy == TESTING
        assert len(self.web.requests) == 2

    async def test_all_who_ask_share_one_fetch(self):
        self.host()
        client = await self.client()
        asked = [Deferred.fromCoroutine(client.discover("b.test")) for _ in range(10)]
        assert [found.policy for found in await gatherResults(asked)] == [ENFORCE] * 10
        assert len(self.web.requests) == 1

    async def test_a_failure_rests_for_five_minutes(self):
        self.host()
        self.web.status = 500
        client = await self.client()
        for _ in range(3):
            found = await client.discover("b.test")
            assert (found.policy, found.cause) == (None, "sts-policy-fetch-error")
            assert "HTTP status 500" in found.reason
        assert len(self.web.requests) == 1
        self.web.status = 200
        self.clock.advance(REST)
        assert (await client.discover("b.test")).policy == ENFORCE

    async def test_what_is_in_use_is_fetched_anew_every_day(self):
        self.host()
        client = await self.client()
        await client.discover("b.test")
        await client.refresh()
        assert len(self.web.requests) == 1
        self.clock.advance(DAY + 1)
        await client.refresh()
        assert len(self.web.requests) == 2
        self.texts["_mta-sts.b.test"] = []
        self.clock.advance(ENFORCE.max_age - 1)
        assert (await client.discover("b.test")).policy == ENFORCE

    async def test_what_nobody_uses_is_not(self):
        self.host()
        await (await self.client()).discover("b.test")
        client = await self.restart()
        self.clock.advance(DAY + 1)
        await client.refresh()
        assert len(self.web.requests) == 1

    async def test_a_policy_that_somebody_has_changed_is_none(self):
        self.host()
        await (await self.client()).discover("b.test")
        self.texts["_mta-sts.b.test"] = []
        await self.ledger.stop()
        with sqlite3.connect(self.path) as connection:
            connection.execute("UPDATE policy SET body = x'ff'")
        connection.close()
        client = await self.restart()
        assert (await client.discover("b.test")).policy is None

    async def test_a_damaged_file_is_set_aside(self):
        self.host()
        self.path.write_bytes(b"this is no database" * 1000)
        client = await self.client()
        assert (await client.discover("b.test")).policy == ENFORCE
        assert self.path.with_suffix(".sqlite.damaged").exists()
        self.flushLoggedErrors()

    async def test_a_file_of_a_later_release_is_left_alone(self):
        with sqlite3.connect(self.path) as connection:
            connection.execute("PRAGMA user_version = 1000")
        connection.close()
        ledger = TlsLedger(self.path, reactor=reactor, clock=self.clock)
        with pytest.raises(sqlite3.OperationalError, match="later release"):
            await ledger.start()
        await ledger.stop()


class TestFetching(StsCase):
    async def failure(self, cause, words, port=None):
        found = await (await self.client(port)).discover("b.test")
        assert found.policy is None
        assert (found.cause, words in found.reason) == (cause, True), found
        await self.ledger.stop()
        self._cleanups = [entry for entry in self._cleanups if entry[0] != self.ledger.stop]

    async def test_redirects_are_not_followed(self):
        self.host()
        self.web.more_headers["location"] = f"https://{NAME}/elsewhere"
        for status in (301, 302, 307):
            self.web.status = status
            await self.failure("sts-policy-fetch-error", f"HTTP status {status}")
            assert len(self.web.requests) == 1
            self.web.requests.clear()

    async def test_what_is_no_policy(self):
        self.host(b"<html>")
        await self.failure("sts-policy-invalid", "without a colon")
        self.web.body, self.web.media_type = bytes(ENFORCE), "text/html"
        await self.failure("sts-policy-invalid", "text/html")
        self.web.media_type = "Text/Plain; charset=utf-8"
        assert (await (await self.client()).discover("b.test")).policy == ENFORCE

    async def test_too_large(self):
        self.host(bytes(ENFORCE) + b"x: y\n" * 20_000)
        await self.failure("sts-policy-fetch-error", "more than 65536 octets")

    async def test_certificates_that_are_not_right(self):
        self.host(options=authority().server("b.test"))
        await self.failure("sts-webpki-invalid", "certificate")
        self.host(options=Authority().server(NAME))
        await self.failure("sts-webpki-invalid", "certificate")
        assert self.web.requests == []

    async def test_nobody_there(self):
        self.host()
        self.resolver.hosts[NAME] = ["127.0.0.9"]
        await self.failure("sts-policy-fetch-error", "cannot be reached")
        self.resolver.hosts[NAME] = []
        await self.failure("sts-policy-fetch-error", "no address")
        self.resolver.hosts[NAME] = FAILURE
        await self.failure("sts-policy-fetch-error", "SERVFAIL")

    async def test_the_next_address_is_tried(self):
        self.host()
        self.resolver.hosts[NAME] = ["127.0.0.9", "127.0.0.1"]
        assert (await (await self.client()).discover("b.test")).policy == ENFORCE

    async def test_no_tls(self):
        other = babbler()
        self.addCleanup(other.stopListening)
        await self.failure("sts-policy-fetch-error", NAME, other.getHost().port)

    async def test_silence(self):
        self.host()
        self.web.silent = True
        self.patience = 0.2
        await self.failure("sts-policy-fetch-error", "no answer")

    def test_the_time_is_over_for_all_addresses(self):
        """The one that is being called when it ends is the last."""
        memory = MemoryReactorClock()
        self.resolver.hosts[NAME] = ["192.0.2.1", "192.0.2.2"]
        client = HttpsClient(
            reactor=memory, resolver=self.resolver, trust_root=authority().certificate, patience=10.0
        )
        fetch = Deferred.fromCoroutine(client.get(f"https://{NAME}/", limit=100))
        self.assertNoResult(fetch)
        memory.advance(10.0)
        assert "no answer in 10 seconds" in str(self.failureResultOf(fetch, FetchError).value)
        assert [host for host, *_ in memory.tcpClients] == ["192.0.2.1"]

    async def test_whoever_waits_for_a_fetch_hears_of_an_accident(self):
        self.host()
        client = await self.client()
        answer = Deferred()

        class Broken:
            async def get(self, url, *, limit):
                await answer

        client._https = Broken()
        asked = [Deferred.fromCoroutine(client.discover("b.test")) for _ in range(2)]
        answer.errback(RuntimeError("an accident"))
        for one in asked:
            self.failureResultOf(one, RuntimeError)
        client._https = self.https()
        assert (await client.discover("b.test")).policy == ENFORCE

    async def test_only_https(self):
        self.host()
        for url in (f"http://{NAME}/", "ftp://b.test/", "https://", "nonsense", "https://b\u00fc.test/"):
            with pytest.raises(FetchError):
                await self.https().get(url, limit=100)
        assert self.web.requests == []
