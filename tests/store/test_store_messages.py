"""Messages of an open mailbox: flags, removal, copies, reading, watching."""

import errno
import os
from unittest.mock import patch

from store_case import StoreCase, message
from twisted.internet.defer import Deferred, gatherResults

from twisted_mta.message.content import Content
from twisted_mta.store.changes import Change
from twisted_mta.store.errors import CannotDo, StorageFull


class FlagTests(StoreCase):
    async def test_add_remove_replace(self):
        await self.deliver(1, 2, 3)
        mailbox, changes = await self.open()
        assert (await mailbox.set_flags([1, 2], "add", frozenset({"\\seen", "$Work"}))).changed == [1, 2]
        assert (await mailbox.set_flags([1, 2, 3, 9], "add", frozenset({"\\Seen"}))).changed == [3]
        assert (await mailbox.set_flags([1], "remove", frozenset({"\\Seen", "\\Draft"}))).changed == [1]
        assert (await mailbox.set_flags([2], "replace", frozenset({"\\Deleted", "\\Recent"}))).changed == [2]
        assert [mailbox.flags(uid) for uid in (1, 2, 3)] == [{"$Work"}, {"\\Deleted"}, {"\\Seen"}]
        assert [change.flags for change in changes] == [(1, 2), (3,), (1,), (2,)]
        assert [change.modseq for change in changes] == sorted({change.modseq for change in changes})
        assert mailbox.modseq(3) == changes[1].modseq and mailbox.highest_modseq == changes[-1].modseq
        await self.account.tidy()
        infos = [name.rsplit(":", 1)[1] for name in self.files()]
        assert sorted(infos) == ["2,S", "2,T", "2,a"]

    async def test_keywords_differ_in_more_than_case(self):
        await self.deliver(1, 2)
        mailbox, _ = await self.open()
        await mailbox.set_flags([1], "add", frozenset({"$Forwarded"}))
        await mailbox.set_flags([1, 2], "add", frozenset({"$FORWARDED"}))
        assert mailbox.flags(2) == {"$Forwarded"} == mailbox.keywords
        await mailbox.set_flags([1], "remove", frozenset({"$forwarded"}))
        assert mailbox.flags(1) == frozenset()

    async def test_refusals_change_nothing(self):
        await self.deliver(1)
        mailbox, changes = await self.open()
        await self.refused(CannotDo, mailbox.set_flags([1], "add", frozenset({"\\Seen", "\\Nonsense"})))
        await mailbox.set_flags([1], "add", frozenset(f"k{number}" for number in range(64)))
        await self.refused(CannotDo, mailbox.set_flags([1], "add", frozenset({"\\Seen", "more"})))
        assert len(mailbox.flags(1)) == 64 and len(changes) == 1

    async def test_letters_of_other_programs_stay(self):
        await self.deliver(1)
        (name,) = self.files()
        os.rename(self.maildir() / name, self.maildir() / f"cur/{name[4:]}:2,Pab")
        mailbox, _ = await self.open()
        await mailbox.set_flags([1], "add", frozenset({"\\Seen"}))
        await self.account.tidy()
        assert self.files() == [f"cur/{name[4:]}:2,PSab"]

    async def test_recent_is_claimed_once_and_moves_the_files(self):
        await self.deliver(1, 2)
        mailbox, _ = await self.open()
        assert mailbox.recent_from == 1
        assert mailbox.claim_recent() == 1
        assert mailbox.claim_recent() == 3 == mailbox.recent_from
        await self.account.tidy()
        assert [name[:3] for name in self.files()] == ["cur", "cur"]
        assert all(name.endswith(":2,") for name in self.files())
        await self.deliver(3)
        await self.restart_store()
        mailbox, _ = await self.open()
        assert mailbox.recent_from == 3
        assert [name[:3] for name in self.files()] == ["cur", "cur", "new"]

    async def test_internal_flag_sets_are_shared(self):
        await self.deliver(1, 2)
        mailbox, _ = await self.open()
        await mailbox.set_flags([1, 2], "add", frozenset({"\\Seen", "a"}))
        assert mailbox.flags(1) is mailbox.flags(2)


