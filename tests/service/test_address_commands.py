"""`mta domain alias`, `mta list` and `mta alias`, as an administrator types them; and the options that go
with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from process import to_toml

from twisted_mta.directory.database import DirectoryDatabase
from twisted_mta.service.commands.cli import main
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import load
from twisted_mta.service.wiring.address import read_keys

CONFIG = {
    "hostname": "mx.a.test",
    "data_dir": "data",
    "domains": ["a.test", "b.test"],
    "listen": {"smtp": ["127.0.0.1:2525"]},
}


class Office:
    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.file = directory / "mta.toml"
        self.file.write_text(to_toml(CONFIG))
        self.capsys = capsys
        (directory / "data").mkdir(mode=0o700)
        database = DirectoryDatabase(directory / "data" / "directory.sqlite")
        for name in ("alice@a.test", "bob@a.test"):
            database.add_account(name, "no hash")
        database.close()

    def mta(self, *arguments: str) -> str:
        assert main(["--config", str(self.file), *arguments]) == 0
        return self.capsys.readouterr().out

    def refused(self, *arguments: str) -> str:
        assert main(["--config", str(self.file), *arguments]) == 1
        said = self.capsys.readouterr()
        assert said.out == "" and said.err.startswith("mta: ") and said.err.count("\n") == 1
        return said.err


@pytest.fixture
def office(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Office:
    return Office(tmp_path, capsys)


def test_domains_that_stand_for_others(office: Office) -> None:
    assert "see: domain alias add" in office.mta("domain", "alias", "list")
    assert office.mta("domain", "alias", "add", "B.test", "a.test") == "b.test stands for a.test\n"
    assert office.mta("domain", "alias", "list") == "b.test: a.test\n"
    assert json.loads(office.mta("domain", "alias", "list", "--json")) == {"b.test": "a.test"}
    assert "b.test stands for a.test" not in office.refused("domain", "alias", "add", "c.test", "a.test")
    assert office.mta("domain", "alias", "remove", "b.test") == "b.test stands for itself\n"


def test_lists(office: Office) -> None:
    assert "see: list add" in office.mta("list", "list")
    members = ["--member", "bob@a.test", "--member=eve@far.test"]
    made = office.mta(
        "list", "add", "team@a.test", "--owner", "alice@a.test", *members, "--title", "The team"
    )
    assert made == "list team@a.test added, 2 members\n"
    assert office.mta("list", "list") == "team@a.test: 2 members, owner alice@a.test\n"
    changed = office.mta(
        "list", "change", "team@a.test", "--posting=anyone", "--rewrite-from=yes", "--replies=list"
    )
    assert changed == "list team@a.test changed\n"
    assert (
        office.mta("list", "member", "add", "team@a.test", "cy@far.test")
        == "list team@a.test has 3 members\n"
    )
    assert (
        office.mta("list", "member", "remove", "team@a.test", "bob@a.test")
        == "list team@a.test has 2 members\n"
    )
    assert office.mta("list", "show", "team@a.test") == (
        "team@a.test (The team)\n"
        "  owner: alice@a.test\n"
        "  posting: anyone; replies: to the list\n"
        "  from: the list\n"
        "  members: 2\n"
        "    cy@far.test\n"
        "    eve@far.test\n"
    )
    facts = {
        "address": "team@a.test",
        "owner": "alice@a.test",
        "title": "The team",
        "posting": "anyone",
        "replies": "list",
        "rewrite_from": True,
        "members": ["cy@far.test", "eve@far.test"],
    }
    assert json.loads(office.mta("list", "show", "team@a.test", "--json")) == facts
    assert json.loads(office.mta("list", "list", "--json")) == [facts]
    assert "there is no list staff@a.test" in office.refused("list", "show", "staff@a.test")
    assert office.mta("list", "remove", "team@a.test") == "list team@a.test removed\n"
    with pytest.raises(SystemExit):
        main(["--config", str(office.file), "list", "add", "team@a.test"])


def test_aliases_in_a_circle_and_for_everything(office: Office) -> None:
    office.mta("alias", "add", "x@a.test", "y@a.test")
    assert "mail would go round: y@a.test → x@a.test → y@a.test" in office.refused(
        "alias", "add", "y@a.test", "x@a.test"
    )
    assert office.mta("alias", "add", "@b.test", "bob@a.test") == "alias @b.test added\n"
    assert json.loads(office.mta("alias", "list", "--json")) == {
        "@b.test": ["bob@a.test"],
        "x@a.test": ["y@a.test"],
    }
    assert office.mta("alias", "remove", "@B.test") == "alias @b.test removed\n"


def test_separators_count_for_circles(office: Office) -> None:
    office.file.write_text(to_toml({**CONFIG, "addresses": {"separators": ["+", "-"]}}))
    assert "mail would go round" in office.refused("alias", "add", "x@a.test", "x-1@a.test")
    office.file.write_text(to_toml({**CONFIG, "addresses": {"separators": []}}))
    office.mta("alias", "add", "x@a.test", "x+1@a.test")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"addresses": {"separators": ["x"]}}, "addresses.separators"),
        ({"addresses": {"separators": ["+-"]}}, "addresses.separators"),
        ({"addresses": {"separator": ["+"]}}, "addresses.separator: unknown key"),
        ({"forwarding": {"srs_domain": "c.test"}}, "forwarding.srs_domain: c.test is in none of `domains`"),
        ({"forwarding": {"srs": "yes"}}, "forwarding.srs: expected true or false"),
        ({"quota": {"warnings": [0]}}, "quota.warnings"),
        ({"quota": {"warnings": [101]}}, "quota.warnings"),
    ],
)
def test_options_that_are_refused(tmp_path: Path, section: dict[str, object], words: str) -> None:
    path = tmp_path / "mta.toml"
    path.write_text(to_toml({**CONFIG, **section}))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert words in str(caught.value)


def test_options_that_mean_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mta.toml"
    more = {"forwarding": {"srs_domain": ""}, "quota": {"warnings": []}, "addresses": {"separators": []}}
    path.write_text(to_toml({**CONFIG, **more}))
    config = load(path)
    assert config.forwarding.srs_domain is None and config.quota.warnings == () == config.addresses.separators


def test_the_keys_are_made_once_and_nobody_else_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    (made,) = read_keys(path)
    assert len(made) == 32 and path.stat().st_mode & 0o777 == 0o600
    assert read_keys(path) == (made,)
    path.write_text(f"{'ab' * 16}\n{path.read_text()}")
    assert read_keys(path) == (b"\xab" * 16, made)
    for wrong in ("", "abcd\n", "not hexadecimal\n"):
        path.write_text(wrong)
        with pytest.raises(ConfigError):
            read_keys(path)
