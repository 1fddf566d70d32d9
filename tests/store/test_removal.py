"""Messages that go all together or not at all, wherever the process is killed (RFC 1939 §6)."""

import errno
import os
import subprocess
import sys
from pathlib import Path

from store_case import Bench, StoreCase

from twisted_mta.store import hierarchy, removal
from twisted_mta.store.deleted import kept
from twisted_mta.store.errors import StorageFault
from twisted_mta.store.maildir import Maildir

CHILD = Path(__file__).with_name("removal_child.py")
ALL, KEPT = "0 1 2 3 4 5", "0 5"


class RemovalTests(StoreCase):
    async def fill(self):
        """The UIDs of six messages, of which the outer ones are to stay."""
        return await self.deliver(*range(6))

    def killed(self, uids, lose):
        """What is left for each point at which the process is killed, the last of which it does not reach."""
        environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}:{CHILD.parent}"}
        command = [sys.executable, str(CHILD), str(self.root), ",".join(map(str, uids)), lose]
        done = subprocess.run(command, capture_output=True, env=environment, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    async def test_all_or_nothing_at_every_point(self):
        uids = await self.fill()
        await self.store.stop()
        for lose in ("keep", "lose"):
            left = self.killed(uids[1:5], lose)
            kept = left.count(ALL)
            assert kept >= 2, left
            assert left == [ALL] * kept + [KEPT] * (len(left) - kept) and len(left) >= kept + 6, left
        await self.store.start()

    async def test_nothing_is_left_of_a_removal_that_is_done(self):
        uids = await self.fill()
        mailbox = await self.account.open("INBOX")
        await removal.remove(mailbox, [*uids[1:5], 99])
        assert list(mailbox.uids) == [uids[0], uids[5]]
        await removal.remove(mailbox, [uids[0]])
        assert list(mailbox.uids) == [uids[5]]
        await mailbox.close()
        assert not [name for name in os.listdir(self.account.home.path) if name.startswith(removal.PREFIX)]

    async def test_a_full_disk_does_not_keep_its_messages(self):
        uids = await self.fill()
        mailbox = await self.account.open("INBOX")

        def full(path, data):
            raise OSError(errno.ENOSPC, "full")

        self.patch(removal, "write_whole", full)
        await removal.remove(mailbox, uids[1:5])
        assert list(mailbox.uids) == [uids[0], uids[5]]
        await mailbox.close()
        assert not [name for name in os.listdir(self.account.home.path) if name.startswith(removal.PREFIX)]

    async def test_what_fails_in_the_middle_is_finished_at_the_next_opening(self):
        uids = await self.fill()
        mailbox = await self.account.open("INBOX")
        unlink, count = os.unlink, 0

        def failing(path, **more):
            nonlocal count
            count += os.path.dirname(path).endswith(("/cur", "/new"))
            if count == 3:
                raise OSError(5, "broken")
            unlink(path, **more)

        self.patch(os, "unlink", failing)
        with self.assertRaises(StorageFault):
            await removal.remove(mailbox, uids[1:5])
        await mailbox.close()
        assert len(Maildir(self.account.home.root).list()) == 4
        await self.store.stop()
        await self.start_store()
        assert (await self.account.status("INBOX")).messages == 2


def test_what_is_finished_after_a_crash_can_be_brought_back(tmp_path):
    bench = Bench(tmp_path / "a.test" / "alice")
    hierarchy.create(bench.home, "Old")
    for mailbox in ("INBOX", "Old"):
        bench.put(1, 2, 3, mailbox=mailbox, keywords=frozenset({"later"}))
        removal._begin(bench.home, bench.home.row(mailbox).id, [1, 3])
    bench.home.shut()
    bench.boot("first boot")
    bench.home.deleted.keep = 3600.0
    assert [list(bench.uids(mailbox)) for mailbox in ("INBOX", "Old")] == [[2], [2]]
    found = {each.mailbox: each.path for each in kept(str(bench.path))}
    assert {mailbox: len(Maildir(path).list()) for mailbox, path in found.items()} == {"INBOX": 2, "Old": 2}
    assert all("later" in Path(path, "dovecot-keywords").read_text() for path in found.values())
