"""The configuration: what is taken, and the sentence for what is refused."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from process import to_toml

from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import Config, load
from twisted_mta.transfer.mta.route import NextHop
from twisted_mta.transfer.mta.tls.level import TlsLevel, TlsVersion
from twisted_mta.transfer.mta.tls.rules import TlsRule

ROOT = Path(__file__).parents[2]
LEAST = {
    "hostname": "mx.a.test",
    "data_dir": "data",
    "domains": ["a.test"],
    "listen": {"smtp": ["127.0.0.1:2525"]},
}


def loaded(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "mta.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def changed(**tables: object) -> str:
    return to_toml({**LEAST, **tables})


def test_the_least_configuration(tmp_path: Path) -> None:
    config = loaded(tmp_path, to_toml(LEAST))
    assert config.data_dir == str(tmp_path / "data")
    assert config.listen.services() == {"smtp": ("127.0.0.1:2525",)}
    assert not config.tls.enabled


def test_the_example_of_the_contract(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        """
        hostname = "mx.b.test"
        data_dir = "data"
        domains = ["b.test"]
        [listen]
        smtp = ["127.0.0.1:20025"]
        [tls]
        self_signed = true
        [auth]
        allow_cleartext = true
        [relay]
        allow_networks = ["127.0.0.0/8"]
        smarthost = ""
        [relay.routes]
        "relay.test" = "127.0.0.1:10026"
        [dns]
        nameservers = ["127.0.0.1:5300"]
        """,
    )
    assert config.relay.smarthost is None
    assert config.relay.routes["relay.test"].port == 10026
    assert config.dns.nameservers == ("127.0.0.1:5300",)


def keys_of(table: type[msgspec.Struct], path: str = "") -> set[str]:
    found = set()
    for field in msgspec.structs.fields(table):
        inner = (
            field.type if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct) else None
        )
        found |= keys_of(inner, f"{path}{field.name}.") if inner else {path + field.name}
    return found


def written_in(table: dict, kind: type[msgspec.Struct], path: str = "") -> set[str]:
    inner = {field.name: field.type for field in msgspec.structs.fields(kind)}
    found = set()
    for name, value in table.items():
        deeper = isinstance(inner[name], type) and issubclass(inner[name], msgspec.Struct)
        found |= written_in(value, inner[name], f"{path}{name}.") if deeper else {path + name}
    return found


def test_the_annotated_sample_has_every_key_and_the_defaults(tmp_path: Path) -> None:
    table = tomllib.loads((ROOT / "etc/mta.toml").read_text())
    assert written_in(table, Config) == keys_of(Config)
    sample, default = load(ROOT / "etc/mta.toml"), loaded(tmp_path, to_toml(LEAST))
    for section in (
        "relay",
        "mta_sts",
        "tls_reports",
        "dmarc_reports",
        "dns",
        "queue",
        "quota",
        "limits",
        "demo",
        "auth",
    ):
        assert getattr(sample, section) == getattr(default, section), section


def test_the_demo_is_valid() -> None:
    config = load(ROOT / "etc/demo.toml")
    assert [name.partition("@")[0] for name in config.demo.accounts] == ["alice", "bob"]
    assert len(config.domains) == 2


@pytest.mark.parametrize(
    ("section", "values", "sentence"),
    [
        ("listen", {"smpt": []}, r"listen\.smpt: unknown key; did you mean smtp\?"),
        ("listen", {"foo": 1}, r"listen\.foo: unknown key; the keys here are smtp, submission"),
        ("listen", {"message_size": 1}, r"listen\.message_size: unknown key; it belongs under \[limits\]"),
        ("gopher", {}, r"gopher: unknown key; the keys here are hostname"),
        ("listen", {"smtp": "x"}, r'listen\.smtp: expected a list .*= \["127\.0\.0\.1:2525"\]; found a text'),
        ("listen", {"smtp": ["127.0.0.1"]}, r"listen\.smtp\[0\]: '127\.0\.0\.1' is not a host:port such as"),
        ("listen", {"smtp": ["mx.a.test:25"]}, r"listen\.smtp\[0\]: .* mx\.a\.test is not an IP address"),
        ("listen", {"smtp": ["127.0.0.1:0"]}, r"listen\.smtp\[0\]: .* a port is a number from 1 to 65535"),
        ("listen", {"smtp": [25]}, r"listen\.smtp\[0\]: expected an address such as"),
        ("listen", {}, r"listen: nothing listens; for example"),
        ("listen", {"imaps": ["127.0.0.1:993"]}, r"listen\.imaps: needs TLS; set tls\.self_signed = true"),
        ("listen", {"submission": ["127.0.0.1:587"]}, r"listen\.submission: nobody could log in without TLS"),
        ("listen", {"smtp": ["[::1]:25", "[0::1]:25"]}, r"listen\.smtp: \[::1\]:25 is taken by listen\.smtp"),
        ("auth", {"allow_cleartext": "yes"}, r"auth\.allow_cleartext: expected true or false, .*found a"),
        ("auth", 3, r"auth: expected a table, .*\[auth\] on a line of its own; found a whole"),
        ("hostname", 3, r"hostname: expected a domain name such as \"example\.org\", found 3"),
        ("hostname", "not a name", r"hostname: 'not a name' is not a domain name"),
        ("hostname", "127.0.0.1", r"hostname: '127\.0\.0\.1' is not a domain name"),
        ("domains", [], r"domains: expected at least 1 entry"),
        ("domains", ["[127.0.0.1]"], r"domains\[0\]: .* is not a domain name"),
        ("domains", ["bücher.example"], r"domains\[0\]: .* is not a domain name .* as in the DNS, xn--"),
        ("data_dir", "", r"data_dir: empty"),
        ("postmaster", "alice", r"postmaster: 'alice' is not a mail address such as"),
        ("postmaster", "Postmaster@a.test", r"postmaster: name the person"),
        ("limits", {"message_size": True}, r"limits\.message_size: expected a size such as \"50M\""),
        ("limits", {"message_size": "50 bananas"}, r"limits\.message_size: expected a size"),
        ("limits", {"recipients": 99}, r"limits\.recipients: expected a whole number from 100 up"),
        ("limits", {"connections": 1.5}, r"limits\.connections: expected a whole number, .* found a number"),
        ("mailboxes", {"most": 99}, r"mailboxes\.most: expected a whole number from 100 up"),
        ("mailboxes", {"annotations": "much"}, r"mailboxes\.annotations: expected a size"),
        ("queue", {"retry": []}, r"queue\.retry: expected at least 1 entry"),
        ("queue", {"retry": ["0s"]}, r"queue\.retry\[0\]: expected a duration"),
        ("queue", {"retry": ["5 fortnights"]}, r"queue\.retry\[0\]: expected a duration"),
        ("queue", {"lifetime": "1s"}, r"queue\.lifetime: shorter than the first wait"),
        ("relay", {"allow_networks": ["10.1.2.3/8"]}, r"relay\.allow_networks\[0\]: .*write '10\.0\.0\.0/8'"),
        ("relay", {"allow_networks": ["us"]}, r"relay\.allow_networks\[0\]: 'us' is not a network"),
        ("relay", {"port": 65536}, r"relay\.port: expected a whole number up to 65535"),
        ("relay", {"smarthost_user": "me"}, r"relay\.smarthost_password_file: missing"),
        ("relay", {"smarthost": "x:y:z"}, r"relay\.smarthost: 'x:y:z' is not a host:port"),
        ("relay", {"routes": {"a.test": "x.test"}}, r'relay\.routes\."a\.test": mail for a\.test stays here'),
        ("relay", {"routes": {"c.test": "x.test", "C.Test.": "y.test"}}, r"relay.*: c\.test has a route"),
        ("relay", {"smarthost": "192.0.2.256"}, r"relay\.smarthost: '192\.0\.2\.256' is not a domain name"),
        ("relay", {"routes": {"no name": "192.0.2.1"}}, r"relay\.routes: 'no name' is not a domain name"),
        ("relay", {"routes": {"c.test": "c:x"}}, r"relay\.routes\[...\]: 'c:x' is not a host:port"),
        ("tls", {"self_signed": True, "certificate": "x"}, r"tls: either self_signed = true or certificate"),
        ("tls", {"certificate": "x"}, r"tls\.private_key: missing"),
        ("tls", {"certificate": "x", "private_key": "y"}, r"tls\.certificate: cannot read .*/x: No such"),
        ("demo", {"accounts": ["alice@c.test"]}, r"demo\.accounts: alice@c\.test is in none of `domains`"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_key_and_what_to_write(
    tmp_path: Path, section: str, values: object, sentence: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        loaded(tmp_path, changed(**{section: values}))
    text = str(refusal.value)
    assert text.startswith(f"{tmp_path}/mta.toml: ")
    assert re.search(": " + sentence, text), text
    assert "\n" not in text


def test_tracking_needs_something_to_tell(tmp_path: Path) -> None:
    listen = {"mtqp": ["127.0.0.1:1038"]}
    assert loaded(tmp_path, changed(listen=listen)).listen.services() == {"mtqp": ("127.0.0.1:1038",)}
    with pytest.raises(ConfigError, match=r"listen\.mtqp: nothing could be told; set journey\.keep"):
        loaded(tmp_path, changed(listen=listen, journey={"keep": 0}))


@pytest.mark.parametrize("key", ["hostname", "data_dir", "domains"])
def test_a_required_key_that_is_missing(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: missing; write for example {key} = "):
        loaded(tmp_path, to_toml({name: value for name, value in LEAST.items() if name != key}))


def test_a_file_that_is_not_toml_is_refused_with_the_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not valid TOML: .*line 2"):
        loaded(tmp_path, "hostname = 'x'\ndomains = [,\n")


@pytest.mark.parametrize(
    "text", ["x = " + "[" * 3000 + "]" * 3000, "x = " + "{x = " * 3000 + "1" + "}" * 3000]
)
def test_a_file_that_is_nested_too_deeply_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="not valid TOML: nested too deeply"):
        loaded(tmp_path, text)


@pytest.mark.parametrize("key", ["x", "hostname", "limits.message_size", "domains"])
def test_keys_that_lead_too_deep_are_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError):
        loaded(tmp_path, key + ".x" * 3000 + " = 1")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the configuration: No such file"):
        load(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="cannot read the configuration: Is a directory"):
        load(tmp_path)
    (tmp_path / "latin1.toml").write_bytes("hostname = 'mäx'".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "latin1.toml")


def test_values_in_words(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        changed(
            domains=["A.Test.", "b.test"],
            listen={"smtp": ["localhost:25", "[::]:25"]},
            limits={"message_size": "10 MiB"},
            queue={"retry": ["30s", "1.5h", 60], "lifetime": "2d"},
            relay={"smarthost": "Relay.example.net", "allow_networks": ["192.0.2.1"]},
        ),
    )
    assert config.domains == ("a.test", "b.test")
    assert config.listen.smtp == ("127.0.0.1:25", "[::]:25")
    assert (config.listen.smtp[1].host, config.listen.smtp[1].port) == ("::", 25)
    assert config.limits.message_size == 10 * 2**20
    assert config.queue.retry == (30, 5400, 60)
    assert config.queue.lifetime == 2 * 86400
    assert config.relay.smarthost == "relay.example.net:25"
    assert config.relay.allow_networks[0].network.num_addresses == 1


RELAY = {
    "smarthost": "lmtp:/run/lmtp.sock",
    "routes": {
        "A.B.test": "SMTPS:Smart.test",
        "*.b.test": "mx:C.test",
        "d.test": "dns",
        "e.test": "lmtp:[::1]",
    },
    "accounts": {"Alice@a.test": "smart.test:587"},
    "senders": {"Alice@A.test": "smart.test:26", "Other.test": "smart.test"},
    "sources": ["192.0.2.1", "2001:DB8::1"],
    "proxy": "127.0.0.1:1080",
    "tls": {"default": "encrypt", "domains": {"b.test": "verify TLSv1.3", "*.c.test": "none"}},
}


def test_next_hops_of_all_kinds(tmp_path: Path) -> None:
    relay = loaded(tmp_path, changed(relay=RELAY)).relay
    assert relay.smarthost == "lmtp:/run/lmtp.sock"
    assert relay.routes == {
        "A.B.test": "smtps:smart.test:465",
        "*.b.test": "mx:c.test:25",
        "d.test": "dns",
        "e.test": "lmtp:[::1]:24",
    }
    for hop in (relay.smarthost, *relay.routes.values()):
        NextHop.parse(hop)
    assert relay.sources == ("192.0.2.1", "2001:db8::1") and relay.proxy is not None
    assert relay.tls.domains["b.test"].rule == TlsRule(TlsLevel.VERIFIED, TlsVersion.TLS_1_3)
    assert relay.tls.default.rule.level is TlsLevel.REQUIRED


@pytest.mark.parametrize(
    ("relay", "sentence"),
    [
        ({"smarthost": "mx:b.test"}, r"relay\.smarthost: name one mail server"),
        ({"smarthost_use": "fallback"}, r"relay\.smarthost: missing; smarthost_use says when"),
        ({"smarthost_use": "often"}, r'relay\.smarthost_use: expected "always" or "fallback", found .often.'),
        ({"routes": {"b.test": "mx:192.0.2.1"}}, r"relay\.routes\[\.\.\.\]: '192\.0\.2\.1' is not a domain"),
        ({"routes": {"b.test": "lmtp:x:y"}}, r"relay\.routes\[\.\.\.\]: 'x:y' is not a host:port"),
        ({"routes": {"*": "x.test"}}, r"relay\.routes: '\*' is not a domain name"),
        ({"accounts": {"alice": "x.test"}}, r"relay\.accounts: 'alice' is not a mail address"),
        ({"senders": {"x@y@z": "x.test"}}, r"relay\.senders: 'x@y@z' is not a mail address"),
        ({"sources": ["192.0.2.1", "192.0.2.2"]}, r"relay\.sources: at most one IPv4"),
        ({"sources": ["here"]}, r"relay\.sources\[0\]: 'here' is not an IP address"),
        ({"proxy_user": "x"}, r"relay\.proxy_user: goes together with proxy_password_file"),
        (
            {"logins": {"x.test": {"user": "x"}}},
            r'relay\.logins\."x\.test"\.password_file: missing; user and',
        ),
        (
            {"logins": {"x.test:0": {"user": "x", "token_file": "t"}}},
            r'relay\.logins\."x\.test:0": .* a port is',
        ),
        ({"tls": {"default": "strict"}}, r"relay\.tls\.default: 'strict' is none of none, may, encrypt"),
        ({"tls": {"default": "may TLSv1.1"}}, r"relay\.tls\.default: 'may TLSv1\.1' is none of"),
        ({"tls": {"domains": {"x": "encrypt", "@": "may"}}}, r"relay\.tls\.domains: '@' is not a domain"),
    ],
)
def test_what_is_wrong_with_the_way_out(tmp_path: Path, relay: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        loaded(tmp_path, changed(relay=relay))


def test_what_others_may_know_of_us(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"listen\.https: missing; the policy of mta_sts is served there"):
        loaded(tmp_path, changed(mta_sts={"mode": "testing"}))
    with pytest.raises(ConfigError, match=r"listen\.https: needs TLS"):
        loaded(tmp_path, changed(listen={"https": ["127.0.0.1:443"]}))
    with pytest.raises(ConfigError, match=r"tls_reports\.receive: .* is in none of `domains`"):
        loaded(tmp_path, changed(tls_reports={"receive": "x@b.test"}))


@pytest.mark.parametrize(("text", "seconds"), [("6h", 6 * 3600), (0, 0), ("", 0)])
def test_when_senders_are_warned(tmp_path: Path, text: object, seconds: float) -> None:
    assert loaded(tmp_path, changed(queue={"delay_warning": text})).queue.delay_warning == seconds
