"""What the tests of the store share: a store in a temporary directory, an account without threads."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from twisted_mta.message.content import Content
from twisted_mta.store.deposit import Deposit, deposit
from twisted_mta.store.home import Home
from twisted_mta.store.maildir import NameSource
from twisted_mta.store.store import MessageStore

ALICE = "alice@a.test"
ARRIVED = 1_700_000_000.0


class ClockedReactor(Clock):
    """Time of the test, threads of the reactor."""

    callFromThread = reactor.callFromThread


def message(number, size=40):
    """A message with CRLF ends that tells its number."""
    return b"Subject: %d\r\n\r\n" % number + b"x" * size + b"\r\n"


def number_of(octets):
    """The number that `message` was made with."""
    return int(octets.split(b"\r\n", 1)[0].split(b":")[1])


class StoreCase(TestCase):
    """A started store at `self.root`, with `self.account`."""

    timeout = 60
    indexing = False  # nothing happens in the background

    def setUp(self):
        return Deferred.fromCoroutine(self.start())

    async def start(self):
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)
        await self.start_store()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.store.stop()))

    async def start_store(self, with_reactor=reactor):
        self.store = MessageStore(
            self.root / "mail", reactor=with_reactor, hostname="mx.a.test", indexing=self.indexing
        )
        await self.store.start()
        self.account = await self.store.account(ALICE)

    async def restart_store(self):
        await self.store.stop()
        await self.start_store()

    @property
    def home(self):
        """The account's directory."""
        return self.root / "mail" / "a.test" / "alice"

    def maildir(self, directory=""):
        """A mailbox's directory."""
        return self.home / "Maildir" / directory

    def files(self, directory=""):
        """The names of all message files of a mailbox, with `new` or `cur`."""
        base = self.maildir(directory)
        return sorted(f"{sub}/{name}" for sub in ("new", "cur") for name in os.listdir(base / sub))

    async def deliver(self, *numbers, **how):
        """Messages with these numbers, all at once; their UIDs."""
        how = {"arrived": ARRIVED, **how}
        return await gatherResults(
            [
                Deferred.fromCoroutine(
                    self.store.deliver(ALICE, Content(b"", message(number)), unique=f"m{number}", **how)
                )
                for number in numbers
            ]
        )

    async def open(self, name="INBOX"):
        """An open mailbox, and the list of changes it tells."""
        mailbox = await self.account.open(name)
        changes = []
        mailbox.watch(changes.append)
        return mailbox, changes

    async def numbers(self, name):
        """The numbers of the messages in a mailbox, by UID."""
        mailbox = await self.account.open(name)
        found = await mailbox.read(mailbox.uids)
        await mailbox.close()
        return {uid: number_of(octets) for uid, octets in zip(mailbox.uids, found, strict=True)}

    async def refused(self, kind, awaitable):
        """The StoreError of that kind that it ends with."""
        try:
            await awaitable
        except kind as error:
            return error
        raise AssertionError(f"not refused with {kind}")


class Bench:
    """One account without threads: the lane's side of the store, called directly."""

    def __init__(self, path, boot="first boot"):
        self.path = Path(path)
        self.now = ARRIVED
        self.reports = []
        self.names = NameSource("mx.a.test", "token", lambda: self.now)
        self.boot(boot)

    def boot(self, boot):
        """The account as after a start, without the end of the last one."""
        self.home = Home(str(self.path), self.names, boot, self.reports.append)

    def put(self, *numbers, mailbox="INBOX", **how):
        """Messages with these numbers: their UIDs."""
        deposits = [
            Deposit(mailbox, Content(b"", message(number)), f"{int(ARRIVED)}.m{number}.mx.a.test", **how)
            for number in numbers
        ]
        results = deposit(self.home, deposits)
        for result in results:
            if isinstance(result, Exception):
                raise result
        return [result.uid for result in results]

    def folder(self, name="INBOX"):
        """A mailbox at work, up to date."""
        folder = self.home.folder(name)
        folder.refresh()
        return folder

    def uids(self, name="INBOX"):
        """UID -> base name."""
        folder = self.folder(name)
        return {row.uid: row.name for row in self.home.index.messages(folder.id)}
