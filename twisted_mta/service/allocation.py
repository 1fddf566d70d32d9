"""Large blocks of memory, as large messages take them, go back to the system as soon as they are free.

The allocator of glibc does so only up to a size that grows with what it sees, to 32 MiB. Then each thread
keeps what it has freed for itself: after a few sessions with messages of 20 MB the process held 130 MB for
nothing.
"""

from __future__ import annotations

import ctypes

LARGE = 1024 * 1024  # octets of a block that the system gives, and gets back
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of <malloc.h>; setting it ends its growth


def return_large_blocks() -> None:
    """From now on. A no-op where the allocator is another one."""
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    set_option(_MMAP_THRESHOLD, LARGE)
