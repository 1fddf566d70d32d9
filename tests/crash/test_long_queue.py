"""A server that starts with a long queue delivers at once and stays small (acceptance 9).

Reduced in size, unless SOAK=1 asks for all of it (`make soak`).
"""

from __future__ import annotations

import os
import re
import time
import zlib
from pathlib import Path

from office import PASSWORD, Office
from process import free_port

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.outcome import QueuedRecipient
from twisted_mta.queue.database import QueueDatabase
from twisted_mta.queue.mailqueue import DATABASE, SPOOL
from twisted_mta.queue.records import NewMessage

LENGTH = 100_000 if os.environ.get("SOAK") else 20_000
MIB = 1024
BODY = b"Subject: long\r\n\r\n" + b"A line.\r\n" * 50


def fill(directory: Path) -> None:
    """Nearly all for one domain that cannot be reached, some for others; the last message is for alice."""
    (directory / SPOOL).mkdir(parents=True)
    database = QueueDatabase(directory / DATABASE)
    now = time.time() - 60
    for start in range(1, LENGTH + 1, 1000):
        batch = []
        for number in range(start, min(start + 1000, LENGTH + 1)):
            path = (
                f"x@{f'd{number}' if number % 100 == 0 else 'dead'}.test"
                if number < LENGTH
                else "alice@a.test"
            )
            to = (QueuedRecipient(number, Address.parse(path)),)
            sender = Address.parse(f"s{number % 100}@e.test")
            content = Content(b"", BODY)
            batch.append(NewMessage(number, sender, now, content, len(BODY), zlib.crc32(BODY), to))
        database.commit(batch, [])
    database.close()


def most_memory(pid: int) -> int:
    """KiB that the process had in memory at most."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def test_the_last_of_a_long_queue_is_delivered_at_once_and_memory_stays_small(tmp_path: Path) -> None:
    office = Office(tmp_path, relay={"smarthost": f"127.0.0.1:{free_port()}"})
    fill(tmp_path / "data" / "queue")
    office.process.start()
    try:
        line = office.process.wait_for(": delivered ")
        assert "alice@a.test" in line
        with office.reader("alice@a.test") as reader:
            reader.wait_for(1)
        assert most_memory(office.process.pid) < 300 * MIB
        assert office.process.running
    finally:
        office.process.terminate()
    log = office.process.log_text()
    assert "Traceback" not in log
    assert PASSWORD not in log
