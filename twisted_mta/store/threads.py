"""The store's threads: a small pool, and lanes in which work is done strictly one after the other.

Work is a plain blocking function that never raises. It returns what is then to be done in the reactor's
thread; the returned functions of one lane are called in the order of its work.

Threads of Python hinder each other: with every system call the interpreter lock changes hands. So one
thread works alone as long as it keeps up, and the reactor is called once for all that was done when
there is nothing left to do. Another one stands in for it while it waits for the disk (`away`), and when work
has waited for `PATIENCE`, because something takes long, one more joins, and results that are there already
are taken. (Ten deliveries at a time into ten mailboxes cost half the processor time of eight threads that
start at once.)
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from time import perf_counter
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mta.metrics.counts import WORK, Histogram
from twisted_mta.store.errors import StorageFault

THREADS = 8
PATIENCE = 0.003  # seconds that work waits until another thread joins

Work = Callable[[], Callable[[], None]]


class Threads:
    """The pool; `run` does not order anything, see `Lane`.

    reactor: gives time (IReactorTime) and takes calls from threads (IReactorFromThreads)."""

    log = Logger(namespace="twisted_mta.store")

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._threads: list[threading.Thread] = []  # those there are, at work or not
        self._starts: SimpleQueue[bool] = SimpleQueue()  # for whichever thread is free: False ends it
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._active = 0  # threads at work, with those that are away
        self._away = 0  # threads that wait for the disk
        self._wanted = 1  # how many should be at work
        self.begun = 0  # pieces of work that a thread has begun with
        self._done: deque[tuple[float, Callable[[], None]]] = deque()  # after how many seconds
        self.took = Histogram(WORK)  # seconds that pieces of work took
        self.stopped = False  # nothing is taken any more
        self._tick: IDelayedCall | None = None

    def run(self, work: Work) -> None:
        """Have the work done some time. In the reactor's thread. Raises StorageFault once stopped."""
        self.call(lambda: self.perform(work))

    def call(self, call: Callable[[], None]) -> None:
        """Call it in one of the threads. In the reactor's thread. Raises StorageFault once stopped."""
        if self.stopped:
            raise StorageFault()
        with self._lock:
            self._waiting.append(call)
            start = self._may_join(0)
        if start:
            self._start()
        if self._tick is None:
            self._tick = self._reactor.callLater(PATIENCE, self._look)

    def _may_join(self, at_work: int) -> bool:
        """With the lock: count one more thread in when no more than so many are at work."""
        join = self._active - self._away <= at_work and self._active < THREADS
        self._active += join
        return join

    @contextmanager
    def away(self) -> Iterator[None]:
        """In one of the threads: it is about to wait for the disk. Another one does what waits meanwhile, so
        that syncs for several accounts overlap; a file system makes one write of them. When nothing waits,
        the reactor is called for what has been done so far."""
        with self._lock:
            self._away += 1
            if self._waiting and not self.stopped and self._may_join(0):
                self._start()
            elif self._done and self._active == self._away and not self.stopped:
                self._reactor.callFromThread(self._arrive)
        try:
            yield
        finally:
            with self._lock:
                self._away -= 1

    @property
    def waiting(self) -> int:
        """Lanes and pieces of work that no thread has begun with."""
        return len(self._waiting)

    @property
    def is_busy(self) -> bool:
        """True while a thread is at work. May be asked in any thread."""
        return self._active > 0

    def call_again(self, call: Callable[[], None]) -> None:
        """Call it after what waits. In one of the threads."""
        self._waiting.append(call)

    def perform(self, work: Work) -> None:
        """In a thread: do the work, and hand over what it returns."""
        began = perf_counter()
        try:
            then = work()
        except BaseException:
            failure = Failure()
            then = lambda: self.log.failure("unexpected error in a thread", failure=failure)  # noqa: E731
        self._done.append((perf_counter() - began, then))

    def _start(self) -> None:
        """Have one more thread begin to work, which is counted already."""
        if self._active > len(self._threads):
            name = f"store-{len(self._threads)}"
            self._threads.append(threading.Thread(target=self._serve, name=name, daemon=True))
            self._threads[-1].start()
        self._starts.put(True)

    def _serve(self) -> None:
        while self._starts.get():
            self._work()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._wanted = 1
                if not self._waiting or self._active - self._away > self._wanted:
                    self._active -= 1
                    break
                call = self._waiting.popleft()
                self.begun += 1
            call()
        self._reactor.callFromThread(self._arrive)

    def _arrive(self) -> None:
        while self._done:
            seconds, then = self._done.popleft()
            self.took.observe(seconds)
            try:
                then()
            except Exception:
                self.log.failure("unexpected error after work in a thread")

    def _look(self) -> None:
        """Work has waited: take what is done, and have another thread join."""
        self._tick = None
        self._arrive()
        with self._lock:
            active = self._active
            join = bool(self._waiting) and self._may_join(THREADS)
            self._wanted += join
        if join:
            self._start()
        if active and self._tick is None and not self.stopped:
            self._tick = self._reactor.callLater(PATIENCE, self._look)

    def stop(self) -> None:
        """End the threads once what was given to them has been done; blocks until then."""
        with self._lock:
            self.stopped = True
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        for _ in self._threads:
            self._starts.put(False)
        for thread in self._threads:
            thread.join()
        self._arrive()


class Lane:
    """Work that is never in parallel with itself, over the threads that all lanes share."""

    _TURN = 8  # pieces of work until others have their turn

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._waiting: deque[Work] = deque()
        self._running = False

    def run(self, work: Work) -> None:
        """Have the work done after all that was given before. In the reactor's thread.

        Raises StorageFault once stopped."""
        with self._lock:
            if not self._running:
                self._threads.call(self._turn)
                self._running = True
            self._waiting.append(work)

    @property
    def is_wanted(self) -> bool:
        """True while work waits for its turn."""
        return bool(self._waiting)

    def _turn(self) -> None:
        for _ in range(self._TURN):
            with self._lock:
                if not self._waiting:
                    self._running = False
                    return
                work = self._waiting.popleft()
            self._threads.perform(work)
        self._threads.call_again(self._turn)
