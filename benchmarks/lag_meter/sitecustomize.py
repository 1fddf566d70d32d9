"""Imported by a server whose reactor is to be measured: every few milliseconds, how late a timer is, and how
long the reactor's thread has worked since the one before; and each step of it for a socket that has something
to read. In the file LAG_FILE when the server stops."""

from __future__ import annotations

import json
import os
import time

from twisted.internet.epollreactor import EPollReactor

from twisted_mta.transfer.mta.dispatch import Dispatcher

EVERY = 0.005  # seconds
_ticks: list[tuple[float, float, float]] = []  # when, late, worked
_steps: list[tuple[float, float]] = []  # when, worked
_start = Dispatcher.start
_read = EPollReactor._doReadOrWrite


def _read_and_measure(self: EPollReactor, *what: object) -> None:
    before = time.thread_time()
    _read(self, *what)
    _steps.append((time.time(), time.thread_time() - before))


async def _start_and_measure(self: Dispatcher) -> None:
    from twisted.internet import reactor

    def tick(due: float, worked: float) -> None:
        now, thread = reactor.seconds(), time.thread_time()
        _ticks.append((time.time(), now - due, thread - worked))
        reactor.callLater(EVERY, tick, now + EVERY, thread)

    def write() -> None:
        with open(os.environ["LAG_FILE"], "w", encoding="ascii") as file:
            json.dump({"ticks": _ticks, "steps": _steps}, file)

    await _start(self)
    reactor.callLater(EVERY, tick, reactor.seconds() + EVERY, time.thread_time())
    reactor.addSystemEventTrigger("after", "shutdown", write)


EPollReactor._doReadOrWrite = _read_and_measure  # type: ignore[method-assign]
Dispatcher.start = _start_and_measure  # type: ignore[method-assign]
