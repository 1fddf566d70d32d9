"""Lost and broken indexes, lost power, work that was cut short."""

import os
import shutil
import sqlite3
from contextlib import closing

import pytest
from store_case import ARRIVED, Bench, StoreCase, message

from twisted_mta.store import hierarchy
from twisted_mta.store.errors import NoSuchMailbox, StorageFull, disk_error
from twisted_mta.store.flagging import set_flags
from twisted_mta.store.flags import DELETED, SEEN
from twisted_mta.store.folder import Folder
from twisted_mta.store.index import index as index_module
from twisted_mta.store.index.index import LEAP, UID_BLOCK, Index
from twisted_mta.store.index.schema import MIGRATIONS
from twisted_mta.store.relocation import move


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path / "a.test" / "alice")
    bench.home.open()
    return bench


def snapshot(bench):
    """The index as it may be on the disk: what has been synced."""
    for name in ("index.sqlite", "index.sqlite-wal"):
        shutil.copy(bench.path / name, bench.path / f"saved.{name}")


def lose_power(bench):
    """Back to the snapshot, in another boot; files, which are synced, stay."""
    for name in ("index.sqlite", "index.sqlite-wal"):
        os.replace(bench.path / f"saved.{name}", bench.path / name)
    (bench.path / "index.sqlite-shm").unlink()
    bench.boot("second boot")


def test_no_uid_names_another_message_after_lost_power(bench):
    bench.put(1)
    snapshot(bench)
    told = dict(bench.uids())
    bench.put(2, 3)
    told.update(bench.uids())
    bench.folder().expunge([3])
    lose_power(bench)
    bench.put(4)
    after = bench.uids()
    assert len(after) == 3  # 1, 2 and 4
    for uid, name in after.items():
        assert told.get(uid, name) == name
    assert min(set(after) - set(told)) > UID_BLOCK
    assert bench.home.index.marks(bench.folder().id)[2] > LEAP


def test_a_clean_end_and_a_killed_process_leave_no_gap(bench):
    bench.put(1)
    bench.home.close()
    bench.boot("first boot")
    assert bench.put(2) == [2]
    bench.boot("first boot")  # killed
    assert bench.put(3) == [3]


def test_a_directory_is_read_after_a_killed_process_and_not_after_a_clean_end(bench, monkeypatch):
    scan, scans = Folder.scan, []
    monkeypatch.setattr(Folder, "scan", lambda folder: (scans.append(folder.name), scan(folder)))
    bench.put(1, 2)
    bench.folder().expunge([1])
    bench.home.shut()
    scans.clear()
    bench.boot("first boot")
    assert list(bench.uids()) == [2] and scans == []
    bench.put(3)
    bench.boot("first boot")  # killed, before the index was told which times are those of our own work
    assert list(bench.uids()) == [2, 3] and scans == ["INBOX"]
    assert bench.put(4) == [4]


def test_blocks_of_uids_are_reserved_before_they_are_given(bench):
    folder = bench.folder()
    index = bench.home.index
    for count in (1, UID_BLOCK - 1, 1, 3 * UID_BLOCK):
        index.reserve(folder.id, count)
        with index.transaction():
            index.take_uids(folder.id, count)
        uid_next, reserved = index._one(
            "SELECT uid_next, uid_reserved FROM mailboxes WHERE id = ?", folder.id
        )
        assert uid_next <= reserved


def test_a_file_without_a_row_and_a_row_without_a_file(bench):
    bench.put(1, 2)
    bench.folder().maildir.list()
    cur, new = bench.path / "Maildir" / "cur", bench.path / "Maildir" / "new"
    one, two = sorted(os.listdir(new))
    os.rename(new / one, cur / f"{one}:2,S")
    os.unlink(new / two)
    (new / "3.x.h").write_bytes(b"x")
    bench.boot("first boot")
    assert bench.uids() == {1: one.partition(",")[0], 3: "3.x.h"}


def break_by_deleting(path):
    path.unlink()


def break_by_truncating(path):
    os.truncate(path, 5000)


def break_by_emptying(path):
    os.truncate(path, 0)


def break_by_zeroing(path):
    path.write_bytes(bytes(path.stat().st_size))


def break_in_the_middle(path):
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "harm",
    [break_by_deleting, break_by_truncating, break_by_emptying, break_by_zeroing, break_in_the_middle],
)
def test_a_broken_index_costs_no_message_and_changes_every_uidvalidity(bench, harm):
    hierarchy.create(bench.home, "Lists/python")
    bench.put(*range(1, 30))
    bench.put(30, mailbox="Lists/python")
    before = {row.name: row.uid_validity for row in bench.home.index.mailboxes()}
    bench.home.close()
    harm(bench.path / "index.sqlite")
    bench.boot("first boot")
    bench.now -= 86400  # not even when the clock was set back
    case_results = repair(bench)
    assert len(case_results["INBOX"]) == 29 and len(case_results["Lists/python"]) == 1
    after = {row.name: row.uid_validity for row in bench.home.index.mailboxes()}
    assert after.keys() == before.keys()
    assert min(after.values()) > max(before.values())
    assert set(bench.home.index.subscriptions()) == set(after)
    assert bench.reports
    if harm is not break_by_deleting:
        assert [name for name in os.listdir(bench.path) if name.startswith("index.sqlite.corrupt-")]


