"""Memory that large messages took goes back to the system as soon as they are gone.

The allocator of glibc gives back blocks of their own only up to a size that grows with what it sees, to
32 MiB; and each thread keeps what it has freed for itself. After a few sessions with messages of 20 MB the
process held 130 MB for nothing. One heap for all threads holds nobody up: hardly anything is allocated
without the interpreter lock.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

LARGE = 1024 * 1024  # octets of a block that the system gives, and gets back
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of <malloc.h>; setting it ends its growth
_ARENA_MAX = -8  # M_ARENA_MAX


def return_large_blocks() -> None:
    """From now on; to be called before there are threads. A no-op where the allocator is another one."""
    with suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(_MMAP_THRESHOLD, LARGE)
        set_option(_ARENA_MAX, 1)


def return_what_is_free() -> None:
    """Give back also what lies between blocks in use. Other threads go on, but whoever wants a block of more
    than some hundred octets waits for 1 to 30 ms (400 MB in use, as much free in small pieces). A no-op where
    the allocator is another one."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
