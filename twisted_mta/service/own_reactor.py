"""A reactor for one task of a command: `mta` asks the DNS and other hosts by the same code as the server
does, and then ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.pollreactor import PollReactor
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

T = TypeVar("T")


def run(task: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
    """What `task`, given the reactor, comes to; what it raises is raised. Raises KeyboardInterrupt."""
    reactor: Any = PollReactor()
    outcome: list[Any] = []

    def end(result: Any) -> None:
        outcome.append(result)
        reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(task(reactor)).addBoth(end))
    is_main = threading.current_thread() is threading.main_thread()
    if is_main:
        before = signal.signal(signal.SIGINT, lambda *_: reactor.callFromThread(reactor.stop))
    try:
        reactor.run(installSignalHandlers=False)
    finally:
        if is_main:
            signal.signal(signal.SIGINT, before)
        reactor.waker.connectionLost(connectionDone)  # its pipe would stay open
    if not outcome:
        raise KeyboardInterrupt
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    found: T = outcome[0]
    return found
