"""How long, and how much, of what was expunged is kept."""

import os

import pytest
from store_case import Bench

from twisted_mta.store import hierarchy, space
from twisted_mta.store.deleted import brought_back, kept, make_room
from twisted_mta.store.maildir import Maildir
from twisted_mta.store.quota import Limits

HOUR = 3600.0


def bench_of(tmp_path, keep):
    bench = Bench(tmp_path / "a.test" / "alice")
    bench.home.deleted.keep = keep
    return bench


def there(bench):
    """By mailbox, how many messages are kept."""
    found = {}
    for each in kept(str(bench.path)):
        found[each.mailbox] = found.get(each.mailbox, 0) + len(Maildir(each.path).list())
    return found


def sweep(bench):
    while bench.home.deleted.sweep():
        pass


def test_nothing_is_kept_unless_that_is_wanted(tmp_path):
    bench = bench_of(tmp_path, 0)
    bench.put(1, 2)
    bench.folder().expunge([1])
    hierarchy.create(bench.home, "Old")
    hierarchy.delete(bench.home, "Old")
    assert there(bench) == {}
    assert not (bench.path / "deleted").exists()


def test_what_is_old_goes(tmp_path):
    bench = bench_of(tmp_path, 24 * HOUR)
    bench.put(1, 2, 3)
    bench.folder().expunge([1, 2])
    bench.now += 12 * HOUR
    bench.folder().expunge([3])
    sweep(bench)
    assert there(bench) == {"INBOX": 3}
    bench.now += 13.5 * HOUR
    sweep(bench)
    assert there(bench) == {"INBOX": 1}
    bench.now += 13.5 * HOUR
    sweep(bench)
    assert there(bench) == {}
    assert os.listdir(bench.path / "deleted") == []


def test_half_of_the_quota_is_the_most(tmp_path):
    bench = bench_of(tmp_path, 24 * HOUR)
    bench.put(1, 2, 3)
    size = bench.home.index.usage()[0] // 3
    bench.home.limits = lambda: Limits(4 * size)
    for uid in (1, 2, 3):
        bench.folder().expunge([uid])
        bench.now += HOUR
    sweep(bench)
    assert there(bench) == {"INBOX": 2}


def test_a_mailbox_deleted_twice_in_an_hour(tmp_path):
    bench = bench_of(tmp_path, 24 * HOUR)
    for number in (1, 2):
        hierarchy.create(bench.home, "Old")
        bench.put(number, mailbox="Old")
        hierarchy.delete(bench.home, "Old")
    assert there(bench) == {"Old": 2}


def test_a_deleted_mailbox_stays_as_it_was(tmp_path):
    """The letters of keywords mean something else in the next mailbox of its name."""
    bench = bench_of(tmp_path, 24 * HOUR)
    for number in (1, 2):
        hierarchy.create(bench.home, "Old")
        bench.put(number, mailbox="Old")
        if number == 1:
            hierarchy.delete(bench.home, "Old")
    bench.folder("Old").expunge([1])
    found = sorted(kept(str(bench.path)), key=lambda each: each.gone is None)
    assert [each.gone for each in found] == [float(int(bench.now)), None]
    assert [len(Maildir(each.path).list()) for each in found] == [1, 1]


def test_on_a_full_disk_what_is_expunged_goes_at_once(tmp_path, monkeypatch):
    bench = bench_of(tmp_path, 24 * HOUR)
    bench.put(1)
    size = 24 << 20
    monkeypatch.setattr(space, "_size_and_free", lambda path: (size, space.reserve(size) + 4096))
    space.require_space(str(bench.path), 0)  # new mail may still come: it must not be what fills the rest
    bench.folder().expunge([1])
    assert there(bench) == {}
    assert not list((bench.path / "Maildir").rglob("1.*"))


def test_on_a_full_disk_what_was_kept_makes_room_the_oldest_first(tmp_path, monkeypatch):
    root = tmp_path / "mail[1]"  # which is no pattern
    alice, bob = bench_of(root, 24 * HOUR), Bench(root / "b.test" / "bob")
    bob.home.deleted.keep = 24 * HOUR
    for number, bench in enumerate((bob, alice, alice)):
        bench.now += number * HOUR
        bench.folder().expunge(bench.put(number))
    said = []
    make_room(str(root), said.append)
    assert there(alice) == {"INBOX": 2} and there(bob) == {"INBOX": 1} and said == []
    size = 24 << 20

    def until_one_is_left(path):
        enough = sum(map(len, map(os.listdir, root.glob("*/*/deleted")))) == 1
        return size, (3 if enough else 1) * space.reserve(size)

    monkeypatch.setattr(space, "_size_and_free", until_one_is_left)
    make_room(str(root), said.append)
    assert there(alice) == {"INBOX": 1} and there(bob) == {}
    assert [each.hour for each in kept(str(alice.path))] == [(alice.now // HOUR) * HOUR]
    assert len(said) == 1 and "cannot be brought back" in said[0]


def test_a_disk_that_cannot_be_asked_is_taken_for_full(tmp_path):
    assert space.is_tight(str(tmp_path / "nothing"))
    assert not space.is_tight(str(tmp_path))


@pytest.mark.parametrize("moment", ["listed", "emptied"])
def test_what_is_expunged_while_something_is_brought_back_stays(tmp_path, monkeypatch, moment):
    bench = bench_of(tmp_path, 24 * HOUR)
    bench.put(1, 2)
    bench.folder().expunge([1])
    (each,) = kept(str(bench.path))
    back = set(Maildir(each.path).list())
    look, rmdir = Maildir.list, os.rmdir

    def expunge_another():
        monkeypatch.undo()
        bench.folder().expunge([2])

    def interrupted_list(maildir):
        found = look(maildir)
        if not found:
            expunge_another()
        return found

    def interrupted_rmdir(path):
        rmdir(path)
        expunge_another()

    if moment == "listed":
        monkeypatch.setattr(Maildir, "list", interrupted_list)
    else:
        monkeypatch.setattr(os, "rmdir", interrupted_rmdir)
    brought_back(each, back)
    assert there(bench) == {"INBOX": 1}
    brought_back(each, set(look(Maildir(each.path))))
    assert os.listdir(bench.path / "deleted") == []
