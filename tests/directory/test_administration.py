"""Changes to the directory, and its database."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from twisted_mta.directory.administration import Administration
from twisted_mta.directory.database import DirectoryDatabase
from twisted_mta.directory.error import DirectoryError
from twisted_mta.directory.snapshot import Snapshot
from twisted_mta.message.address import Address


@pytest.fixture
def database(tmp_path: Path) -> Iterator[DirectoryDatabase]:
    opened = DirectoryDatabase(tmp_path / "directory.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def administration(database: DirectoryDatabase) -> Administration:
    return Administration(database, ["a.test", "b.test"])


def test_accounts_come_and_go(administration: Administration, database: DirectoryDatabase) -> None:
    assert administration.add_account("Alice@A.test", "one") == "alice@a.test"
    administration.add_account("aaron@a.test", "two")
    assert administration.accounts() == ["alice@a.test", "aaron@a.test"]
    before = dict(database.accounts())
    assert administration.set_password("ALICE@a.test", "three") == "alice@a.test"
    after = dict(database.accounts())
    assert after["alice@a.test"] != before["alice@a.test"]
    assert after["aaron@a.test"] == before["aaron@a.test"]
    assert administration.remove_account("alice@a.test") == "alice@a.test"
    assert administration.accounts() == ["aaron@a.test"]


def test_aliases_come_and_go(administration: Administration) -> None:
    administration.add_alias("Sales@a.test", ["Bob@B.test", "Someone@elsewhere.test"])
    administration.add_alias("sales@a.test", ["carol@a.test", "bob@b.test"])
    targets = ["Someone@elsewhere.test", "bob@b.test", "carol@a.test"]
    assert administration.aliases() == {"sales@a.test": targets}
    administration.remove_alias("SALES@a.test")
    assert administration.aliases() == {}


@pytest.mark.parametrize(
    "address",
    ["alice", "alice@", "@a.test", "alice@c.test", "a/b@a.test", '".."@a.test', '"a b"@a.test', "../x@a.test",
     "a+b@a.test", "-a@a.test", ".a@a.test", "a%b@a.test", "a@[127.0.0.1]", "é@a.test", "x" * 65 + "@a.test"],
)  # fmt: skip
def test_names_that_cannot_be_accounts(administration: Administration, address: str) -> None:
    with pytest.raises(DirectoryError):
        administration.add_account(address, "secret")
    assert administration.accounts() == []


def test_an_unknown_domain_is_refused_with_those_there_are(administration: Administration) -> None:
    with pytest.raises(DirectoryError, match=r"c\.test is not a domain of this server.*a\.test, b\.test"):
        administration.add_account("alice@c.test", "secret")


def test_what_is_there_or_not_there_is_said(administration: Administration) -> None:
    administration.add_account("alice@a.test", "secret")
    administration.add_alias("sales@a.test", ["alice@a.test"])
    for refused, sentence in (
        (lambda: administration.add_account("Alice@a.test", "x"), "exists already"),
        (lambda: administration.add_account("sales@a.test", "x"), "is an alias"),
        (lambda: administration.add_account("bob@a.test", ""), "empty"),
        (lambda: administration.add_alias("alice@a.test", ["bob@b.test"]), "is an account"),
        (lambda: administration.add_alias("x@a.test", ["X@a.test"]), "itself"),
        (lambda: administration.add_alias("x@c.test", ["alice@a.test"]), "not a domain"),
        (lambda: administration.add_alias("x@a.test", ["alice"]), "not an address"),
        (lambda: administration.set_password("bob@a.test", "x"), "no account"),
        (lambda: administration.remove_account("sales@a.test"), "no account"),
        (lambda: administration.remove_alias("alice@a.test"), "no alias"),
    ):
        with pytest.raises(DirectoryError, match=sentence):
            refused()
    assert administration.accounts() == ["alice@a.test"]
    assert administration.aliases() == {"sales@a.test": ["alice@a.test"]}


def test_data_version_tells_of_the_changes_of_others(database: DirectoryDatabase) -> None:
    before = database.data_version()
    assert database.data_version() == before
    other = DirectoryDatabase(database.path)
    other.add_account("alice@a.test", "hash")
    other.close()
    assert database.data_version() != before


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "directory.sqlite"
    DirectoryDatabase(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DirectoryError, match="later release"):
        DirectoryDatabase(path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "directory.sqlite"
    path.write_bytes(b"this is no database, and it is long enough to be sure" * 50)
    with pytest.raises(DirectoryError, match="cannot open the directory"):
        DirectoryDatabase(path)


def test_nothing_of_a_failed_change_stays(database: DirectoryDatabase) -> None:
    with pytest.raises(ZeroDivisionError), database.transaction():
        database.add_account("alice@a.test", "hash")
        raise ZeroDivisionError
    assert database.accounts() == []


def test_a_target_that_needs_quotes_is_kept_so_that_it_can_be_read(
    administration: Administration, database: DirectoryDatabase
) -> None:
    administration.add_alias("x@a.test", ['"A b"@A.test'])
    found = Snapshot.of([], database.aliases()).resolve(Address("x", "a.test"))
    assert found is not None
    assert found.aliases == (Address("a b", "a.test"),)
    with pytest.raises(DirectoryError, match="itself"):
        administration.add_alias('"a b"@a.test', ['"A b"@a.test'])
