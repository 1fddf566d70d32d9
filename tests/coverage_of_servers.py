"""A plugin of coverage, without which it knows nothing of the servers that tests start: Twisted ends a server
with the signal that has stopped it, and what was measured so far is saved before."""

from __future__ import annotations

import os
from typing import Any

from coverage import Coverage


def coverage_init(registry: Any, options: Any) -> None:
    """See the API of coverage's plugins."""
    kill = os.kill

    def save_first(pid: int, number: int) -> None:
        measuring = Coverage.current()
        if pid == os.getpid() and measuring is not None:
            measuring.stop()
            measuring.save()
        kill(pid, number)

    os.kill = save_first
