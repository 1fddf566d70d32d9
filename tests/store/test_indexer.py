"""The background indexer, on a store with threads."""

import os
from contextlib import closing

from store_case import ALICE, ARRIVED, StoreCase
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from twisted_mta.message.content import Content
from twisted_mta.store import indexer
from twisted_mta.store.fulltext import Fulltext
from twisted_mta.store.home import Home
from twisted_mta.store.portions import CAPACITY, LARGE
from twisted_mta.store.store import MessageStore


def coroutine(test):
    return lambda self: Deferred.fromCoroutine(test(self))


class IndexerCase(StoreCase):
    indexing = True

    def setUp(self):
        self.patch(indexer, "GATHER", 0.0)
        self.patch(indexer, "REST_BUSY", 0.1)
        self.render = None
        return super().setUp()

    @property
    def path(self):
        return str(self.home / "fulltext.sqlite")

    async def find(self, mailbox, wanted, where="body"):
        """The UIDs, once everything is indexed, and the indexer has let go of the full text: it has another
        look behind each slice, and one for every arrival that it was told of while it worked."""
        while True:
            found, unknown = await mailbox.find_text(mailbox.uids, where, wanted)
            if not unknown:
                break
        while self.account.indexer._running or self.account.indexer._start is not None:
            await self.account.visit(Home.open)
        return found

    def held(self, mailbox):
        """How many emails are in the full text, and whether they are those of the mailbox. Nobody else may
        have it open: it is all in one file then, while a search and the indexer that close it at the same
        moment leave its log, as neither is the last."""
        with closing(Fulltext(self.path, self.account.epoch)) as text:
            return len(text.emails()), text.emails() == set(mailbox.columns.emails)


