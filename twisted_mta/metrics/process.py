"""The process itself, under the names that every client library of Prometheus gives it. Where there is no
/proc, what stands there is left out."""

from __future__ import annotations

import gc
import os
import resource
import threading
import time
from contextlib import suppress
from pathlib import Path

from twisted_mta.metrics.exposition import Family, counter, gauge

_PROC = Path("/proc/self")
_PAGE = resource.getpagesize()
_STARTED = time.time()  # near enough: this is read while the server is put together


def families() -> list[Family]:
    """Takes some system calls."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = [
        counter("process_cpu_seconds_total", "Processor time, user and system.", {(): time.process_time()}),
        gauge("process_start_time_seconds", "When it was started, in seconds since the epoch.", _STARTED),
        gauge("process_threads", "Threads that Python knows of.", threading.active_count()),
        counter(
            "python_gc_collections_total",
            "Runs of the garbage collector.",
            {
                (("generation", str(number)),): generation["collections"]
                for number, generation in enumerate(gc.get_stats())
            },
        ),
    ]
    if soft != resource.RLIM_INFINITY:
        found.append(gauge("process_max_fds", "Files it may have open.", soft))
    with suppress(OSError, ValueError, IndexError):
        virtual, resident = (_PROC / "statm").read_text("ascii").split()[:2]
        found += [
            gauge("process_virtual_memory_bytes", "Memory it has a right to.", int(virtual) * _PAGE),
            gauge("process_resident_memory_bytes", "Memory it has.", int(resident) * _PAGE),
            gauge("process_open_fds", "Files it has open.", len(os.listdir(_PROC / "fd"))),
        ]
    return found
