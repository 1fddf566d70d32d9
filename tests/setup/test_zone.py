"""The records of a mail domain: what is wanted of the DNS, as a zone file and beside what is there."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import Any

import dns.zone
import pytest
from dictionary_resolver import FAILURE, DictionaryResolver
from twisted.internet.defer import Deferred

from twisted_mta.interfaces import Found
from twisted_mta.setup.live import Row, rows
from twisted_mta.setup.records import Record, zone_file
from twisted_mta.setup.zone import ClientService, Mail, records

KEY = "v=DKIM1; k=rsa; p=" + "A" * 392
OFFICE = Mail(
    "example.org",
    "mx.example.org",
    ("192.0.2.1", "2001:db8::1"),
    keys=(("20260801r._domainkey.example.org", KEY),),
    reports="dmarc@example.org",
    tls_reports="tls@example.org",
    sts_id="20261123",
    tls_digests=("ab" * 32,),
    issuers=("letsencrypt.org",),
    services=(
        ClientService("submissions", "mx.example.org", 465),
        ClientService("imaps", "mx.example.org", 993),
        ClientService("sieve", "mx.example.org", 4190),
    ),
    web=True,
)


def published(mail: Mail) -> dict[tuple[str, str], tuple[str, ...]]:
    """As if the administrator had done all he is told to."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for record in records(mail):
        found[record.name, record.kind] = (*found.get((record.name, record.kind), ()), record.value)
    return found


def resolver(zone: dict[tuple[str, str], Any]) -> DictionaryResolver:
    """Of a DNS with those records."""
    hosts: dict[str, list[str]] = {}
    for (name, kind), found in zone.items():
        if kind in ("A", "AAAA") and found is not FAILURE:
            hosts.setdefault(name, []).extend(found)
    return DictionaryResolver(
        exchanges={
            name: [(int(text.split()[0]), text.split()[1].rstrip(".")) for text in found]
            for (name, kind), found in zone.items()
            if kind == "MX" and found is not FAILURE
        },
        hosts=hosts,
        texts={name: found for (name, kind), found in zone.items() if kind == "TXT"},
        zone=zone,
    )


def compared(mail: Mail, zone: dict[tuple[str, str], Any]) -> dict[tuple[str, str], Row]:
    answered: list[list[Row]] = []
    Deferred.fromCoroutine(rows(mail, resolver(zone), seconds=monotonic)).addCallback(answered.append)
    return {(row.wanted.name, row.wanted.kind): row for row in answered[0]}


def test_the_zone_file_is_one() -> None:
    text = zone_file(records(OFFICE), ["for example.org"])
    zone = dns.zone.from_text("$TTL 3600\n" + text + "@ IN SOA a. b. 1 1 1 1 1\n@ IN NS a.\n", "example.org")
    found = {
        (f"{name}.example.org".removeprefix("@."), str(kind.rdtype.name))
        for name, node in zone.nodes.items()
        for kind in node.rdatasets
    }
    ours = {(record.name, record.kind) for record in records(OFFICE) if not record.elsewhere}
    assert ours <= found
    key = zone["20260801r._domainkey"].rdatasets[0][0]
    assert b"".join(key.strings).decode() == KEY
    assert "; 1.2.0.192.in-addr.arpa. IN PTR mx.example.org.\n" in text


@pytest.mark.parametrize(
    "mail",
    [
        OFFICE,
        Mail("example.org", "example.org", ("192.0.2.1",)),
        replace(OFFICE, hostname="mx.provider.test", young=False),
        replace(OFFICE, smarthost="smtp.provider.test"),
    ],
    ids=["office", "least", "elsewhere", "smarthost"],
)
def test_what_is_published_as_told_is_right(mail: Mail) -> None:
    assert {row.state for row in compared(mail, published(mail)).values()} == {"ok"}


def test_an_empty_zone_lacks_everything() -> None:
    found = compared(OFFICE, {})
    assert {row.state for (_, kind), row in found.items() if row.wanted.value != "0 0 0 ."} == {"missing"}
    assert "publish: example.org. IN MX 10 mx.example.org." in found["example.org", "MX"].advice
    assert "ask who runs that zone for: 1.2.0.192" in found["1.2.0.192.in-addr.arpa", "PTR"].advice


