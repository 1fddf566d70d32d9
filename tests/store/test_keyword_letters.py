"""Keywords in file names and in `dovecot-keywords`: ours, those of others, and where both meet."""

import os
import socket
import subprocess
import time

import pytest
from store_case import Bench

from twisted_mta.store import flagging, keyword_file, relocation
from twisted_mta.store.file_names import SLICE
from twisted_mta.store.flags import SEEN
from twisted_mta.store.keyword_file import KEYWORDS, LETTERS, letters_of, read_keywords
from twisted_mta.store.quota import EMPTY, UNLIMITED, Room
from twisted_mta.store.relocation import copy, move


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path / "alice")
    bench.put(1, 2, 3)
    yield bench
    bench.home.close()


def path(bench, directory=""):
    return bench.path / "Maildir" / directory


def infos(bench, directory=""):
    return sorted(name.partition(":2,")[2] for name in os.listdir(path(bench, directory) / "cur"))


def keywords(bench, name="INBOX"):
    folder = bench.folder(name)
    return {row.uid: row.keywords for row in bench.home.index.messages(folder.id)}


def set_flags(bench, uids, how, bits, words, mailbox="INBOX"):
    """Flags are changed, and a slice of the files get their names."""
    flagging.set_flags(bench.folder(mailbox), uids, how, bits, frozenset(words))
    bench.home.catch_up()


def add(bench, uids, *words):
    set_flags(bench, uids, "add", 0, words)


def lose_the_index(bench):
    bench.home.close()
    for name in os.listdir(bench.path):
        if name.startswith("index.sqlite"):
            os.unlink(bench.path / name)
    bench.boot("first boot")


def give_name(bench, uid, change):
    """Another program gives the message's file other letters."""
    folder = bench.folder()
    (row,) = folder.index.messages(folder.id, [uid])
    os.rename(folder.file(row), path(bench) / "cur" / f"{row.name}{change(row.tail)}")
    folder.scan()


def test_they_survive_the_loss_of_the_index(bench):
    add(bench, [1, 2], "work", "$Junk")
    add(bench, [2], "later")
    set_flags(bench, [1], "remove", 0, {"work"})
    assert (path(bench) / KEYWORDS).read_text() == "0 $Junk\n1 work\n2 later\n"
    assert infos(bench) == ["a", "abc"]
    lose_the_index(bench)
    assert sorted(keywords(bench).values()) == ["", "$Junk", "$Junk later work"]


def test_a_delivery_with_keywords(bench):
    assert bench.put(4, keywords=frozenset({"work"})) == [4]
    while bench.home.catch_up():
        pass
    assert infos(bench) == ["a"]
    assert bench.put(5, keywords=frozenset({"WORK"}), bits=SEEN) == [5]
    assert infos(bench) == ["Sa", "a"] and not bench.home.is_behind
    assert keywords(bench)[5] == "work"


def test_letters_of_others_are_keywords(bench):
    give_name(bench, 1, lambda tail: tail + ":2,Sb")  # before the file says what it is
    assert keywords(bench)[1] == ""
    (path(bench) / KEYWORDS).write_text("1 theirs\n")
    bench.folder().scan()
    assert keywords(bench)[1] == "theirs"
    give_name(bench, 2, lambda tail: tail + ":2,bz")
    assert keywords(bench)[2] == "theirs" and infos(bench) == ["Sb", "bz"]
    add(bench, [2], "ours")
    assert (path(bench) / KEYWORDS).read_text() == "0 ours\n1 theirs\n" and infos(bench) == ["Sb", "abz"]
    give_name(bench, 2, lambda tail: tail.replace("b", ""))
    assert keywords(bench)[2] == "ours"
    set_flags(bench, [1, 2], "replace", SEEN, ())
    assert infos(bench) == ["S", "Sz"]


def test_what_a_letter_means_is_learned_while_another_is_given(bench):
    give_name(bench, 1, lambda tail: tail + ":2,b")
    (path(bench) / KEYWORDS).write_text("1 theirs\n")
    add(bench, [1], "ours")
    assert keywords(bench)[1] == "ours theirs" and infos(bench) == ["ab"]


def test_a_letter_that_means_something_else_now(bench):
    add(bench, [1, 2], "work")
    (path(bench) / KEYWORDS).write_text("0 play\n")
    bench.folder().scan()
    assert keywords(bench) == {1: "play", 2: "play", 3: ""}


def test_the_file_is_lost(bench):
    add(bench, [1], "z", "y")
    add(bench, [2], "a")
    before = read_keywords(path(bench))
    os.unlink(path(bench) / KEYWORDS)
    bench.home.close()
    bench.boot("first boot")
    add(bench, [3], "b")
    assert read_keywords(path(bench)) == before | {"d": "b"}
    assert keywords(bench) == {1: "y z", 2: "a", 3: "b"}


