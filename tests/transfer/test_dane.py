"""DANE: which certificate the TLSA records mean, and what becomes of mail when it is another (RFC 7672, RFC
6698)."""

import hashlib
import itertools
import random

import pytest
from certificates import EXPIRED, Authority, authority
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from dictionary_resolver import FAILURE, DictionaryResolver
from relay_town import RelayTestCase
from scripted_server import Script
from twisted.internet.defer import Deferred

from twisted_mta.interfaces import Found
from twisted_mta.message.outcome import Action
from twisted_mta.transfer.mta.route import Host, Route
from twisted_mta.transfer.mta.routing import Routing
from twisted_mta.transfer.mta.tls import dane
from twisted_mta.transfer.mta.tls.dane import associations, matcher
from twisted_mta.transfer.mta.tls.handshake import Peer
from twisted_mta.transfer.mta.tls.policy import TlsPolicy

INTERMEDIATE = Authority(authority())
NAME = "mx.b.test"
SERVER = INTERMEDIATE.issue(NAME, INTERMEDIATE.own, authority().own)
OTHER = INTERMEDIATE.issue(NAME, INTERMEDIATE.own)
KINDS = list(itertools.product((0, 1), (0, 1, 2)))  # selectors and matching types


def record(usage, selector, matching, certificate):
    if selector:
        data = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        data = certificate.public_bytes(Encoding.DER)
    digest = {
        0: lambda d: d,
        1: lambda d: hashlib.sha256(d).digest(),
        2: lambda d: hashlib.sha512(d).digest(),
    }
    return usage, selector, matching, digest[matching](data)


def doubt(server, *records, names=(NAME,)):
    return matcher(records, list(names))(Peer(server.chain, []))


def cause(server, *records, names=(NAME,)):
    found = doubt(server, *records, names=names)
    return "" if found is None else found.cause


@pytest.mark.parametrize(("selector", "matching"), KINDS)
def test_usage_3(selector, matching):
    own = record(3, selector, matching, SERVER.chain[0])
    assert cause(SERVER, own) == ""
    assert cause(OTHER, own) == "validation-failure"
    assert cause(SERVER, own, names=["another.test"]) == ""  # RFC 7672 §3.1.1: names do not count
    assert cause(SERVER, record(3, selector, matching, SERVER.chain[1])) == "validation-failure"


@pytest.mark.parametrize(("selector", "matching"), KINDS)
@pytest.mark.parametrize("depth", [1, 2])
def test_usage_2(selector, matching, depth):
    anchor = record(2, selector, matching, SERVER.chain[depth])
    assert cause(SERVER, anchor) == ""
    assert cause(SERVER, anchor, names=["another.test"]) == "certificate-host-mismatch"
    assert cause(SERVER, anchor, names=["another.test", NAME]) == ""
    stranger = Authority()
    known = (selector, matching) == (
        0,
        0,
    )  # the anchor itself is in the record, and still not behind this chain
    expected = "certificate-not-trusted" if known else "validation-failure"
    assert cause(stranger.issue(NAME, stranger.own), anchor) == expected
    # Somebody else's chain with the anchor put behind it.
    forged = stranger.issue(NAME, stranger.own, SERVER.chain[depth])
    assert cause(forged, anchor) == "certificate-not-trusted"


def test_dates_count_under_usage_2_only():
    old = INTERMEDIATE.issue(NAME, INTERMEDIATE.own, until=EXPIRED)
    assert cause(old, record(3, 1, 1, old.chain[0])) == ""
    assert cause(old, record(2, 1, 1, INTERMEDIATE.own)) == "certificate-expired"


def test_a_whole_anchor_in_the_record_need_not_be_sent():
    server = authority().issue(NAME)
    assert cause(server, record(2, 0, 0, authority().own)) == ""
    assert cause(server, record(2, 0, 1, authority().own)) == "validation-failure"
    assert cause(server, (2, 0, 0, b"no certificate")) == "validation-failure"


def test_the_servers_own_certificate_is_no_anchor_unless_it_signed_itself():
    assert cause(SERVER, record(2, 1, 1, SERVER.chain[0])) == "validation-failure"
    lonely = Authority()
    server = type(SERVER)(lonely._key, [lonely.own])
    assert cause(server, record(2, 1, 1, lonely.own), names=["x"]) == "certificate-host-mismatch"


def test_one_record_that_fits_is_enough():
    wrong = record(3, 1, 1, OTHER.chain[0])
    assert cause(SERVER, wrong, record(2, 1, 1, Authority().own), record(3, 1, 1, SERVER.chain[0])) == ""
    assert cause(SERVER, wrong, record(2, 1, 1, SERVER.chain[2])) == ""


# What the DNS says

GOOD = record(3, 1, 1, SERVER.chain[0])


def looked_up(*, host_secure=True, mx_secure=True, canonical="", **names):
    """What is found, and the names that were asked for."""
    host = Host(NAME, "192.0.2.1", secure=host_secure, canonical=canonical)
    route = Route("b.test", (host,), domain="b.test", mx_secure=mx_secure)
    resolver = DictionaryResolver(associations=names.get("records", {}))
    results = []
    Deferred.fromCoroutine(associations(resolver, route, host)).addBoth(results.append)
    return results[0], [question.removeprefix("TLSA ") for question in resolver.asked]


AT = f"_25._tcp.{NAME}"


