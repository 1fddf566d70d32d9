"""Keys for SCRAM and app passwords: made, used, limited, taken back; what strangers can tell from them."""

import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quick_passwords import quick_hash
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import TestCase

from twisted_mta.directory import administration as administration_module
from twisted_mta.directory import directory as module
from twisted_mta.directory.administration import Administration
from twisted_mta.directory.app_passwords import MOST, SERVICES, generate, hash_of
from twisted_mta.directory.database import MIGRATIONS, DirectoryDatabase
from twisted_mta.directory.directory import Directory
from twisted_mta.directory.error import DirectoryError
from twisted_mta.directory.notebook import EXACT, Notebook
from twisted_mta.directory.scram_keys import ITERATIONS
from twisted_mta.protocol.sasl.scram import HASHES, Keys

ALICE = "alice@a.test"
SHA_256 = "SCRAM-SHA-256"


def proves(keys: Keys, password: str, mechanism: str = SHA_256) -> bool:
    return Keys.derive(mechanism, password, keys.salt, keys.iterations) == keys


class LoginTests(TestCase):
    async def setUp(self) -> None:
        for place in (module, administration_module):
            self.patch(place, "hash_password", quick_hash)
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "directory.sqlite"
        self.database = DirectoryDatabase(self.path)
        self.addCleanup(self.database.close)
        self.administration = Administration(self.database, ["a.test", "b.test"])
        self.administration.add_account(ALICE, "secret")
        await self.started()

    async def started(self, scram: str = "auto") -> None:
        self.directory = Directory(self.path, ["a.test", "b.test"], reactor=reactor, scram=scram)
        await self.directory.start()
        self.addCleanup(lambda: ensureDeferred(self.stopped()))

    async def stopped(self) -> None:
        directory, self.directory = self.directory, None
        if directory is not None:
            await directory.stop()

    async def keys(self, login: str = ALICE, mechanism: str = SHA_256, service: str = "imap") -> tuple:
        return await self.directory.scram_keys(login, mechanism, service)

    # SCRAM

    async def test_a_password_leaves_keys_that_prove_it(self) -> None:
        for mechanism in HASHES:
            (keys,) = await self.keys(mechanism=mechanism)
            self.assertTrue(proves(keys, "secret", mechanism))
            self.assertEqual(keys.iterations, ITERATIONS)
            self.assertEqual(await self.directory.account_of_keys("alice", mechanism, keys, "imap"), ALICE)
        self.assertTrue(self.directory.offers_scram())

    async def test_a_new_password_voids_the_keys_at_once(self) -> None:
        (old,) = await self.keys()
        self.administration.set_password(ALICE, "other")
        self.assertIsNone(await self.directory.account_of_keys(ALICE, SHA_256, old, "imap"))
        (new,) = await self.keys()
        self.assertTrue(proves(new, "other"))

    async def test_a_removed_account_has_none(self) -> None:
        (old,) = await self.keys()
        self.administration.remove_account(ALICE)
        self.assertIsNone(await self.directory.account_of_keys(ALICE, SHA_256, old, "imap"))
        (stand_in,) = await self.keys()
        self.assertNotEqual(stand_in, old)
        self.assertEqual(stand_in.salt, old.salt)  # nobody can see that the account is gone
        self.administration.add_account(ALICE, "third")
        self.assertEqual((await self.keys())[0].salt, old.salt)

    async def test_nobody_can_tell_an_unknown_name_from_a_known_one(self) -> None:
        (known,) = await self.keys()
        for login in ("nobody@a.test", "nobody", "", "x" * 100_000, "a\0b", "\udcff"):
            (first,), (second,) = await self.keys(login), await self.keys(login)
            self.assertEqual(first, second)
            self.assertEqual(first.iterations, known.iterations)
            for part in ("salt", "stored_key", "server_key"):
                self.assertEqual(len(getattr(first, part)), len(getattr(known, part)))
            self.assertIsNone(await self.directory.account_of_keys(login, SHA_256, first, "imap"))
        (sha_1,) = await self.keys("nobody", "SCRAM-SHA-1")
        self.assertEqual(len(sha_1.stored_key), 20)

    async def test_a_short_name_has_the_salt_of_a_full_one_whether_it_exists_or_not(self) -> None:
        for name in ("alice", "bob", "carol", "dave"):
            (short,) = await self.keys(name)
            full = [(await self.keys(f"{name}@{domain}"))[0].salt for domain in ("a.test", "b.test")]
            self.assertEqual(full.count(short.salt), 1)

    async def test_stand_ins_survive_a_restart_and_are_secret(self) -> None:
        (before,) = await self.keys("nobody@a.test")
        await self.stopped()
        await self.started()
        self.assertEqual(await self.keys("nobody@a.test"), (before,))
        (elsewhere,) = await self.elsewhere("nobody@a.test")
        self.assertNotEqual(before.salt, elsewhere.salt)

    async def elsewhere(self, login: str) -> tuple:
        with tempfile.TemporaryDirectory() as path:
            other = Directory(Path(path) / "directory.sqlite", ["a.test"], reactor=reactor)
            await other.start()
            try:
                return await other.scram_keys(login, SHA_256)
            finally:
                await other.stop()

    async def test_an_account_from_before_gets_keys_with_its_next_password_login(self) -> None:
        self.forget_keys()
        (stand_in,) = await self.keys()
        self.assertFalse(proves(stand_in, "secret"))
        self.assertFalse(self.directory.offers_scram())
        self.assertEqual(self.administration.accounts_without_keys(), [ALICE])
        self.assertIsNone(await self.directory.authenticate(ALICE, "wrong"))
        self.assertEqual(await self.directory.authenticate(ALICE, "secret"), ALICE)
        await self.stopped()  # writes what was noticed
        self.assertEqual(self.administration.accounts_without_keys(), [])
        await self.started()
        (keys,) = await self.keys()
        self.assertTrue(proves(keys, "secret"))
        self.assertEqual(keys.salt, stand_in.salt)
        self.assertTrue(self.directory.offers_scram())

    async def test_keys_of_a_password_that_was_changed_meanwhile_are_not_kept(self) -> None:
        self.forget_keys()
        self.assertEqual(await self.directory.authenticate(ALICE, "secret"), ALICE)
        with self.database.transaction():
            self.database.set_password(ALICE, quick_hash("other"))
        await self.stopped()
        self.assertEqual(self.administration.accounts_without_keys(), [ALICE])

    def forget_keys(self) -> None:
        with self.database.transaction():
            self.database.remove_scram_keys(ALICE)

    async def test_never_means_that_no_keys_are_kept_or_used(self) -> None:
        await self.stopped()
        await self.started("never")
        (keys,) = await self.keys()
        self.assertFalse(proves(keys, "secret"))
        self.assertFalse(self.directory.offers_scram())
        Administration(self.database, ["a.test"], scram=False).set_password(ALICE, "other")
        await self.directory.authenticate(ALICE, "other")
        await self.stopped()
        self.assertEqual(self.database.scram_keys(), [])

    # App passwords

    async def test_an_app_password_logs_in_at_its_services_only(self) -> None:
        password = self.administration.add_app_password(ALICE, "telephone", ["imap", "smtp"])
        for service in SERVICES:
            found = await self.directory.authenticate(ALICE, password, "192.0.2.1", service)
            self.assertEqual(found, ALICE if service in ("imap", "smtp") else None)
        self.assertIsNone(await self.directory.authenticate(ALICE, password))
        self.assertEqual(await self.directory.authenticate("alice", "secret", service="imap"), ALICE)

    async def test_it_costs_no_slow_hash(self) -> None:
        password = self.administration.add_app_password(ALICE, "telephone")
        self.patch(module, "verify", lambda prepared, stored: self.fail("a slow hash"))
        self.assertEqual(await self.directory.authenticate(ALICE, password, service="imap"), ALICE)
        typed = password.replace("-", " ").upper()
        self.assertEqual(await self.directory.authenticate(ALICE, typed, service="imap"), ALICE)

    async def test_it_is_of_no_use_to_others_and_not_once_it_is_removed(self) -> None:
        self.administration.add_account("bob@a.test", "secret")
        password = self.administration.add_app_password(ALICE, "telephone")
        self.assertIsNone(await self.directory.authenticate("bob", password, service="imap"))
        self.administration.remove_app_password(ALICE, "telephone")
        self.assertIsNone(await self.directory.authenticate(ALICE, password, service="imap"))

    async def test_scram_proves_an_app_password_too(self) -> None:
        password = self.administration.add_app_password(ALICE, "telephone", ["imap"])
        own, app = await self.keys()
        self.assertTrue(proves(own, "secret"))
        self.assertTrue(proves(app, password))
        self.assertEqual((own.salt, own.iterations), (app.salt, app.iterations))
        self.assertEqual(await self.keys(service="pop3"), (own,))
        self.assertEqual(await self.directory.account_of_keys(ALICE, SHA_256, app, "imap"), ALICE)
        self.assertIsNone(await self.directory.account_of_keys(ALICE, SHA_256, app, "pop3"))
        self.administration.set_password(ALICE, "other")  # the app password stays good
        self.assertEqual(await self.directory.account_of_keys(ALICE, SHA_256, app, "imap"), ALICE)
        self.administration.remove_app_password(ALICE, "telephone")
        self.assertIsNone(await self.directory.account_of_keys(ALICE, SHA_256, app, "imap"))

    async def test_the_last_use_is_written_once_for_many_logins(self) -> None:
        now = [1_000_000.0]
        written: list[int] = []
        notebook = Notebook(self.path, reactor=reactor, now=lambda: now[0])
        self.directory._notebook = notebook
        self.patch(DirectoryDatabase, "app_password_used", lambda db, a, n, used: written.append(used))
        password = self.administration.add_app_password(ALICE, "telephone")
        for _ in range(5):
            await self.directory.authenticate(ALICE, password, service="imap")
        await notebook.write()
        self.assertEqual(written, [1_000_000])

    async def test_the_last_use_is_shown(self) -> None:
        now = [1_000_000.0]
        notebook = Notebook(self.path, reactor=reactor, now=lambda: now[0])
        password = self.administration.add_app_password(ALICE, "telephone")
        (kept,) = self.administration.app_passwords(ALICE)
        self.assertIsNone(kept.used)
        notebook.used(ALICE, kept)
        await notebook.write()
        (kept,) = self.administration.app_passwords(ALICE)
        self.assertEqual(kept.used, 1_000_000)
        now[0] += EXACT - 1
        notebook.used(ALICE, kept)
        now[0] += 1
        await notebook.write()
        self.assertEqual(self.administration.app_passwords(ALICE), [kept])
        notebook.used(ALICE, kept)
        await notebook.write()
        self.assertEqual(self.administration.app_passwords(ALICE)[0].used, 1_000_000 + EXACT)
        self.assertNotIn(password, repr(kept))

    async def test_a_database_that_cannot_be_written_costs_a_note_and_no_login(self) -> None:
        self.path.chmod(0o600)
        notebook = Notebook(self.path.parent / "no such" / "place", reactor=reactor)
        self.administration.add_app_password(ALICE, "telephone")
        notebook.used(ALICE, self.administration.app_passwords(ALICE)[0])
        await notebook.write()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(administration_module, "hash_password", quick_hash)


