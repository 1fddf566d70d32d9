"""When an authority itself says that a certificate is to be renewed (RFC 9773): pebble of Debian cannot."""

import datetime
import json
import random
import tempfile
from pathlib import Path
from unittest.mock import patch

from certificates import authority
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from dictionary_resolver import DictionaryResolver
from policy_host import PolicyHost
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from twisted_mta.certificates.acme.kept import KeptCertificates, Progress
from twisted_mta.certificates.acme.renewal import FIRST_WAIT, Renewal, Wish
from twisted_mta.certificates.pair import new_key
from twisted_mta.https import HttpsClient

AUTHORITY_KEY = bytes.fromhex("69885b6b87464041e1b37b847ba0ae2cde01c8d4")
IDENTIFIER = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"  # RFC 9773 §4.1
DAY = 86400


def chain(key, age: int = 10) -> bytes:
    """Of the certificate that RFC 9773 shows: 90 days, from so many days ago."""
    name = x509.Name([])
    begins = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=age)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(0x87654321)
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("mx.a.test")]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(AUTHORITY_KEY, None, None), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)


class TestRenewalInformation(TestCase):
    async def next_after(self, window: object, **settings) -> tuple[float, float]:
        """When the renewal is due before and after the authority has been asked."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.web = PolicyHost("acme.test")
        self.addCleanup(self.web.close)
        base = f"https://acme.test:{self.web.port}"
        places = {name: f"{base}/{name}" for name in ("newNonce", "newAccount", "newOrder", "renewalInfo")}
        self.web.body = json.dumps({**places, "suggestedWindow": window}).encode()
        for name, value in settings.items():
            setattr(self.web, name, value)
        kept = KeptCertificates(Path(directory.name))
        key = new_key("ec")
        pair = kept.put("mx.a.test", key, chain(key))
        before = pair.renewal.timestamp() + DAY
        kept.put_progress("mx.a.test", Progress(next=before, directory=f"{base}/dir"))
        resolver = DictionaryResolver(hosts={"acme.test": ["127.0.0.1"]})
        renewal = Renewal(
            Wish(f"{base}/dir", ("mx.a.test",)),
            kept=kept,
            https=HttpsClient(reactor=reactor, resolver=resolver, trust_root=authority().certificate),
            solver=None,
            show=lambda *_: self.fail("there is nothing new"),
            reactor=reactor,
            randomness=random.Random(1),
        )
        slept = Deferred()
        with patch.object(renewal, "_sleep", slept.callback):
            renewal.start()
            await slept
        return before, kept.progress("mx.a.test").next

    async def test_it_is_renewed_in_the_window_that_the_authority_suggests(self):
        begin, end = reactor.seconds() + DAY, reactor.seconds() + 3 * DAY
        before, after = await self.next_after({"start": moment(begin), "end": moment(end)})
        self.assertTrue(begin - 1 <= after <= end + 1, (begin, after, end))
        self.assertLess(after, before)
        self.assertEqual([path for _, path, _ in self.web.requests], ["/dir", f"/renewalInfo/{IDENTIFIER}"])

    async def test_what_fits_already_stays(self):
        begin, end = reactor.seconds() + DAY, reactor.seconds() + 89 * DAY
        before, after = await self.next_after({"start": moment(begin), "end": moment(end)})
        self.assertEqual(before, after)

    async def test_nonsense_changes_nothing(self):
        late, early = moment(reactor.seconds() + 3 * DAY), moment(reactor.seconds() + DAY)
        for window in (
            None,
            [],
            {},
            {"start": "soon", "end": early},
            {"start": late, "end": early},
            {"start": 3},
            {"start": moment(reactor.seconds() + 90 * DAY), "end": "9999-12-31T23:59:59Z"},
        ):
            before, after = await self.next_after(window)
            self.assertEqual(before, after, window)
        before, after = await self.next_after({"start": early, "end": late}, status=500)
        self.assertEqual(before, after)

    async def test_a_window_beyond_the_end_of_the_certificate_ends_before_it(self):
        window = {"start": moment(reactor.seconds() + 74 * DAY), "end": "9999-12-31T23:59:59Z"}
        _, after = await self.next_after(window)
        self.assertTrue(74 * DAY - 60 <= after - reactor.seconds() <= 76 * DAY, after)

    async def test_an_authority_whose_certificates_have_expired_is_not_asked_without_end(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        kept, key, shown = KeptCertificates(Path(directory.name)), new_key("ec"), []
        renewal = Renewal(
            Wish("https://acme.test/dir", ("mx.a.test",)),
            kept=kept,
            https=None,
            solver=None,
            show=lambda *got: shown.append(got),
            reactor=reactor,
            randomness=random.Random(1),
        )

        async def got(*_):
            return kept.put("mx.a.test", key, chain(key, age=100))

        slept = Deferred()
        with patch.object(renewal, "_get", got), patch.object(renewal, "_sleep", slept.callback):
            renewal.start()
            seconds = await slept
        self.assertEqual(len(shown), 1)
        self.assertTrue(FIRST_WAIT - 60 < seconds <= FIRST_WAIT, seconds)

    def test_what_a_clock_that_was_wrong_has_noted_is_not_waited_for(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        kept, key, clock = KeptCertificates(Path(directory.name)), new_key("ec"), Clock()
        clock.advance(reactor.seconds())
        authority = "https://acme.test/dir"
        renewal = Renewal(
            Wish(authority, ("mx.a.test",)),
            kept=kept,
            https=None,
            solver=None,
            show=None,
            reactor=clock,
            randomness=random.Random(1),
        )
        now, pair = clock.seconds(), kept.put("mx.a.test", key, chain(key, age=80))

        def due(after: float, failures: int = 0) -> float:
            """Seconds from now, when the next attempt was noted for that time."""
            noted = Progress(next=now + after, failures=failures, directory=authority)
            return renewal.due(pair, noted) - now

        self.assertLessEqual(due(4000 * DAY), 0)
        self.assertEqual(due(5 * DAY), 5 * DAY)  # the authority may wish so
        self.assertLessEqual(due(8 * DAY, failures=1), 0)
        self.assertEqual(due(7 * DAY, failures=1), 7 * DAY)  # so may Retry-After
        self.assertEqual(due(300, failures=1), 300)
        pair = kept.put("mx.a.test", key, chain(key, age=100))
        self.assertEqual(due(FIRST_WAIT), FIRST_WAIT)  # nor does a wrong clock ask without end


def moment(seconds: float) -> str:
    """As RFC 3339 has it."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
