"""`mta dns show` and `mta dns publish`, with a real name server that takes updates (Knot)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query
import pytest
from configured import configured
from knot import KEY, Knot
from nameserver import Nameserver

from twisted_mta.service.commands.cli import main
from twisted_mta.service.zone_update import FILE
from twisted_mta.trust.dkim.keyring import ALGORITHMS, DIRECTORY, Keyring

START = "$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n"
ZONES = {
    "a.test": START,
    "b.test": START
    + "@ MX 10 old.other.test.\n"
    + '@ TXT "v=spf1 ip4:192.0.2.9" " -all"\n'
    + '@ TXT "somebody else\'s"\n'
    + '@ CAA 0 issue "elsewhere.test"\n',
    "c.test": START,
    "e.test": START,
    "0.0.127.in-addr.arpa": START + "1 PTR mx.a.test.\n",
}


@pytest.fixture(scope="module")
def knot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Knot]:
    server = Knot(ZONES, tmp_path_factory.mktemp("knot"))
    yield server
    server.stop()


class Desk:
    """Where an administrator types."""

    def __init__(self, directory: Path, port: int, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory, self.port, self.capsys = directory, port, capsys
        (directory / "dns.key").write_text(KEY)
        self.configure()
        ring = Keyring(directory / "data" / DIRECTORY)
        for domain in ("a.test", "b.test"):
            ring.create(domain, ALGORITHMS["ed25519"], 1e9)
        ring.close()

    def configure(self, **tables: object) -> None:
        standard = {
            "domains": ["a.test", "b.test", "c.test"],
            "dns": {"nameservers": [f"127.0.0.1:{self.port}"]},
            "listen": {
                "smtp": ["127.0.0.1:2525"],
                "imaps": ["127.0.0.1:993"],
                "submissions": ["127.0.0.1:465"],
            },
            "tls": {"self_signed": True},
            "dmarc_reports": {"receive": "dmarc@a.test"},
        }
        configured(self.directory, **{**standard, **tables})

    def mta(self, *arguments: str, code: int = 0) -> str:
        done = main(["--config", str(self.directory / "mta.toml"), "dns", *arguments])
        out, err = self.capsys.readouterr()
        assert done == code, out + err
        assert err.count("\n") == (1 if code else 0)
        return out + err

    def publish(self, domain: str, *arguments: str, code: int = 0) -> str:
        server = ("--server", f"127.0.0.1:{self.port}", "--key-file", str(self.directory / "dns.key"))
        return self.mta("publish", domain, "--address", "127.0.0.1", *server, *arguments, code=code)

    def there(self, name: str, kind: str) -> list[str]:
        answer = dns.query.tcp(dns.message.make_query(name, kind), "127.0.0.1", 5, self.port)
        return sorted(str(record) for rrset in answer.answer for record in rrset)


@pytest.fixture
def desk(tmp_path: Path, knot: Knot, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, knot.port, capsys)


def test_an_empty_zone_is_filled_and_kept_right(desk: Desk) -> None:
    wanted = desk.publish("a.test", "--dry-run")
    assert "+ a.test. IN MX 10 mx.a.test.\n" in wanted and "(--dry-run)" in wanted
    assert not desk.there("a.test.", "MX") and not (desk.directory / "data" / FILE).exists()
    done = desk.publish("a.test")
    assert done.endswith("done, and the name server has it\n") and "PTR" not in done
    assert done.splitlines()[:-1] == wanted.splitlines()[:-1]
    assert desk.there("a.test.", "MX") == ["10 mx.a.test."]
    assert desk.there("mx.a.test.", "A") == ["127.0.0.1"]
    assert desk.publish("a.test") == "nothing to change\n"

    # What it has put there itself it may change, and take away.
    desk.configure(hostname="in.a.test")
    ring = Keyring(desk.directory / "data" / DIRECTORY)
    (old,) = ring.stored("a.test")
    ring.put([old.become("retired", 2e9)])
    new = ring.create("a.test", ALGORITHMS["ed25519"], 2e9, selector="new")
    ring.close()
    told = json.loads(desk.publish("a.test", "--json"))
    assert "a.test. IN MX 10 mx.a.test." in told["removed"] and told["done"] and not told["left"]
    assert desk.there("a.test.", "MX") == ["10 in.a.test."]
    assert not desk.there(f"{old.name}.", "TXT") and desk.there(f"{new.name}.", "TXT") == [f'"{new.record}"']
    assert not desk.there("mx.a.test.", "A")
    assert desk.publish("a.test") == "nothing to change\n"


def test_what_others_have_put_there_stays_until_told(desk: Desk) -> None:
    acme = {"directory": "https://acme-v02.api.letsencrypt.org/directory", "agree_tos": True}
    listen = {"smtp": ["127.0.0.1:2525"], "http": ["127.0.0.1:80"]}
    desk.configure(tls={"acme": acme}, listen=listen)
    said = desk.publish("b.test", code=1)
    assert "! b.test MX: there is 10 old.other.test.; with --replace that goes, for 10 mx.a.test." in said
    assert "! mx.a.test A: stands in another zone than b.test" in said
    assert "left as it is: " in said
    assert desk.there("b.test.", "MX") == ["10 old.other.test."]
    assert desk.there("b.test.", "CAA") == ['0 issue "elsewhere.test"', '0 issue "letsencrypt.org"']
    assert desk.there("_dmarc.b.test.", "TXT") == ['"v=DMARC1; p=none; rua=mailto:dmarc@a.test"']
    texts = ['"somebody else\'s"', '"v=spf1 ip4:192.0.2.9" " -all"']
    assert desk.there("b.test.", "TXT") == texts

    said = desk.publish("b.test", "--replace", "--ttl", "77", code=1)
    assert '- b.test. IN TXT "v=spf1 ip4:192.0.2.9" " -all"\n' in said
    assert '+ b.test. IN TXT "v=spf1 mx ip4:192.0.2.9 -all"\n' in said
    assert desk.there("b.test.", "MX") == ["10 mx.a.test."]
    assert desk.there("b.test.", "TXT") == [texts[0], '"v=spf1 mx ip4:192.0.2.9 -all"']
    assert "elsewhere.test" in desk.there("b.test.", "CAA")[0]


def test_what_another_domain_in_the_zone_wants_stays(desk: Desk) -> None:
    domains = ["e.test", "one.e.test", "two.e.test"]
    desk.configure(hostname="mx.e.test", domains=domains, dmarc_reports={})
    for domain in domains:
        said = desk.publish(domain, "--zone", "e.test")
        assert "\n- " not in f"\n{said}"
    for domain in domains:
        assert desk.publish(domain, "--zone", "e.test") == "nothing to change\n"
        assert desk.there(f"{domain}.", "MX") == ["10 mx.e.test."]
    desk.configure(hostname="mx.e.test", domains=domains[:2], dmarc_reports={})
    assert "- two.e.test. IN MX 10 mx.e.test.\n" in desk.publish("one.e.test", "--zone", "e.test")
    assert not desk.there("two.e.test.", "MX") and desk.there("mx.e.test.", "A") == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["d.test"], "d.test is none of ours"),
        (["c.test", "--key-file", "nowhere"], "nowhere cannot be read: No such file"),
        (["c.test", "--key-file", "mta.toml"], "no TSIG key"),
        (["c.test", "--key-file", "other.key"], "does not take our key"),
        (["c.test", "--zone", "test"], "refuses a change"),
    ],
)
def test_what_cannot_be_published(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(desk.directory)
    (desk.directory / "other.key").write_text(KEY.replace("IG9mIH", "AAAAAA"))
    said = desk.publish(*arguments, code=1)
    assert said.startswith("mta: ") and sentence in said
    assert not desk.there("c.test.", "MX")


def test_wrong_usage(desk: Desk) -> None:
    for arguments, sentence in (
        (["--ttl", "0"], "--ttl: a number of seconds"),
        (["--server", "ns.a.test"], "--server: 'ns.a.test'"),
        (["--zone", "x y"], "--zone: 'x y' is not a domain name"),
        (["--address", "mx"], "--address: 'mx' does not appear to be"),
    ):
        said = desk.publish("c.test", *arguments, code=2)
        assert said.startswith(f"mta: {sentence}")
    assert not desk.there("c.test.", "MX")


def test_a_name_server_that_is_not_there(desk: Desk) -> None:
    said = desk.mta("publish", "a.test", "--server", "127.0.0.1:1", code=2)
    assert "--key-file: missing" in said
    assert "--address" in desk.mta("show", "a.test", code=1)  # 127.0.0.1 is nobody's public address


def test_the_zone_as_a_file_is_right_once_loaded(desk: Desk, tmp_path: Path) -> None:
    ring = Keyring(desk.directory / "data" / DIRECTORY)
    ring.create("a.test", ALGORITHMS["rsa"], 1e9)
    ring.close()
    text = desk.mta("show", "a.test", "--zone-file", "--address", "127.0.0.1")
    assert "; 1.0.0.127.in-addr.arpa. IN PTR mx.a.test." in text
    (tmp_path / "nsd").mkdir()
    zones = {"a.test": START + text, "0.0.127.in-addr.arpa": ZONES["0.0.127.in-addr.arpa"]}
    server = Nameserver(zones, tmp_path / "nsd")
    try:
        desk.configure(dns={"nameservers": [f"127.0.0.1:{server.port}"]}, relay={"port": 1})
        command = ["check", "a.test", "--json", "--address", "127.0.0.1", "--outbound", "b.test"]
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(desk.directory / "mta.toml"), *command])
    finally:
        server.stop()
    assert ended.value.code == 2  # no server runs
    rows = json.loads(desk.capsys.readouterr().out)["domains"]["a.test"]
    assert {row["state"] for row in rows} == {"ok"} and len(rows) > 10
    assert sum("_domainkey" in row["name"] for row in rows) == 2


def test_other_zones_are_a_comment(desk: Desk) -> None:
    other = desk.mta("show", "b.test", "--zone-file", "--address", "192.0.2.1")
    assert "\n; mx.a.test. IN A 192.0.2.1\n" in other and "\nb.test. IN MX 10 mx.a.test.\n" in other


def test_the_zone_for_people_and_programs(desk: Desk) -> None:
    text = desk.mta("show", "--address", "192.0.2.1")
    assert text.count("mx.a.test ") == text.count(" mx.a.test ") and "b.test\n" in text
    assert "(not in your zone)" in text and "no DKIM keys of c.test yet" in text
    assert "; there are no DKIM keys" in desk.mta("show", "c.test", "--zone-file", "--address", "192.0.2.1")
    value = json.loads(desk.mta("show", "--json", "--address", "192.0.2.1"))
    assert list(value) == ["a.test", "b.test", "c.test"]
    first = value["a.test"][0]
    assert first["line"] == "a.test. IN MX 10 mx.a.test." and first["need"] == "must" and first["purpose"]
    kinds = [record["kind"] for record in value["b.test"]]
    assert "A" not in kinds and "PTR" not in kinds  # those of the server stand with its own domain
