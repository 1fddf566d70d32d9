"""The store's threads: a bounded pool, and lanes in which work is done strictly one after the other.

Work is a plain blocking function that never raises. It returns what is then to be done in the reactor's
thread; the returned functions of one lane are called in the order of its work.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from twisted.internet.interfaces import IReactorFromThreads

from twisted_mta.store.errors import StorageFault

THREADS = 8  # more only fight for the interpreter lock: fsync is what they wait for

Work = Callable[[], Callable[[], None]]


class Threads:
    """The pool. `run` does not order anything; see `Lane`."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="store")

    def run(self, work: Work) -> None:
        """Have the work done some time. Thread-safe. Raises StorageFault once stopped."""
        self.submit(lambda: self.perform(work))

    def perform(self, work: Work) -> None:
        """Do the work in this thread, and what it returns in the reactor's."""
        self._reactor.callFromThread(work())

    def submit(self, call: Callable[[], None]) -> None:
        """Call it in one of the threads. Raises StorageFault once stopped."""
        try:
            self._pool.submit(call)
        except RuntimeError:
            raise StorageFault() from None

    def stop(self) -> None:
        """End the threads once what was given to them has been done; blocks until then."""
        self._pool.shutdown()


class Lane:
    """Work that is never in parallel with itself, over the threads that all lanes share."""

    _TURN = 8  # pieces of work until others have their turn

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._waiting: deque[Work] = deque()
        self._running = False

    def run(self, work: Work) -> None:
        """Have the work done after all that was given before. Thread-safe.

        Raises StorageFault once stopped."""
        with self._lock:
            if not self._running:
                self._threads.submit(self._turn)
                self._running = True
            self._waiting.append(work)

    def _turn(self) -> None:
        done = 0
        while True:
            with self._lock:
                if not self._waiting:
                    self._running = False
                    return
                work = self._waiting.popleft()
            self._threads.perform(work)
            done += 1
            if done >= self._TURN:
                try:
                    self._threads.submit(self._turn)
                    return
                except StorageFault:
                    pass  # stopping: this thread does the rest