def repair(bench):
    """What the lane does: once more after the corrupt index has been set aside."""
    names = ("INBOX", "Lists/python")
    try:
        return {name: bench.uids(name) for name in names}
    except sqlite3.DatabaseError as error:
        bench.home.set_aside(str(error))
        return {name: bench.uids(name) for name in names}


class BrokenWhileRunning(StoreCase):
    async def test_an_index_that_proves_corrupt_under_way_is_built_anew(self):
        await self.deliver(*range(1, 6))
        mailbox, changes = await self.open()
        validity = mailbox.uid_validity
        await self.account.shut()
        break_in_the_middle(self.home / "index.sqlite")
        uids = await self.deliver(6)
        assert changes[-1].deleted
        again, _ = await self.open()
        assert again is not mailbox and again.uid_validity > validity
        assert sorted((await self.numbers("INBOX")).values()) == [1, 2, 3, 4, 5, 6]
        assert await again.read(uids) == [message(6)]
        assert len(self.files()) == 6


def test_a_rename_that_was_cut_short_is_finished(bench):
    for name in ("a", "a/b", "a/c"):
        hierarchy.create(bench.home, name)
        bench.put(1, mailbox=name)
    validities = {row.name: row.uid_validity for row in bench.home.index.mailboxes()}
    rename, done = os.rename, []

    def killed(source, target):
        if done:
            raise KeyboardInterrupt
        done.append(target)
        rename(source, target)

    os.rename = killed
    try:
        with pytest.raises(KeyboardInterrupt):
            hierarchy.rename(bench.home, "a", "x")
    finally:
        os.rename = rename
    bench.boot("first boot")
    for old, new in (("a", "x"), ("a/b", "x/b"), ("a/c", "x/c")):
        assert list(bench.uids(new)) == [1]
        assert bench.home.row(new).uid_validity == validities[old]
    assert not [name for name in os.listdir(bench.path / "Maildir") if name.startswith(".a")]


def test_a_rename_that_fails_is_undone(bench):
    for name in ("a", "a/b"):
        hierarchy.create(bench.home, name)
        bench.put(1, mailbox=name)
    rename, done = os.rename, []

    def failing(source, target):
        done.append(target)
        if len(done) == 2:
            raise OSError(5, "Input/output error")
        rename(source, target)

    os.rename = failing
    try:
        with pytest.raises(OSError):
            hierarchy.rename(bench.home, "a", "x")
    finally:
        os.rename = rename
    assert list(bench.uids("a")) == [1] and list(bench.uids("a/b")) == [1]
    bench.boot("first boot")
    assert list(bench.uids("a")) == [1] and list(bench.uids("a/b")) == [1]


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_move_that_was_cut_short_loses_and_doubles_nothing(bench, after):
    bench.put(1, 2, 3)
    before = set(bench.uids().values())
    rename, done = os.rename, []

    def killed(source, target):
        if len(done) == after:
            raise SystemExit
        done.append(target)
        rename(source, target)

    inbox, sent = bench.folder(), bench.folder("Sent")
    inbox.index.transaction = None  # and the index learns nothing
    undo = _no_undo()
    os.rename = killed
    try:
        with undo, pytest.raises((SystemExit, TypeError)):
            move(inbox, sent, [1, 2, 3])
    finally:
        os.rename = rename
    bench.boot("first boot")
    left, arrived = bench.uids(), bench.uids("Sent")
    assert len(left) == 3 - after and len(arrived) == after
    assert set(left.values()) < before or after == 0
    assert bench.home.index.marks(bench.folder().id)[0] == 4


def _no_undo():
    from unittest.mock import patch

    from twisted_mta.store import relocation

    return patch.object(relocation, "_undo", lambda *args: None)


def test_a_deletion_that_was_cut_short_is_finished(bench):
    hierarchy.create(bench.home, "a")
    bench.put(1, mailbox="a")
    os.rename(bench.path / "Maildir" / ".a", bench.path / "removed.77")
    bench.boot("first boot")
    assert "a" not in [row.name for row in bench.home.index.mailboxes()]
    assert not (bench.path / "removed.77").exists()


def test_an_account_that_was_half_made_is_made(tmp_path):
    bench = Bench(tmp_path / "alice")
    (bench.path / "Maildir.new" / "cur").mkdir(parents=True)
    bench.home.open()
    assert len(bench.home.index.mailboxes()) == 6
    assert not (bench.path / "Maildir.new").exists()


def test_numbers_grow_though_clock_and_file_are_wrong(bench):
    numbers = [row.id for row in bench.home.index.mailboxes()]
    assert min(numbers) >= ARRIVED
    bench.now = 5.0
    hierarchy.create(bench.home, "a")
    assert bench.home.row("a").id > max(numbers)
    (bench.path / "numbers").write_text("junk")
    bench.now = ARRIVED + 100
    hierarchy.create(bench.home, "b")
    assert bench.home.row("b").id >= ARRIVED + 100


