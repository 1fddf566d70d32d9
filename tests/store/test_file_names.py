"""File names follow the index: in slices, after a crash, amid the work of others."""

import errno
import os
import sqlite3
from unittest.mock import patch

import pytest
from store_case import ARRIVED, Bench, StoreCase, message
from twisted.internet.defer import Deferred

from twisted_mta.store.file_names import SLICE
from twisted_mta.store.flagging import claim_recent, set_flags
from twisted_mta.store.flags import DELETED, FLAGGED, SEEN
from twisted_mta.store.index.behind import BehindRows
from twisted_mta.store.quota import EMPTY, UNLIMITED, Room
from twisted_mta.store.relocation import copy, move

MANY = 2 * SLICE + 50


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path / "alice")
    bench.home.open()
    for number in range(1, MANY + 1):
        file = f"cur/{int(ARRIVED) + number}.m{number}.mx.a.test:2,S"
        (bench.path / "Maildir" / file).write_bytes(message(number).replace(b"\r\n", b"\n"))
    yield bench
    bench.home.close()


def letters(bench, directory=""):
    """How many files have which letters."""
    found = {}
    for name in os.listdir(bench.path / "Maildir" / directory / "cur"):
        found.setdefault(name.partition(":2,")[2], []).append(name)
    return {info: len(names) for info, names in found.items()}


def everything(bench):
    return range(1, MANY + 1)


def flag(bench, bits=FLAGGED, how="add"):
    folder = bench.folder()
    assert set_flags(folder, everything(bench), how, bits, frozenset()).changed == list(everything(bench))
    return folder


def test_they_follow_slice_by_slice(bench):
    folder = flag(bench)
    assert {row.flags for row in bench.home.index.messages(folder.id)} == {SEEN | FLAGGED}
    assert letters(bench) == {"S": MANY} and bench.home.is_behind
    assert bench.home.catch_up()
    assert letters(bench) == {"S": MANY - SLICE, "FS": SLICE}
    assert bench.home.catch_up() and not bench.home.catch_up()
    assert letters(bench) == {"FS": MANY} and not bench.home.is_behind
    assert not bench.home.catch_up()
    assert bench.uids().keys() == set(everything(bench))


def test_only_those_that_are_behind_are_renamed(bench):
    folder = bench.folder()
    set_flags(folder, [3, 4], "replace", DELETED, frozenset())
    assert letters(bench) == {"S": MANY} and bench.home.is_behind
    assert not bench.home.catch_up()
    assert letters(bench) == {"S": MANY - 2, "T": 2} and not bench.home.is_behind


def test_what_is_expunged_meanwhile_needs_no_name(bench):
    folder = bench.folder()
    set_flags(folder, [3, 4], "add", DELETED, frozenset())
    assert folder.expunge([3, 4]) == [3, 4]
    with patch.object(os, "rename", lambda *names: 1 / 0):
        bench.home.catch_up()
    assert letters(bench) == {"S": MANY - 2} and not bench.home.is_behind


def test_changes_while_they_follow(bench):
    flag(bench)
    bench.home.catch_up()
    flag(bench, SEEN, "remove")
    while bench.home.catch_up():
        pass
    assert letters(bench) == {"F": MANY}


def test_after_a_crash_they_follow(bench):
    flag(bench)
    bench.home.catch_up()
    place = bench.home.index.place

    def killed(*details):
        place(*details)
        raise KeyboardInterrupt

    bench.home.index.place = killed
    with pytest.raises(KeyboardInterrupt):  # renamed, but not committed
        bench.home.catch_up()
    bench.boot("first boot")
    folder = bench.folder()
    assert {row.flags for row in bench.home.index.messages(folder.id)} == {SEEN | FLAGGED}
    bench.home.shut()
    assert letters(bench) == {"FS": MANY}
    bench.boot("first boot")
    folder = bench.folder()
    assert {row.tail.partition(":2,")[2] for row in bench.home.index.messages(folder.id)} == {"FS"}


def test_what_is_taken_back_after_a_crash_stays_so(bench):
    flag(bench)
    bench.home.index.place = lambda *details: 1 / 0
    with pytest.raises(ZeroDivisionError):
        bench.home.catch_up()
    bench.boot("first boot")
    flag(bench, FLAGGED, "remove")
    bench.home.shut()
    assert letters(bench) == {"S": MANY}
    bench.boot("first boot")
    folder = bench.folder()
    assert {row.flags for row in bench.home.index.messages(folder.id)} == {SEEN}


