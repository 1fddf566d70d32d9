"""A disk that fills up: new mail is refused while there is space to record what becomes of the old."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from programs import program
from queue_house import InlineQueue, WallClock, now, put
from twisted.logger import capturedLogs

from twisted_mta.message.outcome import Action, Outcome
from twisted_mta.message.status import MailError
from twisted_mta.queue.records import Result, Settlement
from twisted_mta.queue.reserve import RESERVE, require_space, reserve

MiB = 1024 * 1024
DELIVERED = Outcome(Action.DELIVERED, "2.0.0", "ok")
DELAYED = Outcome(Action.DELAYED, "4.4.1", "Connection timed out while the greeting was awaited", "mx.b.test")


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        (4 * MiB, MiB // 2),
        (16 * MiB, 2 * MiB),
        (100 * MiB, 2 * MiB),
        (1000 * MiB, 20 * MiB),
        (1 << 50, RESERVE),
    ],
)
def test_the_reserve(size: int, kept: int) -> None:
    assert reserve(size) == kept


class Space:
    """What statvfs tells: a disk of 1 TiB with this much left."""

    f_frsize = 4096
    f_blocks = 2**28

    def __init__(self, free: int) -> None:
        self.f_bavail = free // 4096


def with_free(octets: int) -> Any:
    return patch.object(os, "statvfs", lambda path: Space(octets))


def test_what_is_to_be_written_counts(tmp_path: Path) -> None:
    with with_free(RESERVE + MiB):
        require_space(tmp_path, MiB)
        with pytest.raises(OSError, match="nearly full") as caught:
            require_space(tmp_path, MiB + 1)
    assert caught.value.errno == errno.ENOSPC


def test_space_within_the_database_counts_but_its_log_needs_some_of_the_disk(tmp_path: Path) -> None:
    with with_free(RESERVE):
        require_space(tmp_path, MiB, lambda: MiB)
        with pytest.raises(OSError, match="nearly full"):
            require_space(tmp_path, MiB + 1, lambda: MiB)
    with with_free(RESERVE // 4), pytest.raises(OSError, match="nearly full"):
        require_space(tmp_path, MiB, lambda: 100 * MiB)


class House:
    """A queue, and what it answers."""

    def __init__(self, directory: Path) -> None:
        self.clock = WallClock()
        self.queue = InlineQueue(directory, self.clock)
        now(self.queue.start())

    def put(self, body: bytes = b"Subject: x\r\n\r\n") -> int:
        """The reply code."""
        try:
            put(self.queue, "bob@b.test", body=body)
        except MailError as error:
            return error.code
        return 250

    def settle(self, outcome: Outcome, limit: int) -> int:
        """Record it for so many recipients; how many there were."""
        due = now(self.queue.due((0.0, 0), self.clock.seconds(), limit)).recipients
        for recipient in due:
            result = Result(recipient.queued(), outcome)
            now(self.queue.settle(Settlement(recipient.message, self.clock.seconds(), (result,))))
        return len(due)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "queue")
    yield house
    now(house.queue.stop())


def test_mail_of_any_size_is_refused_and_outcomes_are_recorded(house: House) -> None:
    assert house.put() == 250
    with with_free(RESERVE - 1), capturedLogs() as events:
        assert [house.put(), house.put(b"y" * 300_000), house.put()] == [452, 452, 452]
        assert house.settle(DELIVERED, 10) == 1
        assert list((house.queue.directory / "spool").iterdir()) == []
    assert [house.put(), house.put(b"y" * 300_000)] == [250, 250]
    told = [event["log_format"] for event in events]
    assert [text.startswith("No mail is accepted") for text in told] == [True, False]  # the file has its own


def test_shortage_and_its_end_are_told_once(house: House) -> None:
    with capturedLogs() as events:
        with with_free(0):
            assert {house.put() for _ in range(3)} == {452}
        assert {house.put() for _ in range(3)} == {250}
    assert [event["log_level"].name for event in events] == ["critical", "info"]


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
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


@pytest.mark.parametrize("size", ["4m", "16m", "64m"])
def test_a_small_disk_that_was_filled_works_on(tmp_path: Path, size: str) -> None:
    """Time and again: what is delivered makes room for as much, in the database, whose file never shrinks."""
    body = b"Subject: x\r\n\r\n" + b"z" * 20_000
    with small_disk(tmp_path, size):
        house = House(tmp_path / "queue")
        accepted = []
        for _ in range(3):
            accepted.append(0)
            while (code := house.put(body)) == 250:
                accepted[-1] += 1
            assert code == 452
            assert house.settle(DELIVERED, accepted[-1]) == accepted[-1]
        assert accepted[0] > 20
        assert min(accepted) > accepted[0] // 2
        now(house.queue.stop())
        house = House(tmp_path / "queue")
        assert house.put(body) == 250
        now(house.queue.stop())


def test_on_a_full_disk_all_that_waits_can_be_deferred(tmp_path: Path) -> None:
    with small_disk(tmp_path, "16m"):
        house = House(tmp_path / "queue")
        while house.put(b"z" * 2_000) == 250:
            pass
        assert house.settle(DELAYED, 10_000) > 1000
        now(house.queue.stop())