class RemovalTests(StoreCase):
    async def test_expunge_removes_file_and_row_and_replaces_the_array(self):
        await self.deliver(1, 2, 3)
        mailbox, changes = await self.open()
        view = mailbox.uids
        assert await mailbox.expunge([3, 1, 77]) == [1, 3]
        assert list(view) == [1, 2, 3] and list(mailbox.uids) == [2]
        assert changes[-1] == Change(expunged=(1, 3), modseq=mailbox.highest_modseq)
        assert len(self.files()) == 1
        assert await mailbox.read([1, 2, 3]) == [None, message(2), None]
        assert await mailbox.expunge([1]) == []
        assert await self.deliver(4) == [4]
        assert list(mailbox.uids) == [2, 4] and list(view) == [1, 2, 3]

    async def test_a_uid_is_not_given_again_after_the_last_message_went(self):
        await self.deliver(1, 2)
        mailbox, _ = await self.open()
        await mailbox.expunge([1, 2])
        await self.restart_store()
        assert await self.deliver(3) == [3]

    async def test_expunge_of_two_sessions_at_once(self):
        await self.deliver(*range(10))
        mailbox, _ = await self.open()
        one, two = await gatherResults(
            [
                Deferred.fromCoroutine(mailbox.expunge(range(1, 8))),
                Deferred.fromCoroutine(mailbox.expunge(range(5, 11))),
            ]
        )
        assert one == list(range(1, 8)) and two == [8, 9, 10]


class CopyTests(StoreCase):
    async def test_copy_keeps_flags_keywords_and_date(self):
        await self.deliver(1, 2, 3)
        mailbox, _ = await self.open()
        target, changes = await self.open("Archive")
        await mailbox.set_flags([1], "add", frozenset({"\\Flagged", "$Work"}))
        result = await mailbox.copy([3, 1, 50], "archive".title())
        assert result.uid_validity == target.uid_validity
        assert (result.source_uids, result.target_uids) == ((1, 3), (1, 2))
        assert target.flags(1) == {"\\Flagged", "$Work"} and target.flags(2) == frozenset()
        assert target.internal_date(1) == mailbox.internal_date(1)
        assert target.size(2) == mailbox.size(3)
        assert await self.numbers("Archive") == {1: 1, 2: 3}
        assert changes == [Change(added=(1, 2), modseq=target.highest_modseq)]
        assert list(mailbox.uids) == [1, 2, 3]
        names = [name.split("/")[1].split(",")[0] for name in self.files() + self.files(".Archive")]
        assert len(set(names)) == 5
        assert all(",S=" in name and name.startswith("cur/") for name in self.files(".Archive"))

    async def test_copy_into_the_same_mailbox(self):
        await self.deliver(1)
        mailbox, _ = await self.open()
        result = await mailbox.copy([1], "INBOX")
        assert (result.source_uids, result.target_uids) == ((1,), (2,))
        assert await self.numbers("INBOX") == {1: 1, 2: 1}

    async def test_copies_live_on_when_the_original_goes(self):
        await self.deliver(1)
        mailbox, _ = await self.open()
        await mailbox.copy([1], "Sent")
        await mailbox.expunge([1])
        assert await self.numbers("Sent") == {1: 1}

    async def test_copy_without_hard_links(self):
        def no_links(source, target):
            raise PermissionError(1, "Operation not permitted")

        await self.deliver(1)
        mailbox, _ = await self.open()
        self.patch(os, "link", no_links)
        await mailbox.copy([1], "Sent")
        assert await self.numbers("Sent") == {1: 1}
        (name,) = self.files(".Sent")
        assert os.stat(self.maildir(".Sent") / name).st_mtime == mailbox.internal_date(1)
        assert os.listdir(self.maildir(".Sent/tmp")) == []

    async def test_move(self):
        await self.deliver(1, 2, 3)
        mailbox, changes = await self.open()
        target, _ = await self.open("Trash")
        await mailbox.set_flags([2], "add", frozenset({"\\Seen", "k"}))
        result = await mailbox.move([2, 3], "Trash")
        assert (result.source_uids, result.target_uids) == ((2, 3), (1, 2))
        assert list(mailbox.uids) == [1] and changes[-1].expunged == (2, 3)
        assert target.flags(1) == {"\\Seen", "k"}
        assert await self.numbers("Trash") == {1: 2, 2: 3}
        assert len(self.files()) == 1
        back = await target.move([1], "INBOX")
        assert back.target_uids == (4,) and await self.numbers("INBOX") == {1: 1, 4: 2}

    async def test_move_within_one_mailbox_gives_new_uids(self):
        await self.deliver(1, 2)
        mailbox, _ = await self.open()
        result = await mailbox.move([1], "INBOX")
        assert (result.source_uids, result.target_uids) == ((1,), (3,))
        assert await self.numbers("INBOX") == {2: 2, 3: 1}

    async def test_a_copy_or_move_that_fails_leaves_everything_as_it_was(self):
        await self.deliver(1, 2, 3)
        mailbox, changes = await self.open()
        before = self.files()
        for call, work in (("link", mailbox.copy), ("rename", mailbox.move)):
            real, targets = getattr(os, call), []

            def failing(source, target, real=real, targets=targets):
                targets.append(target)
                if len(targets) == 3:
                    raise OSError(errno.ENOSPC, "No space left on device")
                real(source, target)

            with patch.object(os, call, failing):
                await self.refused(StorageFull, work([1, 2, 3], "Sent"))
            assert self.files(".Sent") == [] and self.files() == before
        await mailbox.refresh()
        assert changes == []
        assert await self.numbers("INBOX") == {1: 1, 2: 2, 3: 3}
        assert await self.numbers("Sent") == {}


