"""The one change feed of an account, mailboxes that stay in memory, and what CONDSTORE and QRESYNC ask."""

import os
import shutil

import pytest
from store_case import Bench, ClockedReactor, StoreCase
from twisted.internet.defer import Deferred, gatherResults

from twisted_mta.store import upkeep
from twisted_mta.store.changes import AccountChange
from twisted_mta.store.errors import NoSuchMailbox
from twisted_mta.store.folder import Folder
from twisted_mta.store.index import index as index_module


class FeedTests(StoreCase):
    async def watching(self):
        """The changes of the account, as they come."""
        changes = []
        self.account.watch(changes.append)
        return changes

    async def test_messages_of_open_and_unopened_mailboxes(self):
        mailbox, _ = await self.open()
        changes = await self.watching()
        await self.deliver(1, 2)
        await self.deliver(3, mailbox="Archive")
        await mailbox.set_flags([1], "add", frozenset({"\\Seen"}))
        await mailbox.move([1], "Archive")
        await mailbox.expunge([2])
        told = [
            (each.mailbox, each.change.added, each.change.flags, each.change.expunged) for each in changes
        ]
        assert told == [
            ("INBOX", (1, 2), (), ()),
            ("Archive", (1,), (), ()),
            ("INBOX", (), (1,), ()),
            ("INBOX", (), (), (1,)),
            ("Archive", (2,), (), ()),
            ("INBOX", (), (), (2,)),
        ]
        assert changes[-1].change.modseq == mailbox.highest_modseq

    async def test_mailboxes_and_subscriptions(self):
        changes = await self.watching()
        await self.account.create("a")
        await self.account.create("a/b")
        await self.account.subscribe("a")
        await self.account.subscribe("a")
        await self.account.rename("a", "x")
        await self.account.unsubscribe("a")
        await self.account.delete("x/b")
        assert changes == [
            AccountChange("a", created=True),
            AccountChange("a/b", created=True),
            AccountChange("a", subscribed=True),
            AccountChange("x", renamed_from="a"),
            AccountChange("x/b", renamed_from="a/b"),
            AccountChange("a", subscribed=False),
            AccountChange("x/b", deleted=True),
        ]

    async def test_a_watcher_that_fails_harms_nobody_and_one_that_is_off_hears_nothing(self):
        seen = []

        def failing(change):
            raise RuntimeError("on purpose")

        self.account.watch(failing)
        self.account.watch(seen.append)
        await self.deliver(1)
        assert len(seen) == 1 and len(self.flushLoggedErrors(RuntimeError)) == 1
        self.account.unwatch(failing)
        self.account.unwatch(seen.append)
        self.account.unwatch(seen.append)
        await self.deliver(2)
        assert len(seen) <= 2

    async def test_other_programs_are_noticed_in_all_mailboxes(self):
        await self.store.stop()
        clock = ClockedReactor()
        await self.start_store(clock)
        changes = await self.watching()
        (self.maildir(".Sent") / "new" / "1.a.h").write_bytes(b"x\n")
        for sub in ("cur", "new", "tmp"):
            (self.maildir(".Other") / sub).mkdir(parents=True)
        shutil.rmtree(self.maildir(".Junk"))
        await self.until(clock, lambda: len(changes) >= 3)
        assert sorted((each.mailbox, each.created, each.deleted) for each in changes) == [
            ("Junk", False, True),
            ("Other", True, False),
            ("Sent", False, False),
        ]
        (self.maildir(".Other") / "new" / "1.a.h").write_bytes(b"x\n")
        await self.until(clock, lambda: len(changes) == 4)
        assert changes[-1].mailbox == "Other" and changes[-1].change.added == (1,)

    async def until(self, clock, condition):
        while not condition():
            clock.advance(upkeep.TICK)
            while self.store._upkeep._looking:
                await self.account.visit(lambda home: None)
            await self.account.visit(lambda home: None)

    async def test_an_index_that_is_built_anew_while_somebody_watches(self):
        changes = await self.watching()
        await self.account.shut()
        (self.home / "index.sqlite").write_bytes(b"junk" * 5000)
        await self.account.list_mailboxes()
        deleted = [each.mailbox for each in changes if each.deleted]
        created = [each.mailbox for each in changes if each.created]
        assert sorted(deleted) == sorted(created) and "INBOX" in created
        assert [each.deleted for each in changes] == [True] * len(deleted) + [False] * len(created)


