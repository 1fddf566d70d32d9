"""Space on the disk that new messages leave free.

To remove mail takes space, too: flags and expunges are written to the index first, and up to some MiB of
its log (WAL) come together before they are folded in. A disk that messages have filled to the last octet
could not be cleaned up by their owners. So what adds messages stops earlier than what removes them.
"""

from __future__ import annotations

import errno
import os

RESERVE = 16 * 1024 * 1024  # octets; on a disk of less than a hundred times as much it is 1 %
# One per cent of a very small disk would not hold one transaction about a few thousand messages, which
# takes up to 1 MiB; on a tiny one that, in turn, would be most of it.
_SMALLEST = 1024 * 1024
_LARGEST_SHARE = 16


def require_space(path: str, octets: int) -> None:
    """Make sure that the reserve stays when `octets` are added to the file system of `path`.

    Raises OSError: ENOSPC when it does not."""
    size, free = _size_and_free(path)
    if size and free - octets < reserve(size):  # some file systems in user space tell no size
        raise OSError(errno.ENOSPC, "the rest of the disk is kept for removing mail", path)


def is_tight(path: str) -> bool:
    """Whether removed mail has to make room at once. So it is before new mail is refused: else, a little
    above the reserve, what is removed would be kept and what comes would find no room. So it is, too, when
    nobody can tell."""
    try:
        return is_nearly_full(path)
    except OSError:
        return True


def is_nearly_full(path: str) -> bool:
    """Whether no more than twice the reserve is free. Raises OSError."""
    size, free = _size_and_free(path)
    return bool(size) and free < 2 * reserve(size)


def _size_and_free(path: str) -> tuple[int, int]:
    """In octets."""
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def reserve(size: int) -> int:
    """The octets that stay free on a file system of that size."""
    return min(RESERVE, max(size // 100, min(_SMALLEST, size // _LARGEST_SHARE)))
