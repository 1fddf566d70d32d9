"""Columns in a file: used when they are exactly what the index has, and never otherwise."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_case import StoreCase, message

from twisted_mta.store import snapshot
from twisted_mta.store.columns import Columns
from twisted_mta.store.index.index import Index
from twisted_mta.store.snapshot import Marks, pack, unpack

MARKS = Marks("epoch", 7, 3)
ROWS = st.lists(
    st.tuples(
        st.integers(1, 2**32 - 1),
        st.integers(0, 31),
        st.sampled_from(["", "a", "a b"]),
        st.integers(0, 2**33),
        st.floats(0, 1e12),
        st.integers(1, 2**60),
        st.integers(1, 2**60),
        st.floats(0, 1e12),
    ),
    unique_by=lambda row: row[0],
    max_size=20,
).map(sorted)


def content(columns):
    sets = [columns.flag_sets[number] for number in columns.flag_numbers]
    return [
        *(
            list(getattr(columns, name))
            for name in ("uids", "sizes", "dates", "modseqs", "emails", "save_dates")
        ),
        [(flags.bits, flags.keywords) for flags in sets],
        columns.counts(),
        columns.keywords,
    ]


@given(ROWS)
@settings(max_examples=100, deadline=None)
def test_what_is_packed_is_unpacked(rows):
    columns = Columns(rows)
    again = unpack(pack(columns, MARKS), MARKS)
    assert content(again) == content(columns)
    assert unpack(pack(columns, MARKS), MARKS._replace(highest_modseq=4)) is None
    assert unpack(pack(columns, MARKS), MARKS._replace(epoch="other")) is None


def test_more_combinations_than_an_octet_counts():
    rows = [(uid, uid % 32, f"k{uid}", 5, 0.0, 1, uid, 0.0) for uid in range(1, 400)]
    columns = Columns(rows)
    assert content(unpack(pack(columns, MARKS), MARKS)) == content(columns)


@given(st.integers(0, 10_000), st.integers(1, 255), st.integers(0, 10_000))
@settings(max_examples=200, deadline=None)
def test_what_is_damaged_is_not_used(place, change, end):
    rows = [(uid, uid % 4, "", 5, 0.0, 1, uid, 0.0) for uid in range(1, 40)]
    packed = bytearray(pack(Columns(rows), MARKS))
    torn = bytes(packed[: end % len(packed)])
    assert unpack(torn, MARKS) is None
    packed[place % len(packed)] ^= change
    found = unpack(bytes(packed), MARKS)
    assert found is None or content(found)[:6] == content(Columns(rows))[:6]


@pytest.mark.parametrize("junk", [b"", b"\n", b"{}\n", b"[]\n", b"null\n", b"\xff\n"])
def test_junk(junk):
    assert unpack(junk, MARKS) is None


class SnapshotTests(StoreCase):
    async def start(self):
        self.patch(snapshot, "WORTHWHILE", 2)
        await super().start()
        reads = self.reads = []
        columns = Index.columns
        self.patch(Index, "columns", lambda index, number: (reads.append(number), columns(index, number))[1])

    def files(self, directory=""):
        return os.listdir(self.home / snapshot.DIRECTORY)

    async def test_after_a_restart_no_row_is_read(self):
        await self.deliver(1, 2, 3)
        mailbox, _ = await self.open()
        await mailbox.set_flags([2], "add", frozenset({"\\Seen", "word"}))
        before = content(mailbox.columns)
        await self.restart_store()
        self.reads.clear()
        mailbox, _ = await self.open()
        assert self.reads == [] and content(mailbox.columns) == before
        assert self.files() == []  # used once
        await mailbox.expunge([1])
        await self.deliver(4)
        assert list(mailbox.uids) == [2, 3, 4] and mailbox.flags(2) == {"\\Seen", "word"}

    async def test_what_has_happened_since_makes_it_useless(self):
        await self.deliver(1, 2, 3)
        await self.open()
        await self.restart_store()
        await self.deliver(4)
        mailbox, _ = await self.open()
        assert list(mailbox.uids) == [1, 2, 3, 4] and self.reads[-1:] == [mailbox.number]
        await self.store.stop()
        (self.maildir() / "new" / "1.x.h").write_bytes(message(5))
        await self.start_store()
        mailbox, _ = await self.open()
        assert list(mailbox.uids) == [1, 2, 3, 4, 5]

    async def test_an_index_that_is_lost_takes_them_along(self):
        await self.deliver(1, 2)
        await self.open()
        await self.store.stop()
        assert len(self.files()) == 1
        for name in os.listdir(self.home):
            if name.startswith("index"):
                os.unlink(self.home / name)
        await self.start_store()
        assert sorted((await self.numbers("INBOX")).values()) == [1, 2]

    async def test_one_that_is_let_go(self):
        await self.deliver(1, 2)
        mailbox, _ = await self.open()
        await mailbox.close()
        self.store._upkeep._kept_messages = 0
        self.reads.clear()
        await (await self.account.open("Sent")).close()
        mailbox, _ = await self.open()
        assert mailbox.number not in self.reads and list(mailbox.uids) == [1, 2]

    async def test_a_mailbox_that_is_deleted(self):
        await self.account.create("old")
        await self.deliver(1, 2, mailbox="old")
        await self.open("old")
        await self.restart_store()
        assert len(self.files()) == 1
        await self.account.delete("old")
        assert self.files() == []

    async def test_one_that_cannot_be_written_or_read_is_done_without(self):
        await self.deliver(1, 2)
        (self.home / snapshot.DIRECTORY).write_bytes(b"in the way")
        reports = []
        self.account.home.report = reports.append
        await self.open()
        await self.restart_store()
        assert await self.numbers("INBOX") == {1: 1, 2: 2} and reports
