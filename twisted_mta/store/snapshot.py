"""The columns of a mailbox in a file, so that opening it again after a restart reads no rows.

    <account>/columns/<number of the mailbox>

A checksum, a line of JSON, then the arrays one after the other. It is of use only for exactly the index, the
UIDNEXT and the mod-sequence that it was made at, on a machine of the same kind; and once: whoever reads it
removes it, so what is found is what was written when the mailbox was in memory last. It may be removed at any
time.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from array import array
from contextlib import suppress
from typing import Any, NamedTuple

from twisted_mta.store.columns import Columns

DIRECTORY = "columns"
WORTHWHILE = 1000  # messages; fewer are read from the index in no time

_FORMAT = 2
_SUM = 8  # octets of the checksum, in hexadecimal digits
_COLUMNS = ("uids", "sizes", "dates", "modseqs", "emails", "save_dates")


class Marks(NamedTuple):
    """What a mailbox is at: the epoch of the index (see `Emails`), UIDNEXT, the highest mod-sequence."""

    epoch: str
    uid_next: int
    highest_modseq: int


def pack(columns: Columns, marks: Marks) -> bytes:
    """The columns as octets."""
    numbers = columns.flag_numbers
    body = b"".join([*(getattr(columns, name).tobytes() for name in _COLUMNS), bytes(numbers)])
    header = {
        "kind": _kind(),
        "marks": marks,
        "count": len(columns.uids),
        "numbers": "B" if isinstance(numbers, bytearray) else "I",
        "flags": columns.combinations(),
        "octets": columns.octets,
    }
    content = json.dumps(header).encode() + b"\n" + body
    return b"%08x" % zlib.crc32(content) + content


def unpack(packed: bytes, marks: Marks) -> Columns | None:
    """The columns; None when they are of something else, or damaged."""
    try:
        content = memoryview(packed)[_SUM:]
        end = packed.index(b"\n")
        if int(packed[:_SUM], 16) != zlib.crc32(content):
            return None
        header = json.loads(packed[_SUM:end])
        if (header["kind"], header["marks"]) != (_kind(), list(marks)):
            return None
        return _restore(content[end + 1 - _SUM :], header)
    except (ValueError, KeyError, TypeError, IndexError):
        return None


def _kind() -> list[object]:
    sizes = [getattr(Columns(), name).itemsize for name in _COLUMNS]
    return [_FORMAT, sys.byteorder, *sizes, array("I").itemsize]


def _restore(body: memoryview, header: dict[str, Any]) -> Columns:
    columns = Columns()
    numbers = array(header["numbers"])
    for column in (*(getattr(columns, name) for name in _COLUMNS), numbers):
        octets = header["count"] * column.itemsize
        column.frombytes(body[:octets])
        body = body[octets:]
    columns.restore(header["flags"], numbers, header["octets"])
    return columns


def save(home: str, number: int, packed: bytes) -> None:
    """Write what `pack` gave. Raises OSError."""
    os.makedirs(f"{home}/{DIRECTORY}", mode=0o700, exist_ok=True)
    path = f"{home}/{DIRECTORY}/{number}"
    try:
        with open(f"{path}.new", "wb") as file:
            file.write(packed)
        os.replace(f"{path}.new", path)
    except OSError:
        with suppress(OSError):
            os.unlink(f"{path}.new")
        raise


def take(home: str, number: int, marks: Marks) -> Columns | None:
    """Read and remove what was saved; None when there is nothing of use. Raises OSError."""
    path = f"{home}/{DIRECTORY}/{number}"
    try:
        with open(path, "rb") as file:
            packed = file.read()
    except FileNotFoundError:
        return None
    os.unlink(path)
    return unpack(packed, marks)