@pytest.mark.parametrize(
    ("name", "kind", "there", "state", "advice"),
    [
        ("example.org", "MX", ("10 old.example.net.",), "wrong", "mail goes to old.example.net; publish"),
        ("example.org", "MX", ("10 mx.example.org.", "5 old.test."), "wrong", "old.test as well, or rather"),
        ("example.org", "MX", ("10 mx.example.org.", "20 second.test."), "ok", "second.test must hand on"),
        ("mx.example.org", "A", ("192.0.2.9",), "wrong", "publish"),
        ("mx.example.org", "A", ("192.0.2.1", "192.0.2.9"), "wrong", "192.0.2.9 is not this server"),
        ("1.2.0.192.in-addr.arpa", "PTR", ("dsl-7.provider.test.",), "wrong", "ask who runs that zone for"),
        ("1.2.0.192.in-addr.arpa", "PTR", ("mx.example.org.", "b.test."), "wrong", "several names"),
        ("example.org", "TXT", ("v=spf1 -all",), "wrong", '"v=spf1 mx -all"'),
        ("example.org", "TXT", ("v=spf1 mx ~all", "v=spf1 -all"), "wrong", "count as none"),
        ("example.org", "TXT", ("v=spf1 -all mx",), "wrong", '"v=spf1 mx -all"'),
        ("example.org", "TXT", ("v=spf1 ip4:192.0.2.1 ip6:2001:db8::/64 -all", "other"), "ok", ""),
        ("example.org", "TXT", ("v=spf1 ip4:1.2.3 -all",), "wrong", "publish"),
        ("example.org", "TXT", ("v=spf1 mx include:no.test -all",), "ok", ""),
        ("example.org", "TXT", ("v=spf1 include:no.test mx -all",), "wrong", "publish"),
        ("20260801r._domainkey.example.org", "TXT", ("v=DKIM1; p=AAAA",), "wrong", "publish"),
        ("20260801r._domainkey.example.org", "TXT", (f"p={'A' * 392}",), "ok", ""),
        ("20260801r._domainkey.example.org", "TXT", (KEY, "v=DKIM1; p="), "wrong", "several records"),
        ("_dmarc.example.org", "TXT", ("v=DMARC1; p=reject",), "ok", ""),
        ("_dmarc.example.org", "TXT", ("v=DMARC1; p=none",), "ok", "only watch"),
        ("_dmarc.example.org", "TXT", ("v=DMARC1; p=reject", "v=DMARC1; p=none"), "wrong", "count as none"),
        ("_dmarc.example.org", "TXT", ("p=reject",), "missing", "publish"),
        ("_mta-sts.example.org", "TXT", ("v=STSv1; id=1;",), "wrong", "another policy"),
        ("_smtp._tls.example.org", "TXT", ("v=TLSRPTv1; rua=mailto:x@test",), "ok", "elsewhere"),
        ("mta-sts.example.org", "CNAME", ("other.test.",), "wrong", "publish"),
        ("_25._tcp.mx.example.org", "TLSA", ("3 1 1 " + "cd" * 32,), "wrong", "DANE"),
        ("_25._tcp.mx.example.org", "TLSA", ("3 1 1 " + "AB" * 32,), "ok", "once the zone is signed"),
        ("example.org", "CAA", ('0 issue "other.test"',), "wrong", "no certificate"),
        ("example.org", "CAA", ('0 issue "letsencrypt.org; accounturi=x"',), "ok", ""),
        ("_imaps._tcp.example.org", "SRV", ("0 1 143 mx.example.org.",), "wrong", "publish"),
        ("_imap._tcp.example.org", "SRV", ("0 1 143 old.test.",), "wrong", "publish"),
        ("_imap._tcp.example.org", "SRV", (), "ok", ""),
        ("example.org", "MX", FAILURE, "unknown", "try again later"),
    ],
)
def test_what_is_there_is_understood(name: str, kind: str, there: Any, state: str, advice: str) -> None:
    zone: dict[tuple[str, str], Any] = {**published(OFFICE), (name, kind): there}
    row = compared(OFFICE, zone)[name, kind]
    assert row.state == state, row
    assert advice in row.advice and bool(advice) == bool(row.advice)


def test_senders_are_right_once_the_rest_is() -> None:
    zone: dict[tuple[str, str], Any] = {**published(OFFICE), ("example.org", "MX"): ("10 old.test.",)}
    row = compared(OFFICE, zone)["example.org", "TXT"]
    assert (row.state, row.publish) == ("wrong", None) and "right with the other records" in row.advice


def test_others_may_be_reported_to() -> None:
    mail = replace(OFFICE, reports="dmarc@reports.test")
    place = ("example.org._report._dmarc.reports.test", "TXT")
    assert compared(mail, published(mail))[place].state == "ok"
    lacking = {key: value for key, value in published(mail).items() if key != place}
    assert compared(mail, lacking)[place].state == "missing"


def test_an_alias_may_be_addresses() -> None:
    zone = published(OFFICE)
    del zone["autoconfig.example.org", "CNAME"]
    zone["autoconfig.example.org", "A"] = ("192.0.2.1",)
    assert compared(OFFICE, zone)["autoconfig.example.org", "CNAME"].state == "ok"


def test_dnssec_decides_whether_the_certificate_counts() -> None:
    zone: dict[tuple[str, str], Any] = dict(published(OFFICE))
    place = ("_25._tcp.mx.example.org", "TLSA")
    zone[place] = Found(zone[place], secure=True)
    assert compared(OFFICE, zone)[place].advice == ""


def test_a_young_domain_dares_more() -> None:
    def policy(mail: Mail) -> str:
        return next(record.value for record in records(mail) if record.value.startswith("v=DMARC1"))

    assert policy(OFFICE) == "v=DMARC1; p=quarantine; rua=mailto:dmarc@example.org"
    assert policy(replace(OFFICE, young=False)) == "v=DMARC1; p=none; rua=mailto:dmarc@example.org"


def test_quotes_in_a_text() -> None:
    assert Record("a.test", "TXT", 'say "x\\y"', "").line() == 'a.test. IN TXT "say \\"x\\\\y\\""'
