"""Maildirs to measure with: an office's mail, or messages that have the same size."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.messages import Correspondence


def office(directory: Path, count: int) -> Path:
    """That many messages, each tenth seen, and an empty folder "Copies"."""
    for name in ("cur", "new", "tmp", ".Copies/cur", ".Copies/new", ".Copies/tmp"):
        (directory / name).mkdir(parents=True)
    (directory / ".Copies/maildirfolder").touch()
    for number, message in enumerate(Correspondence().messages(count), 1):
        file = directory / f"cur/{1_700_000_000 + number}.M{number}.bench:2,{'' if number % 10 else 'S'}"
        file.write_bytes(message.replace(b"\r\n", b"\n"))
        os.utime(file, (1_700_000_000 + number, 1_700_000_000 + number))
    return directory


def even(directory: Path, count: int, octets: int) -> Path:
    """That many seen messages, each of so many octets."""
    for name in ("cur", "new", "tmp"):
        (directory / name).mkdir(parents=True)
    line = b"All work and no play makes Jack a dull boy, and mail a dull thing.\n"
    for number in range(count):
        header = b"From: eve@far.test\nTo: alice@a.test\nSubject: message %d\nMessage-ID: <%d@far.test>\n\n"
        text = header % (number, number)
        text += (line * (octets // len(line) + 1))[: octets - len(text) - 1] + b"\n"
        (directory / "cur" / f"1700000{number:06}.M{number}.far:2,S").write_bytes(text)
    return directory
