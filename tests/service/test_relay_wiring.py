"""What the configuration says of the way out arrives where it counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from certificates import authority
from configured import configured
from cryptography.hazmat.primitives.serialization import Encoding
from dictionary_resolver import DictionaryResolver
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.own_policy import own_policy, policy_id
from twisted_mta.service.wiring.relay import build_tls, routing
from twisted_mta.transfer.mta.route import Credentials, Host, Proxy, Route
from twisted_mta.transfer.mta.tls.level import TlsLevel


def routed(config, domain, **mail):
    results = []
    hosts = {name: ["192.0.2.1"] for name in ("b.test", "smart.test", "alice.test")}
    resolver = DictionaryResolver({"b.test": []}, hosts)
    Deferred.fromCoroutine(routing(config, resolver).route(domain, **mail)).addBoth(results.append)
    return results[0]


def secrets(directory: Path, **texts: str) -> None:
    for name, text in texts.items():
        (directory / name).write_text(text)


def test_everything_at_once(tmp_path):
    secrets(tmp_path, smart="first\nsecond\n", alice="hers", proxy="through", token="T")
    config = configured(
        tmp_path,
        relay={
            "smarthost": "Smart.test:587",
            "smarthost_use": "fallback",
            "smarthost_user": "us",
            "smarthost_password_file": "smart",
            "accounts": {"Alice@A.test": "alice.test:587"},
            "senders": {"Bob@a.test": "smtps:alice.test"},
            "routes": {"*.C.test": "lmtp:/run/x"},
            "logins": {
                "ALICE.test:587": {"user": "alice", "password_file": "alice"},
                "smtps:alice.test": {"user": "bob", "token_file": "token"},
            },
            "sources": ["192.0.2.9"],
            "proxy": "127.0.0.1:1080",
            "proxy_user": "p",
            "proxy_password_file": "proxy",
        },
    )
    direct = routed(config, "b.test")
    assert direct.destination == "b.test" and direct.fallback.credentials == Credentials("us", "first")
    assert direct.proxy == Proxy("127.0.0.1", 1080, "p", "through")
    assert direct.source(direct.hosts[0]) == "192.0.2.9"
    alice = routed(config, "b.test", account="alice@a.test")
    assert alice.credentials == Credentials("alice", "hers")
    bob = routed(config, "b.test", sender=Address.parse("BOB@a.test"))
    assert bob.credentials == Credentials("bob", token_file=str(tmp_path / "token"))
    assert bob.hosts[0].tls_first
    assert routed(config, "x.c.test").hosts[0].path == "/run/x"


def test_a_password_that_is_gone(tmp_path):
    secrets(tmp_path, smart="first")
    relay = {"smarthost": "smart.test", "smarthost_user": "us", "smarthost_password_file": "smart"}
    config = configured(tmp_path, relay=relay)
    (tmp_path / "smart").unlink()
    with pytest.raises(ConfigError, match=r"relay\.smarthost\.password_file: cannot be read"):
        routed(config, "b.test")


def tls(config):
    return build_tls(config, resolver=DictionaryResolver(), queue=None, journey=Journey(), reactor=reactor)


def test_tls(tmp_path):
    secrets(tmp_path, roots=authority().own.public_bytes(Encoding.PEM).decode() * 2)
    options = {"default": "may", "domains": {"B.test": "encrypt"}, "authorities": "roots", "mta_sts": False}
    built = tls(configured(tmp_path, relay={"tls": options}))
    host = Host("mx.b.test", "192.0.2.1")
    for domain, level in (("b.test", TlsLevel.REQUIRED), ("c.test", TlsLevel.MAY)):
        results = []
        demand = built.policy.demand(Route(domain, (host,), domain=domain), host)
        Deferred.fromCoroutine(demand).addBoth(results.append)
        assert results[0].level is level
    assert [name for name, _ in built.parts] == ["memory of TLS", "MTA-STS", "TLS reports"]
    without = tls(configured(tmp_path, tls_reports={"send": False}))
    assert [name for name, _ in without.parts] == ["memory of TLS", "MTA-STS"]


def test_authorities_that_are_none(tmp_path):
    for text in ("", "nothing", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"):
        secrets(tmp_path, roots=text)
        with pytest.raises(ConfigError, match=r"relay\.tls\.authorities"):
            tls(configured(tmp_path, relay={"tls": {"authorities": "roots"}}))


def test_our_policy(tmp_path):
    assert own_policy(configured(tmp_path)) is None
    listen = {"listen": {"https": ["127.0.0.1:443"]}, "tls": {"self_signed": True}}
    first, second = (
        own_policy(configured(tmp_path, mta_sts={"mode": mode}, **listen)) for mode in ("testing", "enforce")
    )
    assert first.lines() == ["version: STSv1", "mode: testing", "mx: mx.a.test", "max_age: 604800"]
    assert policy_id(first) != policy_id(second) and policy_id(first).isalnum()
