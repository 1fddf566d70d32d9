"""The clock for what lasts so long and is known in memory only: patience with a peer, being behind, what is
remembered for a while. Nobody can set it."""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.base import ReactorBase
from twisted.internet.interfaces import IReactorTime


def steady_seconds(reactor: IReactorTime) -> Callable[[], float]:
    """Seconds since some moment. A real reactor tells the wall's clock, which may be set; that of a test is
    set by nobody but the test."""
    return time.monotonic if isinstance(reactor, ReactorBase) else reactor.seconds
