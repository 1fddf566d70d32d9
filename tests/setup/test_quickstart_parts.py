"""The parts of the quickstart by themselves: what is found around, the configuration, the unit, the files."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from dictionary_resolver import FAILURE, DictionaryResolver
from process import ROOT
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_mta.interfaces import Found
from twisted_mta.resolver import ResolutionError
from twisted_mta.service.options.config import load
from twisted_mta.setup.finding import Finding
from twisted_mta.setup.quickstart.plan import Plan, configuration, table
from twisted_mta.setup.quickstart.staging import Staging
from twisted_mta.setup.quickstart.surroundings import dnssec, mail_so_far, names_of
from twisted_mta.setup.quickstart.unit import Unit

PLAN = Plan("mx.example.org", ("example.org",), "you@example.org", "reports@example.org", "/var/lib/mail")


def now(looking) -> Finding:  # type: ignore[no-untyped-def]
    found: list[Finding] = []
    Deferred.fromCoroutine(looking).addCallback(found.append)
    return found[0]


@pytest.mark.parametrize(
    ("names", "state", "words"),
    [
        (["mx.example.org"], "ok", "mx.example.org"),
        (["mx.example.org", "www.example.org"], "warning", "keep only mx.example.org"),
        (["dyn.isp.example"], "wrong", "called dyn.isp.example"),
        ([], "wrong", "it has none"),
        (FAILURE, "unknown", "try again"),
    ],
)
def test_the_name_of_an_address(names: object, state: str, words: str) -> None:
    resolver = DictionaryResolver(names={"5.45.100.7": names})
    found = now(names_of("5.45.100.7", "mx.example.org", resolver))
    assert found.state == state and words in found.text


@pytest.mark.parametrize(("secure", "state"), [(True, "ok"), (False, "warning")])
def test_whether_answers_are_validated(secure: bool, state: str) -> None:
    resolver = DictionaryResolver(exchanges={"signed.test": Found(((10, "mx.signed.test"),), secure)})
    assert now(dnssec("signed.test", "other.test", resolver)).state == state


def test_a_dead_dns_is_told_from_one_name_that_does_not_answer() -> None:
    dead = DictionaryResolver(exchanges={"signed.test": FAILURE, "other.test": FAILURE})
    half = DictionaryResolver(exchanges={"signed.test": FAILURE, "other.test": []})
    assert now(dnssec("signed.test", "other.test", half)).state == "unknown"
    failures: list[Failure] = []
    for silent in (dead, DictionaryResolver()):  # and one that denies everything
        Deferred.fromCoroutine(dnssec("signed.test", "other.test", silent)).addErrback(failures.append)
    assert [failure.check(ResolutionError) for failure in failures] == [ResolutionError] * 2


@pytest.mark.parametrize(
    ("texts", "state"),
    [
        ({}, "ok"),
        ({"example.org": ["v=spf1 mx ~all"], "_dmarc.example.org": ["v=DMARC1; p=quarantine"]}, "ok"),
        ({"example.org": ["v=spf1 include:other.test -all"]}, "warning"),
        ({"_dmarc.example.org": ["v=DMARC1; p=none"]}, "warning"),
        ({"example.org": ["some-site-verification=1"]}, "ok"),
        ({"example.org": FAILURE}, "unknown"),
    ],
)
def test_whose_mail_it_was(texts: dict[str, object], state: str) -> None:
    resolver = DictionaryResolver(exchanges={"example.org": [(10, "mx.example.org")]}, texts=texts)
    assert now(mail_so_far("example.org", "mx.example.org", resolver)).state == state


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        replace(PLAN, acme="https://acme.test/dir", six=False, nameservers=("127.0.0.1:5353",)),
        replace(PLAN, domains=("example.org", "xn--bcher-kva.example"), smarthost="smtps:isp.test:465"),
        replace(PLAN, data_dir='/var/lib/a "b" \\ ü'),
    ],
)
def test_the_configuration_says_what_was_decided(plan: Plan, tmp_path: Path) -> None:
    file = tmp_path / "mta.toml"
    file.write_text(configuration(plan))
    config = load(file)
    assert (config.hostname, config.domains, config.data_dir) == (plan.hostname, plan.domains, plan.data_dir)
    assert (config.tls.acme.directory, config.tls.self_signed) == (plan.acme, not plan.acme)
    assert str(config.relay.smarthost or "") == plan.smarthost
    assert all(
        line.isspace() or "#" in line or "[" in line for line in configuration(plan).split("\n") if line
    )
    assert max(map(len, configuration(plan).split("\n"))) <= 120


def unit(user: str = "twisted_mta", **places: str) -> Unit:
    etc = Path(places.get("etc", "/etc/twisted_mta"))
    return Unit(
        etc / "twisted_mta.service",
        Path(places.get("programs", "/opt/twisted_mta/bin")),
        etc / "mta.toml",
        Path(places.get("data", "/var/lib/twisted_mta")),
        user,
    )


def test_the_unit_in_etc_is_the_one_of_the_quickstart() -> None:
    assert (ROOT / "etc/twisted_mta.service").read_text() == unit().text()


def test_a_unit_for_other_places() -> None:
    text = unit(data="/srv/mail data", etc="/home/me/mail").text()
    assert "ReadWritePaths=/srv/mail\\x20data\n" in text and "StateDirectory" not in text
    assert "ProtectHome=read-only\n" in text


def test_systemd_takes_it(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("mta", "twistd"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    file = tmp_path / "twisted_mta.service"
    file.write_text(unit(user="root", programs=str(programs)).text())
    done = subprocess.run(
        [analyze, "verify", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert not [line for line in done.stderr.split("\n") if "twisted_mta.service" in line]


def test_files_never_take_the_place_of_others(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    for text, name in (("new", "a.new"), ("newer", "a.new.2"), ("new", "a.new")):
        with Staging(tmp_path) as files:
            files.add("a", text)
            assert files.place().beside == [(tmp_path / "a", tmp_path / name)]
        assert (tmp_path / name).read_text() == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.new", "a.new.2"]
    assert (tmp_path / "a").read_text() == "mine"


def test_columns() -> None:
    assert table([("a", "bb", "c"), ("x" * 9, "y", "")], widest=5) == ["a      bb  c", "xxxx…  y"]