class KeptTests(StoreCase):
    async def test_a_mailbox_that_was_closed_follows_and_is_opened_without_reading(self):
        await self.deliver(1, 2)
        mailbox, changes = await self.open()
        await mailbox.close()
        await self.deliver(3)
        assert list(mailbox.uids) == [1, 2, 3] and changes == []
        loads = []
        self.patch(Folder, "scan", loads.append)
        again, _ = await self.open()
        assert again is mailbox and loads == []
        await again.set_flags([3], "add", frozenset({"\\Seen"}))
        assert (await self.account.status("INBOX")).unseen == 2

    async def test_those_used_longest_ago_are_forgotten(self):
        self.store._upkeep._kept_messages = 3 * upkeep._EMPTY + 10
        mailboxes = {}
        for name in ("Archive", "Sent", "Trash", "Archive", "Junk"):
            mailboxes[name], _ = await self.open(name)
            await mailboxes[name].close()
        assert {each.name for each in self.store._upkeep._kept} == {"Trash", "Archive", "Junk"}
        assert await self.account.open("Archive") is mailboxes["Archive"]
        assert await self.account.open("Sent") is not mailboxes["Sent"]
        assert self.store._upkeep._held == 2 * upkeep._EMPTY

    async def test_one_that_is_deleted_or_renamed_meanwhile(self):
        await self.account.create("a")
        await self.deliver(1, mailbox="a")
        mailbox, _ = await self.open("a")
        await mailbox.close()
        await self.account.rename("a", "b")
        assert await self.account.open("b") is mailbox
        await mailbox.close()
        await self.account.delete("b")
        await self.refused(NoSuchMailbox, self.account.open("b"))
        assert self.store._upkeep._held == 0

    async def test_one_with_too_many_combinations_of_flags_begins_anew(self):
        await self.deliver(1)
        mailbox, _ = await self.open()
        for number in range(300):
            await mailbox.set_flags([1], "replace", frozenset({f"k{number}"}))
        assert mailbox.flags(1) == {"k299"} and len(mailbox.flag_sets) > 300
        await mailbox.close()
        again, _ = await self.open()
        assert again is not mailbox and len(again.flag_sets) == 1 and again.flags(1) == {"k299"}

    async def test_status_is_right_whoever_changes_what(self):
        await self.deliver(1, 2, mailbox="Archive")
        for number in range(3, 7):
            status = await self.account.status("Archive")
            assert (status.messages, status.recent, status.unseen) == (number - 1,) * 3
            again = await self.account.status("Archive")
            assert again == status
            await self.deliver(number, mailbox="Archive")
        (self.maildir(".Archive") / "cur" / "1.a.h:2,ST").write_bytes(b"x\n")
        status = await self.account.status("Archive")
        assert (status.messages, status.unseen, status.deleted) == (7, 6, 1)
        mailbox, _ = await self.open("Archive")
        assert status == mailbox.status() == await self.account.status("Archive")
        await self.restart_store()
        assert await self.account.status("Archive") == status

    async def test_opened_and_closed_by_many_at_once(self):
        await self.deliver(1)

        async def session(number):
            mailbox = await self.account.open("INBOX")
            await mailbox.set_flags([1], "add", frozenset({f"k{number % 5}"}))
            await mailbox.close()
            return mailbox

        sessions = [Deferred.fromCoroutine(session(number)) for number in range(20)]
        assert len(set(await gatherResults(sessions))) == 1
        assert self.store._upkeep._held == upkeep._EMPTY + 1


