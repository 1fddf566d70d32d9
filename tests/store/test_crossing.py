"""Messages from one account to another: all or none, with what belongs to them, never lost."""

import errno
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from store_case import ARRIVED, number_of
from viewpoint_case import ALICE, BOB, ViewpointCase

from twisted_mta.store import crossing, relocation
from twisted_mta.store.errors import NoSuchMailbox, StorageFault
from twisted_mta.store.maildir import MAX_TMP_AGE, seconds_in

KILLS = int(os.environ.get("SOAK_KILLS", "4"))
CHILD = Path(__file__).with_name("crossing_child.py")
HIS = f"Other Users/{BOB}/INBOX"


class CrossingCase(ViewpointCase):
    async def start(self):
        await super().start()
        await self.bob.set_acl("INBOX", ALICE, "lrswite")

    async def found(self, viewpoint, name="INBOX"):
        """number -> (UID, flags, internal date) of all messages."""
        opened = await viewpoint.open(name)
        mailbox = opened.mailbox
        uids = list(mailbox.uids)
        numbers = map(number_of, await mailbox.read(uids))
        found = {
            number: (uid, mailbox.flags(uid), mailbox.internal_date(uid))
            for number, uid in zip(numbers, uids, strict=True)
        }
        await mailbox.close()
        return found

    async def carry(self, uids, move=False, source="Work", target=HIS):
        opened = await self.alice.open(source)
        try:
            return await self.alice.copy(opened.mailbox, uids, target, move)
        finally:
            await opened.mailbox.close()

    def left_over(self):
        mail = self.root / "mail" / "a.test"
        return [*mail.glob("*/Maildir/tmp/*"), *mail.glob("*/Maildir/.*/tmp/*")]


