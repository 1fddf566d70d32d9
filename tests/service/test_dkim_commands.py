"""`mta dkim`, as an administrator types it; [dkim] in the configuration."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from process import to_toml

from twisted_mta.service.commands.cli import main
from twisted_mta.service.commands.dkim import unsigned
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import load
from twisted_mta.trust.dkim.key import parse_key
from twisted_mta.trust.dkim.keyring import ACTIVE, OLD, RETIRED, Keyring

CONFIG = {
    "hostname": "mx.a.test",
    "data_dir": "data",
    "domains": ["a.test", "b.test"],
    "listen": {"smtp": ["127.0.0.1:2525"]},
}
PEM = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Office:
    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.capsys = capsys
        self.configure()

    def configure(self, **dkim: object) -> None:
        (self.directory / "mta.toml").write_text(to_toml({**CONFIG, "dkim": dkim}))

    def mta(self, *arguments: str) -> str:
        code = main(["--config", str(self.directory / "mta.toml"), "dkim", *arguments])
        out, err = self.capsys.readouterr()
        assert code == 0, err
        return out

    def refused(self, *arguments: str, fails: int = 1) -> str:
        code = main(["--config", str(self.directory / "mta.toml"), "dkim", *arguments])
        out, err = self.capsys.readouterr()
        assert (code, out, err.count("\n")) == (fails, "", 1)
        return err

    def ring(self) -> Keyring:
        return Keyring(self.directory / "data" / "dkim")


@pytest.fixture
def office(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Office:
    key = rsa.generate_private_key(65537, 1024)  # what takes time is elsewhere
    monkeypatch.setattr(rsa, "generate_private_key", lambda exponent, size: key)
    return Office(tmp_path, capsys)


def test_from_the_first_key_to_the_last(office: Office) -> None:
    assert office.mta("list").startswith("no keys yet; the server makes them soon")
    assert office.mta("show", "a.test").startswith("no keys yet")
    made = office.mta("create", "A.test")
    assert made.count("._domainkey.a.test. IN TXT ") == 2
    assert made.endswith("The server sees when it is there; see: dkim list\n")
    waiting = json.loads(office.mta("list", "--json"))
    assert [key["state"] for key in waiting] == ["waiting"] * 2
    assert office.refused("rotate", "a.test").startswith("mta: keys of a.test wait already; publish them")
    first = waiting[0]["selector"]
    assert "signs from now on" in office.mta("rotate", "a.test", "--now")
    assert f"a.test  {first}  Ed25519: signs since" in office.mta("list")
    assert office.refused("rotate", "a.test", "--now").startswith("mta: no key of a.test waits; make some")
    assert office.mta("rotate", "a.test").count(" IN TXT ") == 2
    assert office.mta("rotate", "a.test", "--now").count("signs no more") == 2
    listed = office.mta("list")
    assert f"{first}  Ed25519: signs no more; leave it in the DNS until " in listed
    assert "is retired, and its private key is gone" in office.mta("retire", "a.test", first)
    assert f"{first}  Ed25519: done with; remove its record" in office.mta("list")
    assert office.refused("retire", "a.test", first) == (
        f"mta: a.test has no key {first} that could be retired; see: dkim list\n"
    )
    assert first not in office.mta("show").replace(f"{first}2", "")


def test_the_records_are_those_of_a_zone_file(office: Office) -> None:
    office.mta("create", "b.test")
    shown = office.mta("show", "b.test")
    records = json.loads(office.mta("show", "--json"))
    assert [key["name"] in shown and parse_key(key["record"]).algorithm for key in records] == [
        "ed25519-sha256",
        "rsa-sha256",
    ]
    for key in records:
        assert "".join(key["strings"]) == key["record"] and max(map(len, key["strings"])) <= 255
        assert all(f'"{text}"' in shown for text in key["strings"])
    assert shown.startswith("; ") and "new; publish it" in shown


def test_a_key_that_there_is_already(office: Office) -> None:
    file = office.directory / "mine.pem"
    file.write_bytes(PEM)
    assert "mail._domainkey.a.test. IN TXT" in office.mta(
        "create", "a.test", "--selector", "mail", "--from", str(file)
    )
    again = office.refused("create", "a.test", "--selector", "mail", "--from", str(file))
    assert again == "mta: a.test has a key mail already; see: dkim list\n"
    file.write_bytes(b"")
    assert "mine.pem: no private key in PEM form" in office.refused("create", "a.test", "--from", str(file))
    assert "cannot be read" in office.refused("create", "a.test", "--from", str(file) + "x")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["create", "c.test"], "c.test is none of ours"),
        (["create", "not a domain"], "'not a domain' is not a domain name such as"),
        (["show", "c.test"], "c.test is none of ours"),
        (["retire", "a.test", "x"], "a.test has no key x"),
    ],
)
def test_refusals(office: Office, arguments: list[str], reason: str) -> None:
    assert reason in office.refused(*arguments)


def test_wrong_usage(office: Office) -> None:
    several = office.refused("create", "a.test", "--selector", "x", fails=2)
    assert "--selector is the name of one key" in several
    strange = office.refused("create", "a.test", "--algorithm", "rsa", "--selector", "../x", fails=2)
    assert "--selector: '../x' is no name" in strange


def test_no_second_key_waits_beside_the_first_unless_it_is_named(office: Office) -> None:
    office.mta("create", "a.test", "--algorithm", "rsa")
    again = office.refused("create", "a.test", "--algorithm", "rsa")
    assert again.startswith("mta: keys of a.test wait already; publish them (dkim show a.test), or: ")
    assert office.mta("create", "a.test").count(" IN TXT ") == 1  # the other algorithm's
    assert office.refused("create", "a.test") == again
    assert office.refused("rotate", "a.test") == again
    office.mta("create", "a.test", "--algorithm", "rsa", "--selector", "mine")
    assert len(json.loads(office.mta("list", "--json"))) == 3
    assert office.mta("create", "b.test").count(" IN TXT ") == 2


def test_without_asking_the_dns(office: Office) -> None:
    office.configure(check_dns=False)
    assert office.mta("create", "a.test").endswith("When it is there: dkim rotate a.test --now\n")
    assert "new; publish it, then: dkim rotate a.test --now" in office.mta("list")


def test_mta_check_names_domains_whose_mail_is_not_signed(office: Office) -> None:
    config = office.directory / "mta.toml"
    assert unsigned(load(config)) == []  # the server has not been started yet
    office.mta("create", "a.test")
    office.mta("rotate", "a.test", "--now")
    assert unsigned(load(config)) == [
        "dkim: mail of b.test is not signed; publish its records, see: mta dkim show b.test"
    ]
    office.configure(enabled=False)
    assert unsigned(load(config)) == []


def test_the_last_key_is_retired(office: Office) -> None:
    office.mta("create", "a.test", "--algorithm", "rsa", "--selector", "x")
    office.mta("rotate", "a.test", "--now")
    assert "The server makes another one" in office.mta("retire", "a.test", "x")


def test_what_the_list_says_of_each_state(office: Office) -> None:
    office.mta("create", "a.test", "--algorithm", "ed25519", "--selector", "x")
    ring = office.ring()
    (key,) = ring.stored()
    for state, facts, words in (
        (ACTIVE, {"missing": 1e9}, "missing in the DNS since"),
        ("waiting", {"seen": 1e9}, "the DNS has it since"),
        (OLD, {}, "signs no more"),
        (RETIRED, {}, "done with"),
        (ACTIVE, {"domain": "gone.test"}, "not used, the domain is not ours any more"),
    ):
        ring.put([replace(key, state=state, **facts)])  # type: ignore[arg-type]
        assert words in office.mta("list")
    ring.close()
    office.configure(enabled=False)
    assert office.mta("list").startswith("Nothing is signed: dkim.enabled is false.")


def test_a_database_that_cannot_be_used(office: Office) -> None:
    office.mta("create", "a.test", "--algorithm", "rsa")
    path = office.directory / "data/dkim/keys.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE key")
        connection.execute("CREATE TABLE key (other TEXT)")
    assert "keys.sqlite cannot be used: " in office.refused("list")


@pytest.mark.parametrize(
    ("dkim", "words"),
    [
        ({"settle": "5m"}, "dkim.settle: not all name servers have a new record at once"),
        ({"rotate": "1d"}, "dkim.rotate: shorter than a key takes to be known"),
        ({"algorithms": []}, "dkim.algorithms: expected at least 1 entry"),
        ({"algorithms": ["dsa"]}, "dkim.algorithms"),
        ({"enable": True}, "dkim.enable: unknown key"),
    ],
)
def test_options_that_are_refused(tmp_path: Path, dkim: dict[str, object], words: str) -> None:
    (tmp_path / "mta.toml").write_text(to_toml({**CONFIG, "dkim": dkim}))
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "mta.toml")
    assert words in str(refused.value)