class ModseqTests(StoreCase):
    async def test_changed_and_vanished_since(self):
        await self.deliver(1, 2, 3, 4)
        mailbox, _ = await self.open()
        start = mailbox.highest_modseq
        await mailbox.set_flags([2], "add", frozenset({"\\Seen"}))
        middle = mailbox.highest_modseq
        await mailbox.expunge([1, 3])
        await mailbox.set_flags([4], "add", frozenset({"k"}))
        assert mailbox.changed_since(start) == [2, 4] and mailbox.changed_since(middle) == [4]
        assert mailbox.changed_since(mailbox.highest_modseq) == []
        assert mailbox.changed_since(0) == [2, 4]
        assert await mailbox.vanished_since(start) == [1, 3] == await mailbox.vanished_since(middle)
        assert await mailbox.vanished_since(mailbox.highest_modseq - 1) == []
        assert await mailbox.vanished_since(mailbox.highest_modseq) == []
        await mailbox.move([2], "Trash")
        os.unlink(self.maildir() / self.files()[0])
        await mailbox.refresh()
        assert await mailbox.vanished_since(middle) == [1, 2, 3, 4]
        await self.restart_store()
        mailbox, _ = await self.open()
        assert await mailbox.vanished_since(middle) == [1, 2, 3, 4]
        assert await mailbox.vanished_since(0) is None

    async def test_unchanged_since(self):
        await self.deliver(1, 2, 3)
        mailbox, _ = await self.open()
        start = mailbox.highest_modseq
        await mailbox.set_flags([2], "add", frozenset({"\\Flagged"}))
        seen = frozenset({"\\Seen"})
        done = await mailbox.set_flags([1, 2, 3, 9], "add", seen, unchanged_since=start)
        assert done.changed == [1, 3] and done.refused == [2]
        assert mailbox.flags(2) == {"\\Flagged"}
        done = await mailbox.set_flags([1, 2], "remove", seen, unchanged_since=0)
        assert done == ([], [1, 2])

    async def test_of_two_that_want_the_same_one_is_refused(self):
        await self.deliver(1)
        mailbox, _ = await self.open()
        start = mailbox.highest_modseq
        both = [
            Deferred.fromCoroutine(mailbox.set_flags([1], "add", frozenset({keyword}), unchanged_since=start))
            for keyword in ("a", "b")
        ]
        done = await gatherResults(both)
        assert sorted(done) == [([], [1]), ([1], [])]
        assert len(mailbox.flags(1)) == 1


def test_tombstones_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "TOMBSTONES", 20)
    monkeypatch.setattr(index_module, "_TOMBSTONES_MORE", 5)
    bench = Bench(tmp_path / "a.test" / "alice")
    bench.put(*range(1, 101))
    folder = bench.folder()
    index = bench.home.index
    steps = []
    for first in range(1, 80, 2):  # no two of them consecutive
        steps.append((index.marks(folder.id)[2], first))
        folder.expunge([first])
        count = index._one("SELECT count(*) FROM vanished")[0]
        assert count <= 25
    known = [(before, index.vanished_since(folder.id, before)) for before, _ in steps]
    complete = [(before, found) for before, found in known if found is not None]
    assert 20 <= len(complete) <= 25 and known[0][1] is None
    for before, found in complete:
        assert found == [uid for modseq, uid in steps if modseq >= before]
    before = index.marks(folder.id)[2]
    folder.expunge(range(80, 101))  # one range
    assert index.vanished_since(folder.id, before) == list(range(80, 101))
    monkeypatch.setattr(index_module, "MOST_VANISHED", 20)
    assert index.vanished_since(folder.id, before) is None


def test_removals_that_were_taken_back_are_not_counted_as_tombstones(tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "TOMBSTONES", 5)
    monkeypatch.setattr(index_module, "_TOMBSTONES_MORE", 2)
    bench = Bench(tmp_path / "a.test" / "alice")
    bench.put(*range(1, 21))
    folder = bench.folder()
    index = bench.home.index
    before = index.marks(folder.id)[2]
    for _ in range(2):
        with pytest.raises(OSError), index.transaction():
            index.remove(folder.id, [3, 5, 7], before + 1)
            raise OSError("Too many open files")
    folder.expunge([9])
    folder.expunge([11])
    assert index.vanished_since(folder.id, before) == [9, 11]


def test_after_a_reboot_nobody_knows_what_vanished_before(tmp_path):
    bench = Bench(tmp_path / "a.test" / "alice")
    bench.put(1, 2)
    folder = bench.folder()
    before = bench.home.index.marks(folder.id)[2]
    folder.expunge([1])
    bench.home.close()
    bench.boot("first boot")
    assert bench.home.index.vanished_since(folder.id, before) == [1]
    bench.home.close()
    bench.boot("second boot")
    assert bench.home.index.vanished_since(folder.id, before) is None
    after = bench.home.index.marks(folder.id)[2]
    bench.folder().expunge([2])
    assert bench.home.index.vanished_since(folder.id, after) == [2]


def test_an_email_number_that_lost_power_took_back_is_not_given_again(tmp_path):
    bench = Bench(tmp_path / "a.test" / "alice")
    bench.put(1)
    (row,) = bench.home.index.messages(bench.folder().id)
    bench.boot("second boot")
    bench.put(2)
    assert bench.home.index.messages(bench.folder().id)[-1].email > row.email + index_module.LEAP