def test_more_than_there_are_letters_for(bench):
    words = [f"k{number:02}" for number in range(30)]
    add(bench, [1], *words)
    assert infos(bench) == [LETTERS] and not bench.home.is_behind
    assert keywords(bench)[1].split() == words
    add(bench, [2], "k29")
    assert keywords(bench)[2] == "k29" and infos(bench) == ["", LETTERS]


def test_other_mailboxes_have_other_letters(bench):
    add(bench, [1], "one", "two")
    trash = bench.folder("Trash")
    bench.put(9, mailbox="Trash")
    set_flags(bench, [1], "add", 0, {"two"}, "Trash")
    copy(bench.folder(), trash, [1], Room(UNLIMITED, EMPTY))
    move(bench.folder(), trash, [1])
    while bench.home.catch_up():
        pass
    assert keywords(bench, "Trash") == {1: "two", 2: "one two", 3: "one two"}
    assert infos(bench, ".Trash") == ["a", "ab", "ab"]
    assert read_keywords(path(bench, ".Trash")) == {"a": "two", "b": "one"}


def test_many_messages(bench):
    bench.put(*range(4, SLICE + 10))
    folder = bench.folder()
    flagging.set_flags(folder, range(1, SLICE + 10), "add", 0, frozenset({"all"}))
    flagging.set_flags(folder, [2], "remove", 0, frozenset({"all"}))
    bench.home.shut()
    assert set(infos(bench)) == {"a", ""} and infos(bench).count("") == 1


def test_while_others_have_the_lock_the_letters_wait(bench):
    lock = path(bench) / "dovecot-uidlist.lock"
    lock.write_text("1:elsewhere")
    add(bench, [1], "work")
    assert infos(bench) == [] and keywords(bench)[1] == "work" and bench.home.is_behind
    assert not bench.home.catch_up() and bench.reports == []
    with pytest.raises(BlockingIOError):
        letters_of(str(path(bench)), ["work"], 0.0)
    os.utime(lock, (time.time() - 1000, time.time() - 1000))  # its maker has crashed
    bench.home.catch_up()
    assert infos(bench) == ["a"] and not lock.exists()


def test_the_lock_of_a_process_that_is_no_more_is_taken(bench):
    lock = path(bench) / "dovecot-uidlist.lock"
    ended = subprocess.Popen(["true"])
    ended.wait()
    for process in (ended.pid, os.getpid(), 10**30):
        lock.write_text(f"{process}:{socket.gethostname()}")
        letters_of(str(path(bench)), [f"k{process}"], 0.0)
        assert not lock.exists()
    lock.write_text(f"{os.getppid()}:{socket.gethostname()}")
    with pytest.raises(BlockingIOError):
        letters_of(str(path(bench)), ["work"], 0.0)


def test_a_lock_that_may_not_be_read_is_respected(bench, monkeypatch):
    (path(bench) / "dovecot-uidlist.lock").write_text("another user's")

    def refused(*_, **how):
        raise PermissionError(13, "not for us")

    monkeypatch.setattr(keyword_file, "open", refused, raising=False)
    monkeypatch.setattr(keyword_file, "read_keywords", lambda path: {})
    add(bench, [1], "work")
    assert infos(bench) == [] and bench.home.is_behind and bench.reports == []


class Killed(BaseException):
    """The process ends here, and does nothing any more."""


def test_killed_in_the_middle_of_a_move(bench, monkeypatch):
    """The files are there, the rows are not: what the files tell is all there is."""
    add(bench, [1, 2], "work")
    add(bench, [2], "later")

    def kill(*_):
        raise Killed

    monkeypatch.setattr(relocation, "_commit", kill)
    monkeypatch.setattr(relocation, "_undo", kill)
    with pytest.raises(Killed):
        move(bench.folder(), bench.folder("Trash"), [1, 2])
    bench.home.close()
    bench.boot("first boot")
    bench.folder().scan()
    bench.folder("Trash").scan()
    assert keywords(bench) == {3: ""}
    assert sorted(keywords(bench, "Trash").values()) == ["later work", "work"]


def test_the_time_of_the_file_grows(bench):
    """Dovecot looks at whole seconds."""
    times = []
    for number in range(3):
        add(bench, [1], f"k{number}")
        times.append(int((path(bench) / KEYWORDS).stat().st_mtime))
    assert times == sorted(set(times))


def test_what_cannot_be_a_keyword_keeps_its_letter(bench):
    (path(bench) / KEYWORDS).write_bytes(b"0 a(b\n1 \xff\n99 x\n-1 y\njunk\n2 good\n")
    give_name(bench, 1, lambda tail: tail + ":2,abc")
    assert keywords(bench)[1] == "good"
    add(bench, [1], "new")
    assert infos(bench) == ["abcd"]
