"""A disk that mail and its full text fill, and files that may not grow (acceptance 6): the server stays, says
NO, shows nothing that is incomplete, and goes on when there is space again."""

from __future__ import annotations

import random
import re
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from office import PASSWORD, Office
from programs import program
from raw_imap import RawImap

USER = "alice@a.test"
DISK = "24m"
MOST = 1000  # messages, with which the disk would be full many times over
REFUSED = (b" NO [OVERQUOTA] ", b" NO [UNAVAILABLE] ")
RNG = random.Random(6)
WORDS = [bytes(RNG.choices(b"abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(20_000)]


class Appender:
    """A session that stores messages, each with a number of its own."""

    def __init__(self, office: Office) -> None:
        self.imap = RawImap(office.ports["imap"], USER, PASSWORD)
        self.imap.ok("SELECT INBOX")
        self.number = 0
        self.stored: set[int] = set()

    def append(self, size: int) -> bool:
        self.number += 1
        lines = (b" ".join(RNG.choices(WORDS, k=10)) for _ in range(size // 70))
        octets = b"Subject: x\r\n\r\nidentity%d\r\n%b\r\n" % (self.number, b"\r\n".join(lines))
        answer = self.imap.command(b"APPEND INBOX {%d+}\r\n%b" % (len(octets), octets))[-1]
        if b" OK " in answer:
            self.stored.add(self.number)
            return True
        assert any(code in answer for code in REFUSED), answer
        return False

    def refuse(self, times: int) -> None:
        """Append until that has been refused so many times."""
        while times and self.number < MOST:
            times -= not self.append(RNG.choice([500, 20_000, 200_000]))
        assert not times

    def check(self) -> None:
        """What was stored is there, and nothing else."""
        answer = b"".join(self.imap.ok("UID FETCH 1:* BODY.PEEK[]"))
        assert sorted(map(int, re.findall(rb"\r\nidentity(\d+)", answer))) == sorted(self.stored)

    def recover(self) -> None:
        """There is space again: at once or nearly so, everything is as before."""
        assert any(self.append(500) for _ in range(100))
        found = self.imap.ok(f"UID SEARCH BODY identity{self.number}")[0]
        assert re.fullmatch(rb"\* SEARCH \d+", found)
        self.check()


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    office = Office(tmp_path, auth={"allow_cleartext": True})
    with office.process:
        client = Appender(office)
        assert all(client.append(30_000) for _ in range(10))
        _, hard = resource.prlimit(office.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(office.process.pid, resource.RLIMIT_FSIZE, (100_000, hard))
        client.refuse(10)
        client.check()
        resource.prlimit(office.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        client.recover()
    assert "Traceback" not in office.process.log_text()


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    path.mkdir()
    mount = [program("mount"), "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(path)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs root and the right to mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([program("umount"), "-l", str(path)], check=True)


def fill(path: Path) -> None:
    """Take what is left of the disk, to the last octet."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass


def test_a_disk_that_is_full_to_the_last_octet(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with small_disk(data):
        office = Office(tmp_path, auth={"allow_cleartext": True})
        with office.process:
            client = Appender(office)
            client.refuse(5)
            fill(data / "filler")
            client.refuse(5)
            client.check()
            client.imap.ok("NOOP")
            client.imap.ok("UID SEARCH BODY identity1")
            (data / "filler").unlink()
            gone = sorted(client.stored)[:20]
            client.imap.ok("STORE 1:20 +FLAGS.SILENT (\\Deleted)")
            client.imap.ok("EXPUNGE")
            client.stored.difference_update(gone)
            client.recover()
        with office.process:  # the full text has left enough for that
            client.imap = RawImap(office.ports["imap"], USER, PASSWORD)
            client.imap.ok("SELECT INBOX")
            client.check()
        assert "Traceback" not in office.process.log_text()
