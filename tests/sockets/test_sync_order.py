"""The order of system calls behind a 250 (acceptance 3), under strace: `kill -9` cannot show
it, since the page cache survives that.

Before "250 … queued" leaves, the queue's log must have been synced; a Maildir file is synced before it is
renamed into place, and its directory is synced after.
"""

from __future__ import annotations

import re
import smtplib
from pathlib import Path

import pytest
from office import Office
from programs import program

CALLS = "openat,write,sendto,sendmsg,fsync,fdatasync,rename,renameat,renameat2,link,linkat,close,pwrite64"


def traced(office: Office, trace: Path) -> None:
    office.process.start(program("strace"), "-f", "-s", "200", "-e", f"trace={CALLS}", "-y", "-o", str(trace))


@pytest.mark.parametrize("size", [2_000, 2_000_000], ids=["in the database", "in a spool file"])
def test_a_message_is_synced_before_its_250(tmp_path: Path, size: int) -> None:
    office = Office(tmp_path)
    trace = tmp_path / "trace"
    traced(office, trace)
    with office.reader("alice@a.test") as reader:
        with smtplib.SMTP("127.0.0.1", office.ports["smtp"], timeout=60) as client:
            client.sendmail(
                "x@elsewhere.test",
                ["alice@a.test"],
                b"Subject: s\r\n\r\n" + b"x" * 70 + b"\r\n" * (size // 2),
            )
        reader.wait_for(1)
    office.process.terminate()

    calls = [
        call for line in trace.read_text(errors="replace").splitlines() if (call := line.split(None, 1)[1])
    ]
    answered = index(calls, r'(write|sendto|sendmsg)\(.*"250 2\.0\.0 Ok, queued as')
    go_ahead = index(calls, r'(write|sendto|sendmsg)\(.*"354 ')
    synced = index(calls, r"(fsync|fdatasync)\(\d+<[^>]*queue[^>]*-wal>", go_ahead)
    assert go_ahead < synced < answered
    if size > 1_000_000:
        spooled = index(calls, r"(fsync|fdatasync)\(\d+<[^>]*spool/[^>]+>", go_ahead)
        directory = index(calls, r"fsync\(\d+<[^>]*spool>", go_ahead)
        assert spooled < synced and directory < synced

    renamed = index(calls, r"(rename|renameat|renameat2|link|linkat)\(.*Maildir/tmp/.*Maildir/new/")
    written = index(calls, r"(fsync|fdatasync)\(\d+<[^>]*Maildir/tmp/")
    directory = index(calls, r"fsync\(\d+<[^>]*Maildir/new>", renamed)
    assert written < renamed < directory


def index(calls: list[str], pattern: str, start: int = 0) -> int:
    """The position of the first call that matches, from `start` on; fails when there is none."""
    for position in range(start, len(calls)):
        if re.search(pattern, calls[position]):
            return position
    raise AssertionError(f"no system call matches {pattern}")