@pytest.fixture
def administration(tmp_path: Path) -> Administration:
    made = Administration(DirectoryDatabase(tmp_path / "directory.sqlite"), ["a.test"])
    made.add_account(ALICE, "secret")
    return made


def test_what_is_not_an_app_password_is_refused_with_a_sentence(administration: Administration) -> None:
    administration.add_app_password(ALICE, "telephone")
    for name, services, sentence in (
        ("telephone", (), "already"),
        ("", (), "no name"),
        ("a\nb", (), "no name"),
        ("x" * 61, (), "no name"),
        ("tablet", ("imap", "ftp"), "ftp is no service"),
    ):
        with pytest.raises(DirectoryError, match=sentence):
            administration.add_app_password(ALICE, name, services)
    with pytest.raises(DirectoryError, match="no account"):
        administration.add_app_password("bob@a.test", "telephone")
    with pytest.raises(DirectoryError, match="no app password"):
        administration.remove_app_password(ALICE, "tablet")


def test_an_account_has_so_many_and_no_more(
    administration: Administration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(administration_module, "derive", lambda *_: {})
    for number in range(MOST):
        administration.add_app_password(ALICE, str(number))
    with pytest.raises(DirectoryError, match="remove one"):
        administration.add_app_password(ALICE, "one more")


def test_a_removed_account_leaves_nothing_behind(administration: Administration) -> None:
    administration.add_app_password(ALICE, "telephone")
    administration.remove_account(ALICE)
    administration.add_account(ALICE, "secret")
    assert administration.app_passwords(ALICE) == []


def test_app_passwords_differ_and_only_their_hash_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "directory.sqlite"
    administration = Administration(DirectoryDatabase(path), ["a.test"])
    administration.add_account(ALICE, "secret")
    first = administration.add_app_password(ALICE, "one")
    second = administration.add_app_password(ALICE, "two")
    assert first != second
    kept = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    for password in (first, second):
        assert password.encode() not in kept
        assert password.replace("-", "").encode() not in kept


@given(st.text())
def test_any_text_may_be_tried_as_an_app_password(text: str) -> None:
    assert hash_of(ALICE, text) is None or len(text) >= 28


def test_capitals_spaces_and_dashes_do_not_count() -> None:
    password = generate()
    bare = password.replace("-", "")
    assert len(bare) == 28
    assert hash_of(ALICE, password) == hash_of(ALICE, f" {bare.upper()} ") != hash_of("bob@a.test", password)
    assert hash_of(ALICE, bare[:-1]) is None
    assert hash_of(ALICE, bare + "0") is None


def test_a_database_of_version_2_is_brought_along(tmp_path: Path) -> None:
    path = tmp_path / "directory.sqlite"
    old = sqlite3.connect(path)
    for statements in MIGRATIONS[:2]:
        for statement in statements:
            old.execute(statement)
    old.execute("INSERT INTO account (address, password) VALUES (?, ?)", (ALICE, quick_hash("secret")))
    old.execute("PRAGMA user_version = 2")
    old.commit()
    old.close()
    administration = Administration(DirectoryDatabase(path), ["a.test"])
    assert administration.accounts_without_keys() == [ALICE]
    administration.set_password(ALICE, "other")
    assert administration.accounts_without_keys() == []