class IndexerTests(IndexerCase):
    @coroutine
    async def test_what_is_delivered_is_found(self):
        await self.deliver(*range(100, 200))
        mailbox, _ = await self.open()
        assert await self.find(mailbox, "subject: 14", "text") == list(range(41, 51))
        assert await self.find(mailbox, "XXX") == list(range(1, 101))
        assert await self.find(mailbox, "14") == []
        assert await mailbox.find_header([50, 1, 49, 999], "SUBJECT", "14") == ([50, 49], [])
        await self.deliver(300)
        assert await self.find(mailbox, "300", "header") == [101]

    @coroutine
    async def test_a_large_message_is_read_when_there_is_room(self):
        self.patch(indexer, "RETRY", 0.01)
        content = Content(b"", b"Subject: large\r\n\r\n" + b"needle in hay\r\n" * (LARGE // 10))
        async with self.store.portions.portion("bob@a.test", CAPACITY):
            await self.store.deliver(ALICE, content, unique="large", arrived=ARRIVED)
            await self.deliver(1)
            mailbox, _ = await self.open()
            while await mailbox.find_text([2], "body", "xxx") != ([2], []):
                pass
            assert await mailbox.find_text([1], "body", "needle") == ([], [1])
        assert await self.find(mailbox, "needle") == [1]

    @coroutine
    async def test_what_is_known_of_a_message_is_found_out_too(self):
        await self.deliver(1, 2)
        mailbox, _ = await self.open()
        await self.find(mailbox, "x")
        previews = self.account.home.reader.previews(mailbox.columns.emails)
        assert set(previews.values()) == {"x" * 40}

    @coroutine
    async def test_a_copy_is_known_at_once(self):
        await self.deliver(1)
        mailbox, _ = await self.open()
        await self.find(mailbox, "x")
        await mailbox.copy([1], "Archive")
        archive, _ = await self.open("Archive")
        assert await archive.find_text(archive.uids, "body", "xx") == (list(archive.uids), [])

    @coroutine
    async def test_gone_emails_are_forgotten(self):
        await self.deliver(*range(20))
        mailbox, _ = await self.open()
        await self.find(mailbox, "x")
        await mailbox.expunge(range(1, 16))
        await self.account.tidy()
        await self.deliver(20)
        await self.find(mailbox, "x")
        await self.store.stop()
        assert self.held(mailbox) == (6, True)

    @coroutine
    async def test_what_an_earlier_process_left_is_done(self):
        await self.deliver(*range(10))
        mailbox, _ = await self.open()
        await self.find(mailbox, "x")
        await self.store.stop()
        self.indexing = False
        await self.start_store()
        await self.deliver(*range(10, 15))
        mailbox, _ = await self.open()
        assert await mailbox.find_text(mailbox.uids, "body", "x") == (list(range(1, 11)), list(range(11, 16)))
        await mailbox.expunge([1, 2, 11])
        await self.account.tidy()
        await self.store.stop()
        self.indexing = True
        await self.start_store()
        mailbox, _ = await self.open()
        assert await self.find(mailbox, "x") == [*range(3, 11), *range(12, 16)]
        await self.store.stop()
        assert self.held(mailbox) == (12, True)

    @coroutine
    async def test_it_stops_at_any_time_and_goes_on(self):
        self.patch(indexer, "SLICE", 3)
        await self.deliver(*range(60))
        for _ in range(4):
            mailbox, _ = await self.open()
            await mailbox.find_text(mailbox.uids, "body", "x")
            await self.restart_store()
        mailbox, _ = await self.open()
        assert await self.find(mailbox, "x") == list(range(1, 61))
        await self.store.stop()
        assert self.held(mailbox) == (60, True)

    @coroutine
    async def test_the_newest_come_first(self):
        self.patch(indexer, "SLICE", 5)
        self.indexing = False
        await self.restart_store()
        await self.deliver(*range(40))
        mailbox, _ = await self.open()
        seen = []

        async def step():
            _, unknown = await mailbox.find_text(mailbox.uids, "body", "x")
            seen.append(unknown)

        await self.store.reindex(ALICE, lambda done, total: Deferred.fromCoroutine(step()))
        await step()
        assert seen[-1] == []
        assert all(unknown == list(range(1, len(unknown) + 1)) for unknown in seen), seen

    @coroutine
    async def test_an_account_without_mail_has_no_full_text(self):
        self.account.indexer.wake(self.account)
        mailbox, _ = await self.open()
        await self.account.create("Other")
        await self.store.stop()
        assert not os.path.exists(self.path) and not len(mailbox)


class FaultTests(IndexerCase):
    @coroutine
    async def test_a_broken_full_text_is_made_anew(self):
        await self.deliver(*range(5))
        mailbox, _ = await self.open()
        await self.find(mailbox, "x")
        await self.store.stop()
        with open(self.path, "r+b") as file:
            file.write(b"junk" * 1000)
        await self.start_store()
        mailbox, _ = await self.open()
        assert await self.find(mailbox, "x") == [1, 2, 3, 4, 5]

    @coroutine
    async def test_a_full_text_that_breaks_in_use(self):
        await self.deliver(*range(5))
        mailbox, _ = await self.open()
        await self.find(mailbox, "x")
        assert self.held(mailbox) == (5, True)
        with open(self.path, "r+b") as file:
            file.write(b"junk" * 1000)
        # The search says that it knows nothing, and sees to it that the next one does.
        assert await mailbox.find_text(mailbox.uids, "body", "x") == ([], [1, 2, 3, 4, 5])
        assert await self.find(mailbox, "x") == [1, 2, 3, 4, 5]

    @coroutine
    async def test_a_removed_full_text_is_made_anew(self):
        await self.deliver(*range(5))
        mailbox, _ = await self.open()
        await self.find(mailbox, "x")
        for rest in ("", "-wal", "-shm"):
            if os.path.exists(self.path + rest):
                os.unlink(self.path + rest)
        assert await mailbox.find_text(mailbox.uids, "body", "x") == ([], [1, 2, 3, 4, 5])
        await self.deliver(5)
        assert await self.find(mailbox, "x") == [1, 2, 3, 4, 5, 6]

    @coroutine
    async def test_the_full_text_of_an_index_that_was_lost(self):
        await self.deliver(1, 2, 3)
        mailbox, _ = await self.open()
        await self.find(mailbox, "x")
        await mailbox.expunge([1])
        await self.store.stop()
        os.unlink(self.home / "index.sqlite")
        await self.start_store()
        mailbox, _ = await self.open()  # emails have other numbers now
        found = await self.find(mailbox, "subject: 3", "text")
        assert [await self.numbers("INBOX")] == [{found[0] - 1: 2, found[0]: 3}]

    @coroutine
    async def test_a_file_that_others_renamed_meanwhile(self):
        self.indexing = False
        await self.restart_store()
        await self.deliver(1, 2, 3)
        mailbox, _ = await self.open()
        inbox = self.maildir()
        for name in os.listdir(inbox / "new"):
            os.rename(inbox / "new" / name, inbox / "cur" / f"{name}:2,S")
        await self.store.reindex(ALICE, lambda done, total: None)
        assert await mailbox.find_text(mailbox.uids, "body", "x") == ([1, 2, 3], [])

    @coroutine
    async def test_a_file_that_cannot_be_read_keeps_nobody_else_back(self):
        self.indexing = False
        await self.restart_store()
        await self.deliver(1, 2, 3)
        mailbox, _ = await self.open()
        (name,) = [name for name in os.listdir(self.maildir("new")) if ".m2." in name]
        os.unlink(self.maildir("new") / name)
        os.symlink("nowhere", self.maildir("new") / name)
        await self.store.reindex(ALICE, lambda done, total: None)
        assert await mailbox.find_text(mailbox.uids, "body", "x") == ([1, 3], [2])

    @coroutine
    async def test_indexing_switched_off(self):
        self.indexing = False
        await self.restart_store()
        await self.deliver(1)
        mailbox, _ = await self.open()
        assert await mailbox.find_text(mailbox.uids, "body", "x") == ([], [1])
        await self.store.stop()
        assert not os.path.exists(self.path)


class ReindexTests(IndexerCase):
    async def start_store(self, with_reactor=reactor):
        self.store = MessageStore(
            self.root / "mail",
            reactor=with_reactor,
            hostname="mx.a.test",
            indexing=False,
            render=lambda data, root: b"%d" % len(data) if self.render is None else self.render,
        )
        await self.store.start()
        self.account = await self.store.account(ALICE)

    @coroutine
    async def test_everything_is_found_out_anew(self):
        for number, refers in enumerate((b"", b"References: <m0@a>\r\n", b"")):
            content = Content(b"", b"Message-ID: <m%d@a>\r\n%b\r\nbody\r\n" % (number, refers))
            await self.store.deliver(ALICE, content, unique=f"m{number}", arrived=1.0)
        mailbox, _ = await self.open()
        before = await mailbox.structures(mailbox.uids), await mailbox.thread_ids(mailbox.uids)
        assert before[1][0] == before[1][1] != before[1][2]
        self.render = b"new"
        told = []
        await self.store.reindex(ALICE, lambda done, total: told.append((done, total)))
        assert told[0] == (0, 3) and told[-1] == (3, 3) and told == sorted(told)
        assert await mailbox.structures(mailbox.uids) == [b"new"] * 3
        assert await mailbox.thread_ids(mailbox.uids) == before[1]
        assert await mailbox.find_text(mailbox.uids, "body", "body") == ([1, 2, 3], [])

    @coroutine
    async def test_an_empty_account(self):
        told = []
        await self.store.reindex(ALICE, lambda done, total: told.append((done, total)))
        assert told[-1] == (0, 0)
