"""Damage to the database: moved aside, told of, and the rest delivered. Acceptance 8."""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from queue_house import InlineQueue, WallClock, now, put
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from twisted_mta.message.status import MailError
from twisted_mta.queue.administration import QueueAdministration
from twisted_mta.queue.database import QueueDatabase
from twisted_mta.queue.mailqueue import DATABASE
from twisted_mta.queue.schema import MIGRATIONS

PAGE = 4096


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A queue of 100 small messages and a large one, well closed."""
    queue = InlineQueue(tmp_path / "queue", WallClock())
    now(queue.start())
    for number in range(100):
        put(queue, f"bob{number}@b.test", body=b"x" * 3000)
    put(queue, "large@b.test", body=b"y" * 300_000)
    now(queue.stop())
    return tmp_path / "queue"


def paths(directory: Path) -> list[str]:
    administration = QueueAdministration(directory)
    try:
        return [message.recipients[0].forward_path for message in administration.list()]
    finally:
        administration.close()


def start(directory: Path) -> str:
    """Start and stop a queue; what the log said."""
    queue = InlineQueue(directory, WallClock())
    with capturedLogs() as events:
        now(queue.start())
    now(queue.stop())
    return "\n".join(event["log_format"].format(**event) for event in events if "directory" in event)


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_a_sound_database_stays_where_it_is(directory: Path) -> None:
    assert start(directory) == ""
    assert len(paths(directory)) == 101
    assert not (directory / "quarantine").exists()


@pytest.mark.parametrize("size", [0, 100, PAGE, 10 * PAGE, 40 * PAGE])
def test_a_truncated_database(directory: Path, size: int) -> None:
    os.truncate(directory / "queue.sqlite", size)
    assert "damaged" in start(directory)
    (aside,) = (directory / "quarantine").iterdir()
    assert (aside / "queue.sqlite").stat().st_size == size
    assert start(directory) == ""
    assert set(paths(directory)) <= {f"bob{number}@b.test" for number in range(100)} | {"large@b.test"}


def test_the_spool_files_of_lost_messages_are_kept(directory: Path) -> None:
    (name,) = os.listdir(directory / "spool")
    os.truncate(directory / "queue.sqlite", 0)
    start(directory)
    (aside,) = (directory / "quarantine").iterdir()
    assert (aside / name).stat().st_size == 300_000
    assert os.listdir(directory / "spool") == []


def test_zeroed_pages_in_the_middle_cost_only_what_was_in_them(directory: Path) -> None:
    path = directory / "queue.sqlite"
    connection = sqlite3.connect(path)
    query = "SELECT pageno FROM dbstat WHERE name = 'message' AND pagetype = 'leaf'"
    leaves = [page for (page,) in connection.execute(query)]
    connection.close()
    for page in leaves[10:13]:
        overwrite(path, (page - 1) * PAGE, bytes(PAGE))
    assert "damaged" in start(directory)
    assert 85 <= len(paths(directory)) < 101


def leaf(database: bytes, table: str) -> int:
    """A page with rows of this table or index: by the kind of its page, and what is in it and is not."""
    kind, within, without = {
        "recipient": (0x0D, b"u@d500.test", b"hhhh"),
        "recipient_domain": (0x0A, b"d500.test", b"u@"),
        "message": (0x0D, b"hhhh", b"u@d"),
    }[table]
    pages = [database[start : start + PAGE] for start in range(0, len(database), PAGE)]
    return next(
        number
        for number, page in enumerate(pages)
        if page[0] == kind and within in page and without not in page
    )


@pytest.mark.parametrize("table", ["recipient", "recipient_domain", "message"])
def test_damage_of_a_database_of_the_first_version_costs_only_what_was_in_it(
    tmp_path: Path, table: str
) -> None:
    """The new version's indexes cannot be made of it, and are not needed to save the rest."""
    (tmp_path / "queue").mkdir()
    path = tmp_path / "queue" / DATABASE
    first = sqlite3.connect(path, isolation_level=None)
    for statement in MIGRATIONS[0]:
        first.execute(statement)
    first.execute("PRAGMA user_version = 1")
    first.execute("BEGIN")
    for number in range(1, 1001):
        domain = f"d{number * 7919 % 1000}.test"
        message = (number, "a@b.test", "7BIT", 1.0, 100, 0, b"h" * 100, b"b" * 300)
        first.execute(f"INSERT INTO message VALUES ({','.join('?' * 8)})", message)
        first.execute(
            "INSERT INTO recipient VALUES (?, ?, ?, NULL, ?, 'waiting', 1.0, 1, NULL, '', '', '')",
            (number, number, f"u@{domain}", domain),
        )
    first.execute("COMMIT")
    first.close()
    overwrite(path, PAGE * leaf(path.read_bytes(), table), b"\xde\xad" * (PAGE // 2))
    assert "The queue database was damaged" in start(tmp_path / "queue")
    assert 1000 - PAGE // 30 < len(paths(tmp_path / "queue")) <= 1000


def test_garbage_anywhere_never_keeps_the_queue_from_starting(directory: Path, tmp_path: Path) -> None:
    path = directory / "queue.sqlite"
    sound = path.read_bytes()
    randomness = random.Random(8)
    for _ in range(25):
        path.write_bytes(sound)
        for _ in range(randomness.randrange(1, 6)):
            offset = randomness.randrange(0, len(sound) - 600)
            overwrite(path, offset, randomness.randbytes(randomness.randrange(1, 600)))
        start(directory)
        assert start(directory) == ""
        list(paths(directory))


class DamageAtWorkTest(TestCase):
    def test_damage_that_a_statement_meets(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        queue = InlineQueue(Path(directory.name) / "queue", WallClock())
        now(queue.start())
        put(queue, "bob@b.test")
        corrupt = sqlite3.DatabaseError("database disk image is malformed")
        corrupt.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        commit = QueueDatabase.commit
        self.patch(QueueDatabase, "commit", lambda *_: (_ for _ in ()).throw(corrupt))
        with self.assertRaises(MailError) as caught:
            put(queue, "cy@c.test")
        self.assertEqual(caught.exception.code, 451)
        self.patch(QueueDatabase, "commit", commit)
        os.truncate(queue.directory / "queue.sqlite", PAGE)
        with capturedLogs() as events:
            put(queue, "dee@d.test")
        self.assertTrue([event for event in events if "was damaged" in event["log_format"]])
        self.assertIn("dee@d.test", paths(queue.directory))
        now(queue.stop())
