"""Delivering: batches, repetition, trouble with the disk."""

import errno
import os
from unittest.mock import patch

from store_case import ALICE, ARRIVED, Bench, StoreCase, message
from twisted.internet.defer import Deferred, gatherResults

from twisted_mta.message.content import Content
from twisted_mta.store import maildir
from twisted_mta.store.deposit import SYNCED_TOGETHER, Deposit, Deposited, deposit
from twisted_mta.store.errors import (
    BadMailboxName,
    CannotDo,
    NoSuchMailbox,
    StorageFault,
    StorageFull,
    StoreError,
)


class DeliveryTests(StoreCase):
    async def test_a_message_is_a_synced_file_in_new_and_read_back_with_crlf(self):
        (uid,) = await self.deliver(7)
        (name,) = self.files()
        assert name == f"new/{int(ARRIVED)}.m7.mx.a.test,S=53,W=56"
        assert (self.maildir() / name).read_bytes() == message(7).replace(b"\r\n", b"\n")
        mailbox, _ = await self.open()
        assert await mailbox.read([uid]) == [message(7)]
        assert mailbox.size(uid) == len(message(7))
        assert mailbox.internal_date(uid) == os.stat(self.maildir() / name).st_mtime
        assert mailbox.flags(uid) == frozenset()

    async def test_concurrent_deliveries_get_a_uid_each_and_one_change_tells_many(self):
        mailbox, changes = await self.open()
        uids = await self.deliver(*range(100))
        assert sorted(uids) == list(range(1, 101)) == list(mailbox.uids)
        assert sum(len(change.added) for change in changes) == 100
        assert len(changes) < 20

    async def test_a_spooled_body(self):
        path = self.root / "spool"
        path.write_bytes(b"line\r\n" * 50_000)
        content = Content(b"Subject: x\r\n\r\n", path=path)
        uid = await self.store.deliver(ALICE, content, unique="u", arrived=ARRIVED)
        mailbox, _ = await self.open()
        assert await mailbox.read([uid]) == [b"Subject: x\r\n\r\n" + b"line\r\n" * 50_000]

    async def test_with_flags_into_another_mailbox(self):
        await self.deliver(1, mailbox="Junk", flags=frozenset({"\\Seen", "$Junk"}))
        (name,) = self.files(".Junk")
        assert name.startswith("cur/") and name.endswith(":2,S")
        mailbox, _ = await self.open("Junk")
        assert mailbox.flags(1) == {"\\Seen", "$Junk"}
        assert mailbox.recent_from == 1

    async def test_refusals(self):
        await self.refused(NoSuchMailbox, self.deliver_one(mailbox="Nowhere"))
        await self.refused(BadMailboxName, self.deliver_one(mailbox="../x"))
        await self.refused(CannotDo, self.deliver_one(flags=frozenset({"\\Bad"})))
        for unique in ("", "a/b", "a.b", "../x", "a:2,S", "a\n", "ü"):
            await self.refused(ValueError, self.deliver_one(unique=unique))
        assert self.files() == []

    async def deliver_one(self, account=ALICE, **how):
        how = {"unique": "u", "arrived": ARRIVED, **how}
        return await self.store.deliver(account, Content(b"", message(1)), **how)

    async def test_strange_account_names_stay_inside_the_root(self):
        for name in ("../../x@a.test", "a/b@..", "..@../..", "\0@x"):
            await self.deliver_one(account=name)
        assert sorted(os.listdir(self.root)) == ["mail"]
        assert sorted(os.listdir(self.root / "mail")) == ["%2E.", "%2E.%2F..", "a.test", "x"]

    async def test_the_same_delivery_again_changes_nothing(self):
        first = await self.deliver(1, 2)
        assert await self.deliver(2, 1) == first[::-1]
        assert await self.deliver(1, recovered=True) == first[:1]
        assert len(self.files()) == 2

    async def test_what_was_delivered_is_known_wherever_it_was_put(self):
        await self.deliver(1, 12, mailbox="Junk")
        crashed = self.maildir(".Drafts") / f"new/{int(ARRIVED)}.m2.elsewhere.test"  # in place, without a row
        crashed.write_bytes(b"Subject: 2\n\n")
        for unique, known in {"m1": True, "m2": True, "m": False, "m3": False}.items():
            assert await self.store.was_delivered(ALICE, ["other", unique], ARRIVED) is known, unique
        assert not await self.store.was_delivered(ALICE, ["m1"], ARRIVED + 1)

    async def test_a_recovered_delivery_finds_its_file_wherever_it_is_now(self):
        await self.deliver(1, 2)
        await self.store.stop()
        (self.home / "index.sqlite").unlink()
        one, _ = self.files()
        os.rename(self.maildir() / one, self.maildir() / ("cur/" + one[4:] + ":2,S"))
        await self.start_store()
        uids = await self.deliver(1, 2, recovered=True)
        assert len(set(uids)) == 2 and len(self.files()) == 2

    async def test_a_message_that_fails_fails_alone(self):
        missing = Content(b"", path=self.root / "missing")
        results = await gatherResults(
            [
                Deferred.fromCoroutine(self.deliver(1)),
                Deferred.fromCoroutine(
                    self.refused(
                        StorageFault, self.store.deliver(ALICE, missing, unique="x", arrived=ARRIVED)
                    )
                ),
                Deferred.fromCoroutine(self.deliver(2)),
            ]
        )
        assert results[0] == [1] and results[2] == [2]
        assert len(self.files()) == 2
        assert os.listdir(self.maildir("tmp")) == []

    async def test_a_full_disk_is_452_and_leaves_nothing(self):
        def full(file, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        with patch.object(maildir, "write_all", full):
            error = await self.refused(StorageFull, self.deliver_one())
        assert (error.code, error.status) == (452, "4.3.1")
        assert self.files() == [] and os.listdir(self.maildir("tmp")) == []
        assert await self.deliver(1) == [1]

    async def test_a_failing_sync_is_451_and_leaves_nothing(self):
        sync = os.fsync
        for failing in (1, 2):  # of the file, of the directory
            calls = []

            def broken(file, failing=failing, calls=calls):
                calls.append(file)
                if len(calls) == failing:
                    raise OSError(errno.EIO, "Input/output error")
                sync(file)

            with patch.object(os, "fsync", broken):
                error = await self.refused(StorageFault, self.deliver_one())
            assert (error.code, error.status) == (451, "4.3.0")
            assert self.files() == [] and os.listdir(self.maildir("tmp")) == []
        mailbox, _ = await self.open()
        assert list(mailbox.uids) == []

    async def test_order_of_system_calls(self):
        done = []
        sync, rename = os.fsync, os.rename

        def told_sync(file):
            done.append(("sync", os.readlink(f"/proc/self/fd/{file}")))
            sync(file)

        def told_rename(source, target):
            done.append(("rename", target))
            rename(source, target)

        await self.deliver(0)  # the account exists, UIDs are reserved
        with patch.object(os, "fsync", told_sync), patch.object(os, "rename", told_rename):
            await self.deliver(1)
        steps = [(what, os.path.relpath(path, self.maildir()).split("/")[0]) for what, path in done]
        assert steps == [("sync", "tmp"), ("rename", "new"), ("sync", "new")]

    async def test_of_many_each_is_synced_before_its_rename_and_the_directory_after_all(self):
        done = []
        sync, rename = os.fsync, os.rename

        def told_sync(file):
            done.append(("sync", os.readlink(f"/proc/self/fd/{file}")))
            sync(file)

        def told_rename(source, target):
            done.append(("rename", source))
            rename(source, target)

        bench = Bench(self.root / "bench")
        bench.put(0)
        with patch.object(os, "fsync", told_sync), patch.object(os, "rename", told_rename):
            bench.put(*range(1, 2 * SYNCED_TOGETHER))
        renamed = [path for what, path in done if what == "rename"]
        assert len(renamed) == 2 * SYNCED_TOGETHER - 1
        assert all(done.index(("sync", path)) < done.index(("rename", path)) for path in renamed)
        assert done[-1] == ("sync", f"{bench.folder().maildir.path}/new")

    async def test_of_many_those_fail_that_the_disk_does_not_take(self):
        def failing(call, numbers, code):
            real = getattr(os, call)

            def done(file, *more):
                if any(f".m{number}." in os.readlink(f"/proc/self/fd/{file}") for number in numbers):
                    raise OSError(code, os.strerror(code))
                return real(file, *more)

            return patch.object(os, call, done)

        bench = Bench(self.root / "bench")
        bench.put(0)
        deposits = [
            Deposit("INBOX", Content(b"", message(number)), f"{int(ARRIVED)}.m{number}.mx.a.test")
            for number in range(1, 2 * SYNCED_TOGETHER)
        ]
        with failing("fsync", (2, SYNCED_TOGETHER), errno.EIO), failing("write", (4,), errno.ENOSPC):
            results = deposit(bench.home, deposits)
        failed = {
            number: result for number, result in enumerate(results, 1) if isinstance(result, StoreError)
        }
        assert {number: type(error) for number, error in failed.items()} == {
            2: StorageFault,
            4: StorageFull,
            SYNCED_TOGETHER: StorageFault,
        }
        maildir = bench.folder().maildir.path
        assert os.listdir(f"{maildir}/tmp") == [] and len(os.listdir(f"{maildir}/new")) == len(bench.uids())
        links = [f"/proc/self/fd/{file}" for file in os.listdir("/proc/self/fd")]
        assert not [path for path in map(os.path.realpath, links) if path.startswith(f"{maildir}/tmp")]
        again = deposit(bench.home, deposits)
        assert all(isinstance(result, Deposited) for result in again)
        for number, (before, after) in enumerate(zip(results, again, strict=True), 1):
            assert number in failed or before == after
            assert f".m{number}." in bench.uids()[after.uid]


class DraftTests(StoreCase):
    async def test_small_and_large_messages_in_pieces(self):
        for pieces in ([b"a\r", b"\nb"], [b"x" * 9999 + b"\r", b"\n"] * 50):
            draft = await self.store.draft(ALICE)
            for piece in pieces:
                await draft.write(piece)
            assert draft.size == sum(map(len, pieces))
            await draft.end_message(frozenset({"\\Seen", "\\Recent", "kw"}), -5.0)
            validity, (uid,) = await draft.commit("Sent")
            draft.abort()
            mailbox, _ = await self.open("Sent")
            assert validity == mailbox.uid_validity
            assert await mailbox.read([uid]) == [b"".join(pieces)]
            assert mailbox.flags(uid) == {"\\Seen", "kw"}
            assert mailbox.internal_date(uid) == -5.0
            assert mailbox.size(uid) == sum(map(len, pieces))
        assert os.listdir(self.maildir("tmp")) == []

    async def test_aborted_and_refused_drafts_leave_nothing(self):
        for size in (10, 200_000):
            for end in ("abort", "nowhere", "bad name", "bad flag"):
                draft = await self.store.draft(ALICE)
                await draft.write(b"x" * size)
                if end == "abort":
                    draft.abort()
                    await self.refused(CannotDo, draft.write(b"x"))
                    await self.refused(CannotDo, draft.end_message(frozenset(), None))
                    await self.refused(CannotDo, draft.commit("Sent"))
                elif end == "bad flag":
                    await self.refused(CannotDo, draft.end_message(frozenset({"\\X"}), None))
                else:
                    await draft.end_message(frozenset(), None)
                    kind, name = (NoSuchMailbox, "No") if end == "nowhere" else (BadMailboxName, "a//b")
                    await self.refused(kind, draft.commit(name))
        await self.store.stop()
        assert os.listdir(self.maildir("tmp")) == [] and self.files(".Sent") == []

    async def test_a_full_disk_ends_the_draft(self):
        def full(file, data):
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

        draft = await self.store.draft(ALICE)
        with patch.object(maildir, "write_all", full):
            await self.refused(StorageFull, draft.write(b"x" * 200_000))
        await self.refused(CannotDo, draft.write(b"x"))
        await self.store.stop()
        assert os.listdir(self.maildir("tmp")) == []
