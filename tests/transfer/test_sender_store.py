"""What is remembered of senders, over a restart, beside another process that changes the lists, and when the
file is damaged."""

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from twisted_mta.message.address import Address
from twisted_mta.trust.abuse.ledger import DATABASE, SenderDatabase, SenderStore
from twisted_mta.trust.abuse.memory import Memory
from twisted_mta.trust.abuse.senders import Sender, SenderEntry, SenderLists

SENDER = Sender((Address("eve", "far.test"),))


class SenderStoreTests(TestCase):
    async def setUp(self):
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / DATABASE

    async def opened(self):
        memory, lists = Memory(10), SenderLists()
        store = SenderStore(self.path, memories={"kind": memory}, lists=lists, reactor=reactor)
        await store.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(store.stop()))
        return memory, lists, store

    async def test_a_restart(self):
        now = reactor.seconds()
        memory, _, store = await self.opened()
        memory.put("a", now, now + 1000)
        memory.put("b", now, now + 1000)
        await store._exchange()
        memory.drop("b")
        memory.put("c", now, now - 1)
        await store.stop()
        memory, _, _ = await self.opened()
        assert memory.keys(now) == ["a"]

    async def test_lists_that_another_process_changes_and_entries_of_its_own(self):
        other = SenderDatabase(self.path)
        self.addCleanup(other.close)
        other.put(SenderEntry("", "far.test", "deny"))
        _, lists, store = await self.opened()
        assert lists.word("", SENDER)[0] == "deny"
        other.remove("", "far.test")
        await store._exchange()
        assert lists.word("", SENDER)[0] is None
        await store.put(SenderEntry("bob@a.test", "eve@far.test", "deny"))
        assert lists.word("bob@a.test", SENDER)[0] == "deny"
        assert [entry.subject for entry in other.entries()] == ["eve@far.test"]

    async def test_a_damaged_file_is_put_aside(self):
        self.path.write_bytes(b"no database at all, but long enough to be taken for a bad one" * 100)
        memory, _, store = await self.opened()
        await store.stop()
        assert self.path.with_suffix(".sqlite.damaged").exists() and not len(memory)
