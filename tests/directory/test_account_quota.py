"""Limits of an account's own: kept in the directory, seen by a running one."""

import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from twisted_mta.directory.administration import Administration
from twisted_mta.directory.database import MIGRATIONS, DirectoryDatabase
from twisted_mta.directory.directory import Directory
from twisted_mta.directory.error import DirectoryError

ALICE = "alice@a.test"


def administration(path):
    return Administration(DirectoryDatabase(path / "directory.sqlite"), ["a.test"])


def test_each_resource_has_a_limit_none_or_the_configured_one(tmp_path):
    admin = administration(tmp_path)
    admin.add_account(ALICE, "secret")
    assert admin.quota("Alice@a.test") == (ALICE, {})
    admin.set_quota(ALICE, {"storage": 5, "messages": "none"})
    assert admin.quota(ALICE) == (ALICE, {"storage": 5, "messages": None})
    admin.set_quota(ALICE, {"storage": "default", "messages": 0})
    assert admin.quota(ALICE) == (ALICE, {"messages": 0})
    with pytest.raises(DirectoryError, match="no account"):
        admin.set_quota("bob@a.test", {"storage": 5})
    admin.remove_account(ALICE)
    admin.add_account(ALICE, "secret")
    assert admin.quota(ALICE) == (ALICE, {})


def test_a_database_of_the_first_version_is_brought_up_to_date(tmp_path):
    connection = sqlite3.connect(tmp_path / "directory.sqlite")
    for statement in MIGRATIONS[0]:
        connection.execute(statement)
    connection.execute("INSERT INTO account (address, password) VALUES (?, 'x')", (ALICE,))
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    admin = administration(tmp_path)
    admin.set_quota(ALICE, {"storage": 7})
    assert administration(tmp_path).quota(ALICE) == (ALICE, {"storage": 7})


class RunningTests(TestCase):
    async def test_a_change_counts_after_the_next_look(self):
        with TemporaryDirectory() as path:
            admin = administration(Path(path))
            admin.add_account(ALICE, "secret")
            directory = Directory(Path(path) / "directory.sqlite", ["a.test"], reactor=reactor)
            await directory.start()
            self.addCleanup(lambda: Deferred.fromCoroutine(directory.stop()))
            assert directory.quota(ALICE) == {}
            admin.set_quota(ALICE, {"storage": 7, "messages": "none"})
            await directory.refresh()
            assert directory.quota(ALICE) == {"storage": 7, "messages": None}
            assert directory.quota("bob@a.test") == {}