class CrossingTests(CrossingCase):
    async def test_a_copy_has_all_that_belongs_to_it(self):
        await self.put(ALICE, "Work", 5, flags=frozenset({"\\Seen", "\\Flagged", "Key"}))
        result = await self.carry([1, 2])
        assert result.source_uids == (1, 2)
        status = await self.bob.status("INBOX")
        assert result.uid_validity == status.uid_validity
        his, mine = await self.found(self.bob), await self.found(self.alice, "Work")
        assert [his[number][0] for number in (1, 5)] == list(result.target_uids)
        assert {number: each[1:] for number, each in his.items() if number != 2} == {
            number: each[1:] for number, each in mine.items()
        }
        assert his[5][1] == {"\\Seen", "\\Flagged", "Key"}
        assert his[1][2] == mine[1][2]
        assert self.left_over() == []

    async def test_a_move_leaves_nothing_behind(self):
        await self.put(ALICE, "Work", 5)
        opened = await self.alice.open("Work")
        changes = []
        opened.mailbox.watch(changes.append)
        result = await self.carry([2, 1], move=True)
        assert (result.source_uids, [change.expunged for change in changes]) == ((1, 2), [(1, 2)])
        await opened.mailbox.close()
        assert await self.found(self.alice, "Work") == {}
        assert sorted(await self.found(self.bob)) == [1, 2, 5]
        assert self.left_over() == []

    async def test_messages_that_are_gone_are_left_out(self):
        result = await self.carry([1, 7, 8])
        assert result.source_uids == (1,)
        result = await self.carry([7], move=True)
        assert (result.source_uids, result.target_uids) == ((), ())
        assert result.uid_validity == (await self.bob.status("INBOX")).uid_validity

    async def test_no_target_no_trace(self):
        await self.bob.create("gone")
        await self.bob.set_acl("gone", ALICE, "lri")
        await (await self.store.account(BOB)).delete("gone")
        await self.refused(NoSuchMailbox, self.carry([1], move=True, target=f"Other Users/{BOB}/gone"))
        assert sorted(await self.found(self.alice, "Work")) == [1]
        assert self.left_over() == []

    async def test_more_than_one_slice(self):
        self.patch(crossing, "_SLICE", 3)
        await self.put(ALICE, "Work", *range(10, 20))
        result = await self.carry(range(1, 12), move=True)
        assert result.source_uids == tuple(range(1, 12))
        assert list(result.target_uids) == sorted(result.target_uids)
        his = await self.found(self.bob)
        assert [his[number][0] for number in (1, *range(10, 20))] == list(result.target_uids)

    async def test_where_no_links_can_be_made(self):
        def link(source, target):
            raise OSError(errno.EXDEV, "another file system")

        self.patch(relocation.os, "link", link)
        await self.carry([1], move=True)
        his = await self.found(self.bob)
        assert sorted(his) == [1, 2] and abs(his[1][2] - his[2][2]) < 60

    async def test_what_another_program_renamed_meanwhile_is_found(self):
        await self.alice.status("Work")
        (file,) = (self.maildir(".Work") / "new").iterdir()
        calls = []
        link = os.link

        def late(source, target):
            if not calls:
                file.rename(self.maildir(".Work") / "cur" / (file.name + ":2,S"))
            calls.append(source)
            return link(source, target)

        self.patch(relocation.os, "link", late)
        await self.carry([1])
        assert len(calls) == 2
        assert (await self.found(self.bob))[1][1] == {"\\Seen"}

    async def test_a_fault_on_the_way_leaves_all_as_it_was(self):
        await self.put(ALICE, "Work", 5, 6)
        for module, name in ((relocation.os, "link"), (os, "rename"), (os, "fsync")):
            for survivors in range(3):
                self.fail_after(module, name, survivors)
                await self.refused(StorageFault, self.carry([1, 2, 3], move=True))
                self.fault.restore()
                assert sorted(await self.found(self.alice, "Work")) == [1, 5, 6], (name, survivors)
                assert sorted(await self.found(self.bob)) == [2], (name, survivors)
                assert self.left_over() == []
                if name == "fsync":
                    break
        await self.carry([1, 2, 3], move=True)
        assert sorted(await self.found(self.bob)) == [1, 2, 5, 6]
        self.flushLoggedErrors()

    def fail_after(self, module, name, survivors):
        real = getattr(module, name)
        left = [survivors]

        def fail(*args, **how):
            if "/bob/Maildir/" in str(args[-1]) or name == "fsync":
                left[0] -= 1
                if left[0] == -1:
                    raise OSError(errno.EIO, "broken")
            return real(*args, **how)

        self.fault = self.patch(module, name, fail)

    async def test_a_link_to_an_old_message_is_no_old_rest(self):
        names = self.account.home.names
        assert abs(seconds_in(names.fresh()) - names.seconds()) < MAX_TMP_AGE
        path = self.maildir("tmp") / names.fresh()
        path.write_bytes(b"")
        os.utime(path, (ARRIVED, ARRIVED))
        old = self.maildir("tmp") / "1700000000.x.y"
        old.write_bytes(b"")
        os.utime(old, (ARRIVED, ARRIVED))
        await self.restart_store()
        assert path.exists() and not old.exists()


class KillTests(CrossingCase):
    timeout = 600

    async def test_kills_amid_moves(self):
        await self.alice.set_acl("INBOX", BOB, "lrswite")
        await self.put(ALICE, "INBOX", *range(100, 160))
        before = {*range(100, 160), 2}
        rng = random.Random(5)
        for seed in range(KILLS):
            await self.store.stop()
            self.run_and_kill(seed, rng)
            await self.start_store()
            self.alice, self.bob = await self.store.viewpoint(ALICE), await self.store.viewpoint(BOB)
            found = {ALICE: await self.counted(self.alice), BOB: await self.counted(self.bob)}
            assert found[ALICE].keys() | found[BOB].keys() == before
            assert set(found[ALICE].values()) | set(found[BOB].values()) == {1}
            await self.single_out(found[ALICE].keys() & found[BOB].keys())

    async def counted(self, viewpoint):
        opened = await viewpoint.open("INBOX")
        octets = await opened.mailbox.read(opened.mailbox.uids)
        await opened.mailbox.close()
        assert all(each.endswith(b"x\r\n") for each in octets)
        return Counter(map(number_of, octets))

    async def single_out(self, both):
        """A move that was cut short leaves a message in both accounts."""
        opened = await self.alice.open("INBOX")
        there = await self.found(self.alice)
        await opened.mailbox.expunge([there[number][0] for number in both])
        await opened.mailbox.close()

    def run_and_kill(self, seed, rng):
        command = [sys.executable, str(CHILD), str(self.root / "mail"), str(seed)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as child:
            moves = rng.randrange(3, 60)
            for _ in child.stdout:
                moves -= 1
                if moves == 0:
                    child.send_signal(signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL
