"""Several messages that go into a mailbox together, or in place of another one (MULTIAPPEND, REPLACE)."""

import errno
import os
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from store_case import ALICE, StoreCase, message

from twisted_mta.database import transaction
from twisted_mta.store import deposit, maildir
from twisted_mta.store.account import BATCH
from twisted_mta.store.draft import IN_MEMORY
from twisted_mta.store.errors import CannotDo, NoSuchMailbox, NoSuchMessage, StorageFault, StorageFull
from twisted_mta.store.index import index
from twisted_mta.store.index.index import Index

NONE = frozenset()
LARGE = IN_MEMORY + 1


def full(*anything):
    """An index that cannot be written."""
    raise sqlite3.OperationalError("database or disk is full")


class DraftCase(StoreCase):
    async def draft(self, *contents):
        """A draft of these messages, all complete."""
        draft = await self.store.draft(ALICE)
        for content in contents:
            for start in range(0, len(content), 100_000):
                await draft.write(content[start : start + 100_000])
            await draft.end_message(NONE, None)
        return draft

    async def contents(self, name):
        mailbox = await self.account.open(name)
        found = await mailbox.read(mailbox.uids)
        await mailbox.close()
        return found

    async def nothing_left(self, *directories):
        await self.store.stop()
        assert os.listdir(self.maildir("tmp")) == []
        for directory in directories:
            assert self.files(directory) == [] and os.listdir(self.maildir(directory) / "tmp") == []


class TogetherTests(DraftCase):
    async def test_small_and_large_ones_in_their_order(self):
        contents = [message(1), message(2, LARGE), message(3, 90_000), message(4, 90_000), message(5)]
        mailbox, changes = await self.open("Sent")
        draft = await self.draft(*contents)
        assert await draft.commit("Sent") == (mailbox.uid_validity, [1, 2, 3, 4, 5])
        assert await self.contents("Sent") == contents
        assert [change.added for change in changes] == [(1, 2, 3, 4, 5)]
        assert {change.modseq for change in changes} == {mailbox.modseq(uid) for uid in mailbox.uids}
        assert os.listdir(self.maildir("tmp")) == []

    async def test_each_has_its_flags_and_its_date(self):
        draft = await self.store.draft(ALICE)
        for flag, date in (("\\Seen", 5.0), ("kw", None), ("\\Draft", 1e9)):
            await draft.write(b"x")
            await draft.end_message(frozenset({flag}), date)
        await draft.commit("Sent")
        mailbox, _ = await self.open("Sent")
        assert [set(mailbox.flags(uid)) for uid in (1, 2, 3)] == [{"\\Seen"}, {"kw"}, {"\\Draft"}]
        assert (mailbox.internal_date(1), mailbox.internal_date(3)) == (5.0, 1e9)

    async def test_many(self):
        contents = [message(number) for number in range(BATCH * 3)]
        draft = await self.draft(*contents)
        assert (await draft.commit("Sent"))[1] == list(range(1, BATCH * 3 + 1))
        assert await self.contents("Sent") == contents

    async def test_little_of_it_is_in_memory(self):
        draft = await self.draft(*[message(number, 10_000) for number in range(100)])
        held = sum(
            len(each.source) for each in draft._complete if not isinstance(each.source, maildir.Written)
        )
        assert 100_000 < held <= IN_MEMORY
        draft.abort()
        await self.nothing_left()


