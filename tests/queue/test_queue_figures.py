"""How much is in the queue and how old it is; and whether it can be written to."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest
from queue_house import InlineQueue, WallClock, now, put

from twisted_mta.message.outcome import Action, Outcome
from twisted_mta.queue import writer
from twisted_mta.queue.figures import AGES, OLDER
from twisted_mta.queue.ids import Numbers, decode, number_at
from twisted_mta.queue.records import Result, Settlement


@pytest.fixture
def queue(tmp_path: Path):
    queue = InlineQueue(tmp_path / "queue", WallClock())
    now(queue.start())
    yield queue
    now(queue.stop())


def figures(queue):
    found = now(queue.figures())
    return {key: count for key, count in found.recipients.items() if count}, found.oldest


def test_an_empty_queue(queue):
    assert figures(queue) == ({}, 0.0)
    assert len(now(queue.figures()).recipients) == 3 * (len(AGES) + 1)


def test_recipients_by_state_and_age(queue):
    clock = queue._reactor
    first = put(queue, "bob@b.test", "cid@c.test")
    due = now(queue.due((0.0, 0), clock.seconds(), 10)).recipients
    delayed = Result(due[0].queued(), Outcome(Action.DELAYED, "4.0.0", "later"), clock.seconds() + 60)
    now(queue.settle(Settlement(due[0].message, clock.seconds(), (delayed,))))
    clock.advance(2 * 3600)
    held = put(queue, "dan@d.test")
    now(queue.hold(decode(held), "damaged"))
    clock.advance(301)
    put(queue, "eve@e.test")
    assert figures(queue) == (
        {("deferred", "4h"): 1, ("waiting", "4h"): 1, ("held", "1h"): 1, ("waiting", "5m"): 1},
        2 * 3600 + 301,
    )
    clock.advance(2 * 86400)
    found, oldest = figures(queue)
    assert {age for _, age in found} == {OLDER} and oldest == pytest.approx(2 * 86400 + 2 * 3600 + 301)
    assert first < held


def test_numbers_tell_the_time():
    import random

    numbers = Numbers(lambda: 1000.0, random.Random(1))
    numbers.rise_above(0, 0)
    assert number_at(1000.0) <= numbers.message() < number_at(1000.1)
    assert number_at(-5.0) == 0


def test_a_queue_that_can_be_written_has_no_trouble_and_counts_its_transactions(queue):
    assert now(queue.trouble()) == ""
    put(queue, "bob@b.test")
    assert queue.committed == 1 and sum(queue.commits.counts) == 1


def test_trouble_lasts_until_the_disk_can_be_written_again(queue, monkeypatch):
    queue.writer._look_into(sqlite3.OperationalError("disk I/O error"))
    failing = sqlite3.OperationalError("disk I/O error")

    def fail(self):
        raise failing

    with monkeypatch.context() as patch:
        patch.setattr("twisted_mta.queue.database.QueueDatabase.touch", fail)
        assert now(queue.trouble()) == "The queue cannot be written: disk I/O error"
    assert now(queue.trouble()) == ""
    assert queue.writer._trouble == ""


def test_a_disk_that_is_nearly_full_is_trouble(queue, monkeypatch):
    def full(path, octets, reusable):
        raise OSError(errno.ENOSPC, "the disk is nearly full")

    monkeypatch.setattr(writer, "require_space", full)
    assert now(queue.trouble()) == "No mail is accepted: the disk is nearly full"
