"""The directory of a running server: changes by other processes, logins and what is remembered of them."""

import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from twisted_mta.directory import directory as module
from twisted_mta.directory.administration import Administration
from twisted_mta.directory.credentials import LIFETIME, MOST, RememberedCredentials
from twisted_mta.directory.database import DirectoryDatabase
from twisted_mta.directory.directory import Directory
from twisted_mta.interfaces import IDirectory
from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError

ALICE = Address.parse("alice@a.test")


class DirectoryTests(TestCase):
    async def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name) / "directory.sqlite"
        database = DirectoryDatabase(path)
        self.addCleanup(database.close)
        self.administration = Administration(database, ["a.test", "b.test"])
        self.administration.add_account("alice@a.test", "secret")
        self.hashed: list[str] = []
        self.patch(module, "verify", self.verify)
        self.directory = Directory(path, ["a.test", "b.test"], reactor=reactor)
        await self.directory.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.directory.stop()))

    def verify(self, prepared: str, stored: str) -> bool:
        """The real one, counted."""
        self.hashed.append(prepared)
        return self.real_verify(prepared, stored)

    real_verify = staticmethod(module.verify)

    async def test_it_is_what_it_says(self) -> None:
        verifyObject(IDirectory, self.directory)
        self.assertTrue(self.directory.is_local("a.test"))
        self.assertFalse(self.directory.is_local("c.test"))
        self.assertIsNone(await self.directory.resolve(Address("alice", "c.test")))
        self.assertTrue(await self.directory.owns("alice@a.test", ALICE))
        self.assertFalse(await self.directory.owns("alice@a.test", Address("alice", "c.test")))

    async def test_changes_count_from_the_next_lookup_on(self) -> None:
        bob = Address.parse("bob@b.test")
        self.assertIsNone(await self.directory.resolve(bob))
        self.administration.add_account("bob@b.test", "secret")
        found = await self.directory.resolve(bob)
        assert found is not None
        self.assertEqual(found.account, "bob@b.test")
        self.administration.remove_account("bob@b.test")
        self.assertIsNone(await self.directory.resolve(bob))

    async def test_lookups_that_meet_a_change_all_see_it(self) -> None:
        self.administration.add_account("bob@b.test", "secret")
        bob = Address.parse("bob@b.test")
        first = [Deferred.fromCoroutine(self.directory.resolve(bob)) for _ in range(5)]
        self.administration.add_alias("bobby@b.test", ["bob@b.test"])
        bobby = Address.parse("bobby@b.test")
        second = [Deferred.fromCoroutine(self.directory.resolve(bobby)) for _ in range(5)]
        self.assertNotIn(None, await gatherResults(first + second))

    async def test_login(self) -> None:
        for login in ("alice@a.test", "ALICE@A.TEST", "alice"):
            self.assertEqual(await self.directory.authenticate(login, "secret"), "alice@a.test")
        for login in ("alice@a.test", "alice@b.test", "", "x" * 100_000, "a\0b", "\udcff"):
            self.assertIsNone(await self.directory.authenticate(login, "wrong"))

    async def test_an_unknown_login_costs_a_hash_like_a_wrong_password(self) -> None:
        """Acceptance 31."""
        await self.directory.authenticate("alice@a.test", "wrong")
        await self.directory.authenticate("nobody@a.test", "wrong")
        self.assertEqual(self.hashed, ["wrong", "wrong"])

    async def test_what_cannot_be_a_password_costs_nothing(self) -> None:
        for password in ("", "a\0b", "\udcff", "x" * 1_000_000):
            self.assertIsNone(await self.directory.authenticate("alice@a.test", password))
        self.assertEqual(self.hashed, [])

    async def test_a_good_login_is_remembered_a_bad_one_is_not(self) -> None:
        for _ in range(3):
            await self.directory.authenticate("alice@a.test", "secret")
        self.assertEqual(self.hashed, ["secret"])
        for _ in range(2):
            self.assertIsNone(await self.directory.authenticate("alice@a.test", "wrong"))
        self.assertEqual(self.hashed, ["secret", "wrong", "wrong"])

    async def test_a_new_password_voids_what_is_remembered(self) -> None:
        await self.directory.authenticate("alice@a.test", "secret")
        self.administration.set_password("alice@a.test", "other")
        self.assertIsNone(await self.directory.authenticate("alice@a.test", "secret"))
        self.assertEqual(await self.directory.authenticate("alice@a.test", "other"), "alice@a.test")

    async def test_a_removed_account_is_forgotten(self) -> None:
        await self.directory.authenticate("alice@a.test", "secret")
        self.administration.remove_account("alice@a.test")
        self.assertIsNone(await self.directory.authenticate("alice@a.test", "secret"))

    async def test_a_password_changed_while_it_is_verified_is_the_old_one(self) -> None:
        pending = Deferred.fromCoroutine(self.directory.authenticate("alice@a.test", "secret"))
        self.administration.set_password("alice@a.test", "other")
        self.assertIsNone(await pending)

    async def test_too_many_logins_at_once_are_told_to_come_back(self) -> None:
        self.patch(module, "MOST_WAITING", 2)
        pending = [
            Deferred.fromCoroutine(self.directory.authenticate("alice@a.test", f"wrong{n}")) for n in range(2)
        ]
        with self.assertRaises(MailError) as raised:
            await self.directory.authenticate("alice@a.test", "secret")
        self.assertFalse(raised.exception.permanent)
        await gatherResults(pending)
        self.assertEqual(await self.directory.authenticate("alice@a.test", "secret"), "alice@a.test")

    async def test_no_peer_gets_more_than_its_share_of_the_queue(self) -> None:
        self.patch(module, "MOST_OF_ONE_PEER", 2)
        guesses = [
            Deferred.fromCoroutine(self.directory.authenticate("alice@a.test", f"wrong{n}", "192.0.2.1"))
            for n in range(3)
        ]
        refused = await self.assertFailure(guesses[2], MailError)
        self.assertFalse(refused.permanent)
        found = await self.directory.authenticate("alice@a.test", "secret", "192.0.2.2")
        self.assertEqual(found, "alice@a.test")
        await gatherResults(guesses[:2])
        self.assertIsNone(await self.directory.authenticate("alice@a.test", "wrong", "192.0.2.1"))


def test_remembered_credentials_expire_and_are_bounded() -> None:
    now = [0.0]
    remembered = RememberedCredentials(lambda: now[0])
    digest = remembered.digest("alice@a.test", "secret", "hash")
    assert not remembered.knows(digest)
    remembered.remember(digest)
    now[0] = LIFETIME - 1
    assert remembered.knows(digest)
    now[0] = LIFETIME
    assert not remembered.knows(digest)
    for number in range(MOST + 1):
        remembered.remember(number.to_bytes(4, "big"))
    assert not remembered.knows((0).to_bytes(4, "big"))
    assert remembered.knows((1).to_bytes(4, "big"))


def test_the_parts_of_a_digest_do_not_run_into_each_other() -> None:
    remembered = RememberedCredentials(lambda: 0.0)
    digests = {
        remembered.digest(*parts)
        for parts in (("a", "bc", "d"), ("ab", "c", "d"), ("a", "c", "db"), ("a", "b", "cd"))
    }
    assert len(digests) == 4
    other_process = RememberedCredentials(lambda: 0.0)
    assert other_process.digest("a", "bc", "d") not in digests
