"""Local delivery into the real store: what lies in the mailbox, and what a repeated delivery does."""

from pathlib import Path
from tempfile import TemporaryDirectory

from test_mda_delivery import BODY, House
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.outcome import Action, QueuedMessage, QueuedRecipient
from twisted_mta.store.quota import UNLIMITED, Limits
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.delivery import LocalDelivery

HEAD = b"Return-Path: <eve@far.test>\r\nDelivered-To: alice@a.test\r\n"


class StoreTests(TestCase):
    async def setUp(self):
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.store = await self.open_store()

    async def open_store(self, **how):
        store = MessageStore(self.directory / "mail", reactor=reactor, hostname="mx.a.test", **how)
        await store.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(store.stop()))
        return store

    async def deliver(self, *paths, **how):
        outcomes = await self.outcomes(*paths, **how)
        assert [outcome.action for outcome in outcomes] == [Action.DELIVERED] * len(paths)

    async def outcomes(self, *paths, content=Content(b"", BODY), recovered=False):
        mda = LocalDelivery(directory=House(), store=self.store, journey=Journey(), reactor=reactor)
        message = QueuedMessage("Q1", Address.parse("eve@far.test"), 1234.5, content, recovered=recovered)
        recipients = [QueuedRecipient(70 + n, Address.parse(path)) for n, path in enumerate(paths)]
        return await mda.deliver(message, recipients)

    async def inbox(self, account):
        mailbox = await (await self.store.account(account)).open("INBOX")
        contents = await mailbox.read(list(mailbox.uids))
        await mailbox.close()
        return contents

    async def test_everybody_has_a_copy_with_trace_fields(self):
        await self.deliver("alice@a.test", "bob@a.test", "Alice@a.test")
        assert await self.inbox("alice@a.test") == [HEAD + BODY]
        assert await self.inbox("bob@a.test") == [HEAD.replace(b"alice", b"bob") + BODY]

    async def test_a_delivery_repeated_after_a_crash_leaves_one_copy(self):
        await self.deliver("alice@a.test")
        await self.store.stop()
        self.store = await self.open_store()
        await self.deliver("alice@a.test", "bob@a.test", recovered=True)
        assert await self.inbox("alice@a.test") == [HEAD + BODY]
        assert len(await self.inbox("bob@a.test")) == 1

    async def test_a_spooled_message(self):
        path = self.directory / "spool"
        body = BODY + b"\xe4" * 70 + b"\r\n" + b".\r\n" * 1_000_000
        path.write_bytes(body)
        await self.deliver("alice@a.test", content=Content(b"Received: x\r\n", path=path))
        assert await self.inbox("alice@a.test") == [HEAD + b"Received: x\r\n" + body]

    async def test_what_does_not_fit_waits_in_the_queue_and_the_others_have_it(self):
        await self.store.stop()
        room = {"alice@a.test": Limits(octets=10)}
        self.store = await self.open_store(limits_of=lambda account: room.get(account, UNLIMITED))
        full, delivered = await self.outcomes("alice@a.test", "bob@a.test")
        assert (full.action, full.status, full.text) == (Action.DELAYED, "4.2.2", "Mailbox is full")
        assert delivered.action is Action.DELIVERED
        assert await self.inbox("alice@a.test") == []
        room.clear()
        await self.deliver("alice@a.test", "bob@a.test")
        assert len(await self.inbox("alice@a.test")) == len(await self.inbox("bob@a.test")) == 1
