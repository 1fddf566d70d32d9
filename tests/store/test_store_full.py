"""A full disk: mail is refused while there is still space to read and remove what is there."""

import errno
import os
import subprocess
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from programs import program
from store_case import ALICE, ARRIVED, Bench, StoreCase, message

from twisted_mta.message.content import Content
from twisted_mta.store.errors import StorageFull
from twisted_mta.store.flagging import set_flags
from twisted_mta.store.flags import DELETED
from twisted_mta.store.index.emails import Emails
from twisted_mta.store.index.reader import Reader
from twisted_mta.store.space import RESERVE, require_space, reserve

MiB = 1024 * 1024


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        (0, 0),  # not told
        (4 * MiB, MiB // 4),
        (16 * MiB, MiB),
        (100 * MiB, MiB),
        (1000 * MiB, 10 * MiB),
        (1 << 50, RESERVE),
    ],
)
def test_the_reserve(size, kept):
    assert reserve(size) == kept


class Space:
    """What statvfs tells: a disk of 1 TiB with this much left."""

    f_frsize = 4096
    f_blocks = 2**28

    def __init__(self, free):
        self.f_bavail = free // 4096


def with_free(octets):
    return patch.object(os, "statvfs", lambda path: Space(octets))


def test_what_is_to_be_written_counts():
    with with_free(RESERVE + MiB):
        require_space("/", MiB)
        with pytest.raises(OSError) as caught:
            require_space("/", MiB + 1)
    assert caught.value.errno == errno.ENOSPC


class ReserveTests(StoreCase):
    async def test_nothing_comes_in_and_everything_else_can_be_done(self):
        await self.deliver(1, 2, 3)
        mailbox, _ = await self.open()
        with with_free(RESERVE - MiB):
            assert (await self.refused(StorageFull, self.add())).code == 452
            await self.refused(StorageFull, mailbox.copy([1], "Sent"))
            for size in (10, 200_000):
                await self.refused(StorageFull, self.append(size))
            assert (await mailbox.move([1], "Trash")).target_uids == (1,)
            assert (await mailbox.set_flags([2], "add", frozenset({"\\Deleted"}))).changed == [2]
            assert await mailbox.expunge([2]) == [2]
            assert await self.numbers("INBOX") == {3: 3}
        assert os.listdir(self.maildir("tmp")) == []

    async def add(self, size=40):
        content = Content(b"", message(9, size))
        await self.store.deliver(ALICE, content, unique=f"add{size}", arrived=ARRIVED)

    async def append(self, size):
        draft = await self.store.draft(ALICE)
        await draft.write(message(9, size))
        await draft.end_message(frozenset(), None)
        await draft.commit("INBOX")

    async def test_a_rendering_that_cannot_be_kept_is_given_all_the_same(self):
        await self.deliver(1, 2)
        mailbox, _ = await self.open()

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        for place, method in ((Emails, "keep_renderings"), (Reader, "renderings")):
            with patch.object(place, method, full):
                assert await mailbox.cached("size", [1, 2], lambda data: b"%d" % len(data)) == [b"56"] * 2
                await mailbox.refresh()  # behind the keeping, in the lane


@contextmanager
def small_disk(path, size):
    """A file system of that size, where this process may mount one."""
    done = subprocess.run(
        [program("mount"), "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"needs root and the right to mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([program("umount"), "-l", path], check=True)


def test_a_small_disk_that_mail_has_filled_can_be_emptied_by_its_owner(tmp_path):
    with small_disk(tmp_path, "16m"):
        bench = Bench(tmp_path / "a.test" / "alice")
        bench.home.open()
        count = 0
        with pytest.raises(StorageFull):
            while True:
                bench.put(*range(count, count + 50))
                count += 50
        bench.home.close()
        bench.boot("second boot")
        folder = bench.folder()
        uids = [row.uid for row in folder.index.messages(folder.id)]
        assert len(uids) > 1000
        assert set_flags(folder, uids, "add", DELETED, frozenset()).changed == uids
        assert folder.expunge(uids) == uids
        assert bench.put(count) > uids[-1:]
        bench.home.close()
