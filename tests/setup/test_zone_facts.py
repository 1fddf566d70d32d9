"""What the DNS is to have, found in a configuration and its data directory; and what findings weigh."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from configured import configured
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from dictionary_resolver import FAILURE, DictionaryResolver
from twisted.internet.defer import Deferred

from twisted_mta.resolver import ResolutionError
from twisted_mta.service.certificate import kept_certificates
from twisted_mta.service.options.config import Config
from twisted_mta.service.zone_facts import all_records, mail_of, public_addresses
from twisted_mta.setup.finding import Code, row_code, worst
from twisted_mta.setup.live import Row, State
from twisted_mta.setup.records import Need, Record
from twisted_mta.setup.zone import ClientService, records
from twisted_mta.trust.dkim.keyring import ALGORITHMS, DIRECTORY, Keyring

ACME = {"directory": "https://acme-v02.api.letsencrypt.org/directory", "agree_tos": True}
HTTP = {"smtp": ["0.0.0.0:25"], "http": ["0.0.0.0:80"]}


def found(config: Config, hosts: dict[str, Any]) -> Any:
    answers: list[Any] = []
    asked = Deferred.fromCoroutine(public_addresses(config, DictionaryResolver(hosts=hosts)))
    asked.addBoth(answers.append)
    return answers[0]


def test_the_public_addresses(tmp_path: Path) -> None:
    hosts = {"mx.a.test": ["9.9.9.9", "10.0.0.1", "2620:fe::fe", "fd00::1"]}
    everywhere = configured(tmp_path, listen={"smtp": ["0.0.0.0:25", "[::]:25"]})
    assert found(everywhere, hosts) == ("9.9.9.9", "2620:fe::fe")
    assert found(everywhere, {}) == ()
    assert found(everywhere, {"mx.a.test": FAILURE}).check(ResolutionError)
    chosen = configured(
        tmp_path, listen={"smtp": ["1.1.1.1:25", "127.0.0.1:25"]}, relay={"sources": ["1.1.1.1", "fd00::2"]}
    )
    assert found(chosen, hosts) == ("1.1.1.1",)


def test_the_least(tmp_path: Path) -> None:
    mail = mail_of(configured(tmp_path), "a.test", ["192.0.2.1"])
    assert [record.kind for record in records(mail)] == ["MX", "A", "PTR", "TXT", "TXT", "TXT"]
    assert not (tmp_path / "data").exists()


def test_keys_in_all_states_but_the_last(tmp_path: Path) -> None:
    config = configured(tmp_path)
    ring = Keyring(tmp_path / "data" / DIRECTORY)
    made = [ring.create("a.test", ALGORITHMS["ed25519"], 1e9, selector=name) for name in "abcd"]
    states = ("waiting", "active", "old", "retired")
    ring.put([key.become(state, 1e9) for key, state in zip(made, states, strict=True)])
    ring.close()
    names = [name for name, _ in mail_of(config, "a.test", ()).keys]
    assert names == [f"{selector}._domainkey.a.test" for selector in "abc"]
    needs = {each.name[0]: each.need for each in records(mail_of(config, "a.test", ())) if each.name in names}
    assert needs == {"a": "should", "b": "must", "c": "should"}
    off = configured(tmp_path, dkim={"enabled": False})
    assert mail_of(off, "a.test", ()).keys == ()


def test_certificates_of_now_and_next(tmp_path: Path) -> None:
    config = configured(tmp_path, listen=HTTP, tls={"acme": ACME})
    assert mail_of(config, "a.test", ()).tls_digests == ()
    key = kept_certificates(config).key_for("mx.a.test", "ec", keep=True).public_key()
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    mail = mail_of(config, "a.test", ())
    assert (mail.tls_digests, mail.issuers) == ((digest,), ("letsencrypt.org",))
    changing = configured(tmp_path, listen=HTTP, tls={"acme": {**ACME, "keep_key": False}})
    assert mail_of(changing, "a.test", ()).tls_digests == ()


@pytest.mark.parametrize(
    ("smarthost", "sender"),
    [
        ("relay.b.test:587", "v=spf1 mx a:relay.b.test ~all"),
        ("smtps:relay.b.test", "v=spf1 mx a:relay.b.test ~all"),
        ("192.0.2.9", "v=spf1 mx ip4:192.0.2.9 ~all"),
        ("[2001:db8::9]:25", "v=spf1 mx ip6:2001:db8::9 ~all"),
    ],
)
def test_a_smarthost_sends_in_our_name(tmp_path: Path, smarthost: str, sender: str) -> None:
    config = configured(tmp_path, relay={"smarthost": smarthost})
    assert sender in [record.value for record in records(mail_of(config, "a.test", ()))]
    fallback = configured(tmp_path, relay={"smarthost": smarthost, "smarthost_use": "fallback"})
    assert mail_of(fallback, "a.test", ()).smarthost == ""


def test_services_are_those_that_programs_are_told(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        listen={
            "smtp": ["127.0.0.1:2525"],
            "imaps": ["127.0.0.1:9993"],
            "submissions": ["127.0.0.1:4465"],
            "managesieve": ["127.0.0.1:4190"],
            "https": ["127.0.0.1:8443"],
        },
        tls={"self_signed": True},
        web={"name": "mail.a.test", "told": {"imaps": "imap.a.test:993"}},
        mta_sts={"mode": "testing"},
    )
    mail = mail_of(config, "a.test", ())
    assert mail.services == (
        ClientService("imaps", "imap.a.test", 993),
        ClientService("submissions", "mail.a.test", 4465),
        ClientService("sieve", "mail.a.test", 4190),
    )
    assert mail.web and len(mail.sts_id) == 20 and mail.tls_digests == ()


def test_what_several_domains_need_stands_once(tmp_path: Path) -> None:
    config = configured(tmp_path, domains=["b.test", "a.test"], dmarc_reports={"receive": "d@a.test"})
    mails = [mail_of(config, domain, ["192.0.2.1"]) for domain in config.domains]
    there = {domain: [(each.name, each.kind) for each in some] for domain, some in all_records(mails).items()}
    assert list(there) == ["b.test", "a.test"]
    assert ("mx.a.test", "A") in there["a.test"] and ("mx.a.test", "A") not in there["b.test"]
    assert ("b.test._report._dmarc.a.test", "TXT") in there["a.test"]
    assert there["b.test"][0] == ("b.test", "MX") and there["a.test"].count(("mx.a.test", "TXT")) == 1


@pytest.mark.parametrize(
    ("state", "need", "kind", "code"),
    [
        ("ok", "must", "MX", Code.OK),
        ("unknown", "may", "MX", Code.UNKNOWN),
        ("missing", "must", "MX", Code.CRITICAL),
        ("missing", "should", "TXT", Code.WARNING),
        ("missing", "may", "SRV", Code.OK),
        ("wrong", "may", "SRV", Code.WARNING),
        ("wrong", "must", "A", Code.CRITICAL),
        ("wrong", "may", "TLSA", Code.CRITICAL),
    ],
)
def test_what_a_record_weighs(state: State, need: Need, kind: str, code: Code) -> None:
    assert row_code(Row(Record("a.test", kind, "x", "", need), state)) == code


def test_what_it_all_comes_to() -> None:
    assert worst([]) == Code.OK
    assert worst([Code.OK, Code.UNKNOWN]) == Code.UNKNOWN
    assert worst([Code.UNKNOWN, Code.WARNING]) == Code.WARNING
    assert worst([Code.UNKNOWN, Code.CRITICAL, Code.WARNING]) == Code.CRITICAL