def test_changes_by_others_meanwhile_are_merged(bench):
    folder = flag(bench)
    cur = bench.path / "Maildir" / "cur"
    one, two, three = sorted(os.listdir(cur), key=lambda name: int(name.split(".")[0]))[:3]
    os.rename(cur / one, cur / one.replace(":2,S", ":2,RS"))
    os.rename(cur / two, cur / two.replace(":2,S", ":2,"))
    os.unlink(cur / three)
    while bench.home.catch_up():
        pass
    folder.refresh()
    assert letters(bench) == {"FRS": 1, "F": 1, "FS": MANY - 3}
    assert [(row.uid, row.flags) for row in bench.home.index.messages(folder.id, [1, 2, 3])] == [
        (1, 1 | SEEN | FLAGGED),
        (2, FLAGGED),
    ]


def test_messages_that_are_behind_can_be_copied_moved_and_removed(bench):
    folder = flag(bench)
    trash = bench.folder("Trash")
    last = MANY
    copy(folder, trash, [last], Room(UNLIMITED, EMPTY))
    move(folder, trash, [last - 1])
    assert folder.expunge([last - 2]) == [last - 2]
    assert letters(bench, ".Trash") == {"FS": 2}
    while bench.home.catch_up():
        pass
    assert letters(bench) == {"FS": MANY - 2}
    assert folder.expunge(everything(bench)) == [*range(1, MANY - 2), MANY]


def test_a_file_that_cannot_be_renamed_holds_up_no_other(bench):
    folder = flag(bench)
    rename = os.rename

    def refused(source, target):
        if ".m7." in source:
            raise OSError(errno.EACCES, "Permission denied")
        rename(source, target)

    with patch.object(os, "rename", refused):
        while bench.home.catch_up():
            pass
    assert letters(bench) == {"S": 1, "FS": MANY - 1}
    assert any("Permission denied" in report for report in bench.reports)
    folder.scan()
    assert bench.home.index.messages(folder.id, [7])[0].flags == SEEN | FLAGGED


def test_an_index_that_is_full_only_delays_the_names(bench):
    folder = bench.folder()

    def full(*details):
        raise sqlite3.OperationalError("database or disk is full")

    with patch.object(BehindRows, "done", full):
        assert set_flags(folder, [1, 2], "add", DELETED, frozenset()).changed == [1, 2]
        with pytest.raises(sqlite3.OperationalError):
            bench.home.catch_up()
        folder.refresh()
        assert not bench.home.is_behind  # until something happens
    bench.home.close()
    bench.boot("first boot")
    assert bench.folder() and bench.home.is_behind
    bench.home.shut()
    assert letters(bench) == {"ST": 2, "S": MANY - 2}


def test_recent_messages_move_to_cur(bench):
    new = bench.path / "Maildir" / "new"
    for number in range(MANY):
        (new / f"1800000000.m{number}.mx").write_bytes(b"x\n")
    folder = bench.folder()
    claim_recent(folder, 2 * MANY + 1)
    assert len(os.listdir(new)) == MANY and folder.index.recent(folder.id) == 0
    while bench.home.catch_up():
        pass
    assert os.listdir(new) == [] and letters(bench) == {"S": MANY, "": MANY}


def test_a_mailbox_that_is_gone_is_not_waited_for(bench):
    bench.put(*range(SLICE + 1), mailbox="Archive")
    folder = bench.folder("Archive")
    set_flags(folder, range(1, SLICE + 2), "add", SEEN, frozenset())
    with bench.home.index.transaction():
        bench.home.index.remove_mailbox(folder.id)
    bench.home.shut()


class FollowingTests(StoreCase):
    async def test_the_answer_does_not_wait_and_a_stop_finishes(self):
        await self.deliver(*range(MANY))
        mailbox, changes = await self.open()
        await mailbox.set_flags(mailbox.uids, "add", frozenset({"\\Seen"}))
        assert changes[-1].flags == tuple(mailbox.uids)
        assert len([name for name in self.files() if name.endswith(":2,S")]) < MANY
        assert None not in await mailbox.read(mailbox.uids)
        await mailbox.set_flags(mailbox.uids, "add", frozenset({"\\Deleted"}))
        await self.store.stop()
        assert {name.rpartition(":2,")[2] for name in self.files()} == {"ST"}
        await self.start_store()
        mailbox, _ = await self.open()
        assert mailbox.status().deleted == MANY

    async def test_nobody_waits_long_for_the_others(self):
        """A visit that is asked for while names follow comes before the next slice but one."""
        await self.deliver(*range(MANY))
        mailbox, _ = await self.open()
        slices = []
        self.patch(self.account.upkeep, "untidy", lambda account: None)
        self.patch(
            type(self.account.home),
            "catch_up",
            lambda home, real=type(self.account.home).catch_up: slices.append(home) or real(home),
        )
        await mailbox.set_flags(mailbox.uids, "add", frozenset({"\\Seen"}))
        following = Deferred.fromCoroutine(self.account.tidy())
        await self.account.visit(lambda home: None)
        assert len(slices) <= 2
        await following
        assert {name.rpartition(":2,")[2] for name in self.files()} == {"S"}
        assert message(1) in await mailbox.read(mailbox.uids)