class ReadingTests(StoreCase):
    async def test_order_repetition_and_gaps(self):
        await self.deliver(1, 2, 3)
        mailbox, _ = await self.open()
        assert await mailbox.read([3, 1, 9, 3]) == [message(3), message(1), None, message(3)]
        assert await mailbox.read([]) == []

    async def test_cached_computes_each_message_once(self):
        await self.deliver(*range(5))
        mailbox, _ = await self.open()
        asked = []

        def compute(data):
            asked.append(data)
            return data[:10]

        first = await mailbox.cached("head", mailbox.uids, compute)
        assert first == [message(number)[:10] for number in range(5)] and len(asked) == 5
        await mailbox.refresh()
        assert await mailbox.cached("head", [5, 1, 77], compute) == [first[4], first[0], None]
        assert len(asked) == 5
        assert await mailbox.cached("size", [1], lambda data: b"%d" % len(data)) == [b"%d" % len(message(0))]
        await self.restart_store()
        mailbox, _ = await self.open()
        assert await mailbox.cached("head", [1], compute) == first[:1] and len(asked) == 5

    async def test_a_rendering_does_not_outlive_its_message(self):
        await self.deliver(1)
        mailbox, _ = await self.open()
        await mailbox.cached("k", [1], bytes)
        await mailbox.expunge([1])
        assert await mailbox.cached("k", [1], bytes) == [None]

    async def test_matching(self):
        await self.deliver(*range(10))
        mailbox, _ = await self.open()
        assert await mailbox.matching([9, 2, 50], lambda data: b"Subject: 1" in data) == [2]

    async def test_an_accident_in_a_callable_is_the_caller_s(self):
        await self.deliver(1)
        mailbox, _ = await self.open()
        try:
            await mailbox.matching([1], lambda data: 1 // 0 == 0)
        except ZeroDivisionError:
            pass
        else:
            raise AssertionError
        assert await mailbox.read([1]) == [message(1)]

    async def test_thousands_of_uids(self):
        account = await self.store.account("many@a.test")
        await gatherResults(
            [
                Deferred.fromCoroutine(
                    self.store.deliver("many@a.test", Content(b"", message(n)), unique=f"m{n}", arrived=1.0)
                )
                for n in range(1200)
            ]
        )
        mailbox = await account.open("INBOX")
        assert len((await mailbox.set_flags(mailbox.uids, "add", frozenset({"\\Seen"}))).changed) == 1200
        assert None not in await mailbox.read(mailbox.uids)
        assert await mailbox.cached("n", mailbox.uids, lambda data: data[:14]) is not None
        await mailbox.refresh()
        assert len(set(await mailbox.cached("n", mailbox.uids, lambda data: b"no"))) > 1000
        assert len((await mailbox.move(mailbox.uids[:700], "Trash")).target_uids) == 700
        assert len(await mailbox.expunge(mailbox.uids)) == 500 and not mailbox.uids


class WatchTests(StoreCase):
    async def test_watchers_see_what_the_mailbox_shows_and_one_that_fails_harms_nobody(self):
        mailbox, _ = await self.open()
        seen = []

        def watcher(change):
            seen.append((change.added, list(mailbox.uids)))
            raise RuntimeError("on purpose")

        mailbox.watch(watcher)
        mailbox.watch(lambda change: seen.append("second"))
        await self.deliver(1)
        assert seen == [((1,), [1]), "second"]
        assert len(self.flushLoggedErrors(RuntimeError)) == 1
        mailbox.unwatch(watcher)
        mailbox.unwatch(watcher)
        await self.deliver(2)
        assert seen[2:] == ["second"]

    async def test_a_cancelled_wait_does_not_lose_the_change(self):
        await self.deliver(1)
        mailbox, changes = await self.open()
        waiting = Deferred.fromCoroutine(mailbox.set_flags([1], "add", frozenset({"\\Seen"})))
        waiting.addErrback(lambda failure: None)
        waiting.cancel()
        await mailbox.refresh()
        assert mailbox.flags(1) == {"\\Seen"} and len(changes) == 1