def test_migrations_are_numbered(tmp_path):
    index = Index(str(tmp_path / "i"))
    assert index._one("PRAGMA user_version")[0] == len(MIGRATIONS) == 2
    index.close()
    Index(str(tmp_path / "i")).close()


def test_a_transaction_that_fails_leaves_nothing(bench):
    index = bench.home.index
    with pytest.raises(ZeroDivisionError), index.transaction():
        index.subscribe(["x"])
        raise ZeroDivisionError
    assert "x" not in index.subscriptions()
    with index.transaction(durable=True):
        index.subscribe(["x"])
    assert "x" in index.subscriptions()


def test_a_full_disk_under_the_index_is_452():
    db = sqlite3.connect(":memory:")
    db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(sqlite3.OperationalError) as caught:
        db.execute("CREATE TABLE t (x)")
    assert isinstance(disk_error(caught.value), StorageFull)


def test_an_index_that_fails_takes_the_delivery_back(bench):
    bench.put(1)
    index = bench.home.index
    add = index.add

    def full(mailbox, messages):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    index.add = full
    with pytest.raises(StorageFull):
        bench.put(2, 3)
    index.add = add
    assert len(bench.uids()) == 1 and os.listdir(bench.path / "Maildir" / "tmp") == []
    assert bench.put(2) == [2]


@pytest.mark.parametrize("how", ["add", "replace", "remove"])
def test_flags_that_are_refused_are_never_set(bench, how):
    bench.put(1, 2, bits=SEEN)
    bench.put(3)
    folder = bench.folder()
    before = [bench.home.index.messages(folder.id), sorted(folder.maildir.list().items())]
    index = bench.home.index
    mark = index.mark

    def full(*details):
        mark(*details)
        raise sqlite3.OperationalError("database or disk is full")

    index.mark = full
    with pytest.raises(sqlite3.OperationalError):
        set_flags(folder, [1, 2, 3], how, SEEN if how == "remove" else DELETED, frozenset())
    index.mark = mark
    folder.refresh()
    assert [index.messages(folder.id), sorted(folder.maildir.list().items())] == before


def test_on_a_full_disk_mail_can_be_read_and_removed(bench):
    bench.put(*range(40))
    (bench.path / "Maildir" / "new" / "1.x.h").write_bytes(b"x")
    full = bench.home.index._db
    full.execute(f"PRAGMA max_page_count = {full.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(StorageFull):
        bench.put(*range(40, 3000))
    folder = bench.folder()
    assert len(bench.home.index.messages(folder.id)) >= 40
    new = bench.path / "Maildir" / "new"
    (first,) = [name for name in os.listdir(new) if ".m0." in name]
    os.rename(new / first, bench.path / "Maildir" / "cur" / f"{first}:2,S")
    assert folder.expunge(range(1, 30)) == list(range(1, 30))
    full.execute("PRAGMA max_page_count = 1000000")
    assert "1.x.h" in bench.uids().values()


class EmptiedTests(StoreCase):
    async def test_an_index_that_is_emptied_while_it_is_in_use(self):
        """Whoever reads messages notices: there is no answer that leaves them out."""
        await self.deliver(1, 2, 3)
        mailbox, changes = await self.open()
        os.truncate(self.home / "index.sqlite", 0)
        await self.refused(NoSuchMailbox, mailbox.read(mailbox.uids))
        assert changes[-1].deleted
        assert sorted((await self.numbers("INBOX")).values()) == [1, 2, 3]
        assert (await self.account.open("INBOX")).uid_validity > mailbox.uid_validity


@pytest.mark.parametrize("boot", ["first boot", "second boot"])
@pytest.mark.parametrize("more", [3, 25])  # in the same block of UIDs, and in later ones
@pytest.mark.parametrize("in_use", [False, True])  # when it was saved
def test_an_older_index_that_is_put_back_gives_no_uid_twice(bench, more, boot, in_use, monkeypatch):
    monkeypatch.setattr(index_module, "UID_BLOCK", 10)
    bench.put(1)
    if in_use:
        with closing(sqlite3.connect(bench.path / "index.sqlite")) as index:
            index.execute("VACUUM INTO ?", (str(bench.path / "saved"),))
    else:
        bench.home.close()
        shutil.copy(bench.path / "index.sqlite", bench.path / "saved")
        bench.boot("first boot")
    bench.put(*range(2, 2 + more))
    told = dict(bench.uids())
    modseq = bench.home.index.marks(bench.folder().id)[2]
    validity = bench.folder().uid_validity
    bench.folder().expunge([max(told)])
    bench.home.close()
    shutil.copy(bench.path / "saved", bench.path / "index.sqlite")
    bench.boot(boot)
    bench.put(10_000)
    after = bench.uids()
    assert bench.folder().uid_validity == validity and len(after) == more + 1
    for uid, name in after.items():
        assert told.get(uid, name) == name
    assert min(set(after) - {1}) > max(told)
    assert bench.home.index.marks(bench.folder().id)[2] > modseq
