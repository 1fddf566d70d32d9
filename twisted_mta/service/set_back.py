"""A wall clock that is set back does not stop the reactor.

Twisted's reactor times its calls by the wall clock: if that is set back by a day, what was to be called in a
second, or at once, is called in a day, and each session that waits for it hangs. Here every look at the
reactor's clock notices, and the calls that wait are brought forward by as much. A clock that is set forward
needs nothing: what was due later is called at once, and who waits for a time of day finds that it has come.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

NOTICED = 0.25  # seconds; less is no harm


def follow_clock(
    reactor: Any,
    *,
    wall: Callable[[], float] = time.time,
    steady: Callable[[], float] = time.monotonic,
) -> None:
    """From now on, in the thread of the caller, which has to be the reactor's."""
    here, ahead = threading.get_ident(), wall() - steady()

    def seconds() -> float:
        nonlocal ahead
        now = wall()
        if threading.get_ident() != here:
            return now  # another thread may have looked before the clock was set, and go on only now
        difference = now - steady()
        if difference > ahead:
            ahead = difference
        elif ahead - difference > NOTICED:
            by, ahead = difference - ahead, difference
            for call in reactor.getDelayedCalls():
                call.delay(by)
            reactor.wakeUp()  # it may just have worked out how long it can sleep
        return now

    reactor.seconds = seconds
