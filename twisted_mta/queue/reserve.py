"""Space on the disk that intake leaves free: whatever is accepted can be delivered, and reported.

The mailboxes keep a reserve of their own for removing mail (store/space.py). This one is twice as large, so a
disk that fills up refuses new mail first, while what is in the queue still gets into its mailboxes, and
outcomes and reports can be recorded.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

RESERVE = 32 * 1024 * 1024  # octets; on a disk of less than fifty times as much it is 2 %
# Two per cent of a very small disk would not hold a transaction; on a tiny one that would be most of it.
_SMALLEST = 2 * 1024 * 1024
_LARGEST_SHARE = 8


def require_space(path: Path, octets: int, reusable: Callable[[], int] = lambda: 0) -> None:
    """Make sure that the reserve stays when `octets` are added to the file system of `path`. reusable: asked
    when it does not; octets that are free within a database, which never gives them back to the disk. Of what
    goes into it, half goes through its log, which needs space on the disk all the same.

    Raises OSError: ENOSPC when the reserve does not stay."""
    free, least = _space(path)
    if free - octets >= least:
        return
    if free - octets // 2 < least // 4 or free + reusable() - octets < least:
        raise OSError(errno.ENOSPC, "the disk is nearly full; the rest is kept for what is queued already")


def _space(path: Path) -> tuple[int, int]:
    """What is free, and what of it is to stay so. Some file systems in user space tell no size."""
    found = os.statvfs(path)
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    return (free, reserve(size)) if size else (1 << 62, 0)


def reserve(size: int) -> int:
    """The octets that stay free on a file system of that size."""
    return min(RESERVE, max(size // 50, min(_SMALLEST, size // _LARGEST_SHARE)))


def largest_log(path: Path) -> int:
    """How large the log of a database in this directory may become, in octets: emptying it may take as much
    again, and the reserve must hold both."""
    return _space(path)[1] // 2 or RESERVE // 2
