"""What needs no visit to the lane, what waits for the next tick, and who works while a thread is away."""

import os
import threading

from store_case import ARRIVED, StoreCase
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from twisted_mta.store.errors import NoSuchMailbox, StorageFault
from twisted_mta.store.threads import Lane, Threads


class AtRestTests(StoreCase):
    def count_visits(self):
        visits = []
        lane = self.account._lane
        self.patch(lane, "run", lambda work, run=lane.run: visits.append(work) or run(work))
        return visits

    async def test_questions_are_answered_at_once_as_long_as_nothing_has_changed(self):
        await self.deliver(1, 2)
        mailbox, _ = await self.open()
        await mailbox.set_flags([1], "add", frozenset({"\\Seen", "$Work"}))
        os.utime(self.maildir(), (ARRIVED, ARRIVED))  # nothing can hide behind a time so long ago
        listed = await self.account.list_mailboxes()
        visits = self.count_visits()
        await mailbox.refresh()
        assert (await self.account.status("inbox")).unseen == 1
        assert await self.account.open("INBOX") is mailbox
        assert await self.account.list_mailboxes() == listed
        assert (await mailbox.set_flags([1], "add", frozenset({"\\Seen"}))).changed == []
        assert (await mailbox.set_flags([2], "remove", frozenset({"\\Seen"}))).changed == []
        assert visits == []
        assert (await mailbox.set_flags([1], "replace", frozenset({"\\Seen"}))).changed == [1]
        assert (await mailbox.set_flags([1, 2], "add", frozenset({"\\Seen"}))).changed == [2]
        assert len(visits) == 2

    async def test_behind_work_that_is_under_way_they_wait_for_it(self):
        await self.deliver(1)
        mailbox, _ = await self.open()
        flagging = Deferred.fromCoroutine(mailbox.set_flags([1], "add", frozenset({"\\Seen"})))
        assert (await mailbox.set_flags([1], "remove", frozenset({"\\Seen"}))).changed == [1]
        assert (await flagging).changed == [1]
        delivery = Deferred.fromCoroutine(self.deliver(2))
        assert (await self.account.status("INBOX")).messages == 2
        await delivery

    async def test_what_others_do_is_seen_all_the_same(self):
        mailbox, changes = await self.open()
        await self.account.list_mailboxes()
        (self.maildir("new") / "1.a.h").write_bytes(b"Subject: 1\n\n")
        await mailbox.refresh()
        assert changes[-1].added == (1,)
        for sub in ("", "cur", "new", "tmp"):
            (self.maildir(".Theirs") / sub).mkdir()
        assert "Theirs" in {info.name for info in await self.account.list_mailboxes()}

    async def test_a_mailbox_that_is_gone_is_not_at_hand(self):
        mailbox, _ = await self.open("Archive")
        self.maildir(".Archive").rename(self.root / "elsewhere")
        with self.assertRaises(NoSuchMailbox):
            await mailbox.refresh()
        assert mailbox.deleted

    async def test_what_is_recent_no_more_outlives_the_memory(self):
        await self.deliver(1, 2)
        mailbox, _ = await self.open()
        assert mailbox.claim_recent() == 1
        self.account.forget(mailbox)
        again = await self.account.open("INBOX")
        assert again is not mailbox and again.recent_from == 3
        assert again.claim_recent() == 3

    async def test_a_tick_does_not_tidy_an_account_that_is_being_tidied(self):
        """Names that follow for longer than a tick would else take more and more of the lane."""
        begun, upkeep = [], self.account.upkeep

        async def tidy():
            begun.append(Deferred())
            await begun[-1]

        self.patch(self.account, "tidy", tidy)
        for _ in range(3):
            upkeep.untidy(self.account)
            upkeep._tick()
        assert len(begun) == 1
        begun[0].callback(None)
        upkeep._tick()
        upkeep._tick()
        assert len(begun) == 2
        begun[1].callback(None)

    async def test_a_watcher_finds_nothing_at_rest_that_is_not_told_yet(self):
        """Of a move the source is told first: what the target has then, is not in memory yet."""
        await self.deliver(1)
        mailbox, _ = await self.open()
        target, _ = await self.open("Trash")
        found = []
        mailbox.watch(lambda change: found.append((len(target), self.account.is_at_rest)))
        await mailbox.move([1], "Trash")
        assert found == [(0, False)] and len(target) == 1 and self.account.is_at_rest


class AwayTests(TestCase):
    def setUp(self):
        self.threads = Threads(reactor)
        self.addCleanup(self.threads.stop)

    async def test_while_one_waits_for_the_disk_another_works(self):
        """The first piece of work ends only when the second has been done, which another lane has."""
        begun, synced, done = threading.Event(), threading.Event(), [Deferred(), Deferred()]

        def sync():
            begun.set()
            with self.threads.away():
                assert synced.wait(60)
            return lambda: done[0].callback(None)

        def other():
            synced.set()
            return lambda: done[1].callback(None)

        Lane(self.threads).run(sync)
        assert begun.wait(60)
        Lane(self.threads).run(other)
        for each in done:
            await each

    async def test_no_more_than_one_is_at_work_when_it_is_back(self):
        """Many lanes sync at a time; when all is done, nobody is left counted."""
        done = [Deferred() for _ in range(50)]

        def work(each):
            for _ in range(3):
                with self.threads.away():
                    pass
            return lambda: each.callback(None)

        for each in done:
            Lane(self.threads).run(lambda each=each: work(each))
        for each in done:
            await each
        self.threads.stop()
        assert (self.threads._active, self.threads._away) == (0, 0)
        with self.assertRaises(StorageFault):
            self.threads.run(lambda: None)