def test_secure_records():
    found, _ = looked_up(records={AT: Found((GOOD,), secure=True)})
    assert (found.base, found.records) == (NAME, (GOOD,))


@pytest.mark.parametrize("insecure", ["host_secure", "mx_secure"])
def test_nothing_is_asked_where_the_name_or_the_address_may_be_forged(insecure):
    assert looked_up(records={AT: Found((GOOD,), secure=True)}, **{insecure: False}) == (None, [])


def test_insecure_or_no_records():
    assert looked_up(records={AT: Found((GOOD,))})[0] is None
    assert looked_up(records={AT: Found((), secure=True)})[0] is None
    assert looked_up()[0] is None


def test_the_end_of_the_aliases_goes_first():
    there = {"_25._tcp.real.test": Found((GOOD,), secure=True)}
    found, asked = looked_up(canonical="real.test", records={**there, AT: Found((GOOD,), secure=True)})
    assert found.base == "real.test" and asked == ["_25._tcp.real.test"]
    found, asked = looked_up(canonical="real.test", records={AT: Found((GOOD,), secure=True)})
    assert found.base == NAME and asked == ["_25._tcp.real.test", AT]


def test_a_failed_look_up_is_no_absence():
    assert looked_up(records={AT: FAILURE})[0].value is FAILURE


@pytest.mark.parametrize(
    "unusable",
    [
        record(0, 1, 1, SERVER.chain[1]),
        record(1, 1, 1, SERVER.chain[0]),
        record(4, 1, 1, SERVER.chain[0]),
        (3, 2, 1, bytes(32)),
        (3, 1, 3, bytes(32)),
        (3, 1, 1, bytes(31)),
        (3, 1, 2, bytes(32)),
        (3, 0, 0, b""),
    ],
)
def test_unusable_records_are_left_out(unusable):
    found, _ = looked_up(records={AT: Found((unusable,), secure=True)})
    assert found.records == ()
    found, _ = looked_up(records={AT: Found((unusable, GOOD), secure=True)})
    assert found.records == (GOOD,)


def test_many_records_are_not_all_looked_at():
    found, _ = looked_up(records={AT: Found((GOOD,) * 10_000, secure=True)})
    assert len(found.records) == dane._MOST


class TestRelayWithDane(RelayTestCase):
    """A host at the loopback whose TLSA records we make up."""

    async def outcome(self, *records, server=SERVER, script=None, answer=None):
        (self.server,) = await self.serve(script or Script(tls=server.options))
        found = answer if answer is not None else Found(records, secure=True)
        resolver = DictionaryResolver(
            {"b.test": Found(((10, NAME),), secure=True)},
            {NAME: Found(("127.0.0.1",), secure=True)},
            associations={f"_{self.port}._tcp.{NAME}": found},
        )
        routing = Routing(
            resolver=resolver, hostname="mx.a.test", randomness=random.Random(1), mx_port=self.port
        )
        await self.start(routing_itself=routing, tls=TlsPolicy(resolver=resolver))
        (outcome,) = await self.send()
        return outcome

    async def deferred(self, *records, **situation):
        outcome = await self.outcome(*records, **situation)
        assert outcome.action is Action.DELAYED and outcome.status.startswith("4.7.")
        said = [line for dialog in self.server.dialogs for line in dialog]
        assert not any(line.startswith("MAIL") for line in said)
        return outcome.text

    async def test_the_right_certificate(self):
        for right in (GOOD, record(2, 1, 1, SERVER.chain[2])):
            outcome = await self.outcome(right)
            assert outcome.action is Action.RELAYED and self.server.messages[0].tls

    async def test_the_wrong_certificate(self):
        text = await self.deferred(record(3, 1, 1, OTHER.chain[0]))
        assert "DANE for mx.b.test" in text and "TLSA" in text

    async def test_the_wrong_name_under_usage_2(self):
        stranger = INTERMEDIATE.issue("elsewhere.test", INTERMEDIATE.own)
        text = await self.deferred(record(2, 1, 1, INTERMEDIATE.own), server=stranger)
        assert "not for mx.b.test or b.test" in text

    async def test_the_name_of_the_domain_is_right_under_usage_2(self):
        server = INTERMEDIATE.issue("b.test", INTERMEDIATE.own)
        outcome = await self.outcome(record(2, 1, 1, INTERMEDIATE.own), server=server)
        assert outcome.action is Action.RELAYED

    async def test_starttls_stripped(self):
        """Acceptance 24."""
        await self.deferred(GOOD, script=Script())

    async def test_starttls_refused(self):
        await self.deferred(GOOD, script=Script({"STARTTLS": "454 not now"}, tls=SERVER.options))

    async def test_unusable_records_demand_tls_with_anybody(self):
        unusable = record(1, 1, 1, SERVER.chain[0])
        outcome = await self.outcome(unusable, server=Authority().issue("anything.test"))
        assert outcome.action is Action.RELAYED and self.server.messages[0].tls
        await self.deferred(unusable, script=Script())

    async def test_a_failed_look_up_leaves_the_host_out(self):
        text = await self.deferred(answer=FAILURE)
        assert "TLSA" in text and self.server.dialogs == []

    async def test_insecure_records_change_nothing(self):
        outcome = await self.outcome(answer=Found((GOOD,)), script=Script())
        assert outcome.action is Action.RELAYED