class AllOrNoneTests(DraftCase):
    async def test_one_that_cannot_be_written(self):
        written = deposit.begin_message

        def full(path, chunks):
            if len(seen := [*chunks]) and b"Subject: 2" in seen[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            return written(path, seen)

        for contents in ([1, 2, 3], [3, 1, 2]):
            draft = await self.draft(message(9, LARGE), *map(message, contents))
            with patch.object(deposit, "begin_message", full):
                await self.refused(StorageFull, draft.commit("Sent"))
        await self.nothing_left(".Sent")

    async def test_one_that_cannot_be_renamed(self):
        rename, calls = os.rename, []

        def broken(source, target):
            calls.append(source)
            if len(calls) == 2:
                raise OSError(errno.EIO, "Input/output error")
            rename(source, target)

        draft = await self.draft(message(1), message(2, LARGE), message(3))
        with patch.object(os, "rename", broken):
            await self.refused(StorageFault, draft.commit("Sent"))
        await self.nothing_left(".Sent")

    async def test_no_such_mailbox(self):
        draft = await self.draft(message(1), message(2, LARGE), *[message(3)] * BATCH)
        await self.refused(NoSuchMailbox, draft.commit("Nowhere"))
        await self.refused(CannotDo, draft.commit("Sent"))
        await self.nothing_left(".Sent")


class VerbatimTests(DraftCase):
    async def test_the_octets_come_as_they_were_sent(self):
        octets = bytes(range(256)) * 2000 + b"\n\r\n\r"
        for size in (300, len(octets)):
            seen = []
            draft = await self.store.draft(ALICE)
            draft.begin_verbatim(
                lambda data, seen=seen: seen.append(data) or [b"Subject: ", b"%d\r\n" % len(data)]
            )
            for start in range(0, size, 777):
                await draft.write(octets[start : min(size, start + 777)])
            await draft.end_message(NONE, None)
            await draft.write(b"a\r\n")  # and the next one is written as ever
            await draft.end_message(NONE, None)
            await draft.commit("Sent")
            assert seen == [octets[:size]]
            assert (await self.contents("Sent"))[-2:] == [b"Subject: %d\r\n" % size, b"a\r\n"]
        assert os.listdir(self.maildir("tmp")) == []

    async def test_one_that_is_refused_leaves_nothing(self):
        def refuse(data):
            raise CannotDo("not this one")

        draft = await self.draft(message(1, LARGE))
        draft.begin_verbatim(refuse)
        await draft.write(bytes(200_000))
        await self.refused(CannotDo, draft.end_message(NONE, None))
        await self.nothing_left(".Sent")


class ReplaceTests(DraftCase):
    async def test_within_an_account(self):
        for target in ("Drafts", "Sent"):
            await self.deliver(1, 2, mailbox="Drafts")
            drafts, changes = await self.open("Drafts")
            first = drafts.uids[0]
            draft = await self.draft(message(3))
            await draft.commit(target, (drafts, first))
            assert first not in drafts.uids and (first,) in [change.expunged for change in changes]
            assert (await self.contents(target))[-1] == message(3)
            drafts.unwatch(changes.append)
            await drafts.close()

    async def test_one_that_is_gone(self):
        await self.deliver(1, 2)
        inbox, _ = await self.open()
        await inbox.expunge([1])
        for _ in range(2):
            draft = await self.draft(message(3, LARGE))
            await self.refused(NoSuchMessage, draft.commit("INBOX", (inbox, 1)))
        assert await self.numbers("INBOX") == {2: 2}
        await self.nothing_left()

    async def test_a_failure_removes_nothing(self):
        await self.deliver(1)
        inbox, _ = await self.open()
        draft = await self.draft(message(3))
        await self.refused(NoSuchMailbox, draft.commit("Nowhere", (inbox, 1)))
        draft = await self.draft(message(3))

        def full(path, chunks):
            raise OSError(errno.ENOSPC, "No space left on device")

        with patch.object(deposit, "begin_message", full):
            await self.refused(StorageFull, draft.commit("INBOX", (inbox, 1)))
        assert await self.numbers("INBOX") == {1: 1}

    async def test_from_another_account(self):
        await self.deliver(1)
        inbox, _ = await self.open()
        draft = await self.bobs()
        await draft.commit("INBOX", (inbox, 1))
        assert list(inbox.uids) == []
        bobs = await (await self.store.account("bob@a.test")).open("INBOX")
        assert await bobs.read(bobs.uids) == [message(3)]

    async def bobs(self):
        """A message for bob, all there."""
        draft = await self.store.draft("bob@a.test")
        await draft.write(message(3))
        await draft.end_message(NONE, None)
        return draft

    async def test_an_old_one_that_cannot_be_removed_stays_alone(self):
        unlink = os.unlink

        def stuck(path, **more):
            if "m1" in os.path.basename(path):
                raise OSError(errno.EIO, "Input/output error")
            unlink(path, **more)

        await self.deliver(1)
        inbox, _ = await self.open()
        for size in (40, LARGE):
            for target in ("INBOX", "Sent"):
                draft = await self.draft(message(3, size))
                with patch.object(os, "unlink", stuck):
                    await self.refused(StorageFault, draft.commit(target, (inbox, 1)))
        draft = await self.bobs()
        with patch.object(os, "unlink", stuck):
            await self.refused(StorageFault, draft.commit("INBOX", (inbox, 1)))
        bobs = await (await self.store.account("bob@a.test")).open("INBOX")
        assert list(bobs.uids) == []
        await self.account.visit(lambda home: home.folder("INBOX").scan())
        assert await self.numbers("INBOX") == {1: 1}
        await self.nothing_left(".Sent")

    async def test_rows_that_cannot_be_written_change_nothing(self):
        await self.deliver(1)
        inbox, _ = await self.open()
        for method in ("add", "remove"):
            for size in (40, LARGE):
                for target in ("INBOX", "Sent"):
                    draft = await self.draft(message(3, size))
                    with patch.object(Index, method, full):
                        await self.refused(StorageFault, draft.commit(target, (inbox, 1)))
                    assert len(self.files()) == 1 and (target == "INBOX" or self.files(".Sent") == [])
        await self.account.visit(lambda home: home.folder("INBOX").scan())
        assert await self.numbers("INBOX") == {1: 1}
        await self.nothing_left(".Sent")

    async def test_one_that_goes_keeps_its_keywords(self):
        await self.deliver(1)
        inbox, _ = await self.open()
        self.account.home.deleted.keep = 86400.0
        await inbox.set_flags([1], "add", frozenset({"$Later"}))
        await (await self.draft(message(3))).commit("INBOX", (inbox, 1))
        (kept,) = Path(self.account.home.deleted.path).glob("*/*/cur/*")
        assert kept.name.endswith(":2,a")

    async def test_once_the_old_one_is_gone_the_new_one_stays(self):
        for target in ("INBOX", "Sent"):
            await self.deliver(1)
            inbox, _ = await self.open()
            old = self.maildir() / self.files()[0]

            @contextmanager
            def lost(database, old=old):
                with transaction(database):
                    yield
                    if not old.exists():
                        full()

            draft = await self.draft(message(3))
            with patch.object(index, "transaction", lost):
                await self.refused(StorageFault, draft.commit(target, (inbox, inbox.uids[0])))
            assert await self.contents(target) == [message(3)]
            await self.account.visit(lambda home: home.folder("INBOX").refresh())
            assert len(self.files()) == (target == "INBOX")
            await inbox.refresh()
            await inbox.expunge(inbox.uids)
            await inbox.close()
        await self.deliver(1)
        inbox, _ = await self.open()
        draft = await self.bobs()
        with patch.object(Index, "remove", full):
            await self.refused(StorageFault, draft.commit("INBOX", (inbox, inbox.uids[0])))
        bobs = await (await self.store.account("bob@a.test")).open("INBOX")
        assert await bobs.read(bobs.uids) == [message(3)]
