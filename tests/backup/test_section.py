"""A section of a snapshot: second thoughts about what is in it already, and file systems without links."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from twisted_mta.backup import manifest
from twisted_mta.backup.copying import Section, Tally
from twisted_mta.backup.snapshots import DATA, manifest_path

BOX = "mail/a.test/bob/Maildir"


class Case:
    """A data directory, and snapshots of one section of it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / "data"
        (self.data / BOX / "cur").mkdir(parents=True)
        self.tally = Tally()

    def write(self, name: str, text: str) -> str:
        path = f"{BOX}/cur/{name}"
        (self.data / path).write_text(text)
        os.utime(self.data / path, ns=(10**18, 10**18))
        return path

    def section(self, snapshot: str, *earlier: str) -> Section:
        self.tally = Tally()
        others = [str(self.home / other) for other in earlier]
        return Section("bob", str(self.data), str(self.home / snapshot), others, self.tally)

    def listed(self, snapshot: str) -> dict[str, manifest.Entry]:
        found = manifest.read(manifest_path(str(self.home / snapshot), "bob"))
        return {entry.path: entry for entry in found}

    def text(self, snapshot: str, path: str) -> str:
        return (self.home / snapshot / DATA / path).read_text()


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_message_that_got_a_flag_meanwhile(case: Case) -> None:
    old, new = case.write("1", "one"), f"{BOX}/cur/1:2,S"
    section = case.section("first")
    assert section.file(old)
    section.rename(old, new)
    assert not section.has(old) and section.has(new)
    assert section.finish()[:2] == (1, 3)
    assert case.listed("first").keys() == {new} and case.text("first", new) == "one"


def test_what_is_gone_meanwhile(case: Case) -> None:
    kept, gone = case.write("1", "one"), case.write("2", "two")
    section = case.section("first")
    assert section.file(kept) and section.file(gone)
    section.directory(f"{BOX}/.Old")
    section.drop(gone)
    section.drop(f"{BOX}/.Old")
    assert section.finish()[:2] == (1, 3)
    assert (case.tally.files, case.tally.octets) == (1, 3)
    assert case.listed("first").keys() == {kept}
    assert not (case.home / "first" / DATA / BOX / ".Old").exists()


def test_one_file_of_two_names_is_copied_once(case: Case) -> None:
    first, second = case.write("1", "one"), f"{BOX}/cur/2"
    os.link(case.data / first, case.data / second)
    section = case.section("first")
    assert section.file(first) and section.file(second)
    section.finish()
    assert (case.tally.files, case.tally.copied) == (2, 1)
    assert case.text("first", second) == "one"


def test_a_symbolic_link_stays_one(case: Case) -> None:
    os.symlink("1", case.data / BOX / "newest")
    section = case.section("first")
    assert section.file(f"{BOX}/newest")
    section.finish()
    assert case.listed("first")[f"{BOX}/newest"].target == "1"
    assert os.readlink(case.home / "first" / DATA / BOX / "newest") == "1"


def test_without_links_everything_is_copied_again(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    path, database = case.write("1", "one"), f"{BOX}/index.sqlite"
    with closing(sqlite3.connect(case.data / database)) as opened:
        opened.execute("CREATE TABLE seen (number)")
    for snapshot, earlier in (("first", ()), ("second", ("first",))):
        section = case.section(snapshot, *earlier)
        assert section.file(path) and section.database(database)
        section.finish()
        assert case.tally.copied == 2
        monkeypatch.setattr(os, "link", no_links)
    assert case.text("second", path) == "one"
    first, second = ((case.home / name / DATA / database).read_bytes() for name in ("first", "second"))
    assert first == second
