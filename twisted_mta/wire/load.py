"""How far behind the reactor is: the one measure of overload that covers all its causes.

A clock that should strike every INTERVAL strikes late when the reactor has more to do than it can. Who comes
in then is asked to come later, before it costs anything, so that those who are in are served in time.
"""

from __future__ import annotations

from twisted.internet import task
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from twisted_mta.metrics.counts import WORK, Histogram
from twisted_mta.steady import steady_seconds

INTERVAL = 0.25  # seconds


class Load:
    """`limit`: seconds behind from which on the server is overloaded."""

    log = Logger(namespace="twisted_mta.load")

    def __init__(self, *, reactor: IReactorTime, limit: float = 2.0) -> None:
        self._seconds = steady_seconds(reactor)
        self._limit = limit
        self._due = 0.0
        self._clock = task.LoopingCall(self._strike)
        self._clock.clock = reactor
        self.lag = 0.0  # seconds behind at the last stroke
        self.lags = Histogram(WORK)  # at all strokes

    async def start(self) -> None:
        """Begin to measure."""
        self._due = self._seconds() + INTERVAL
        self._clock.start(INTERVAL, now=False)

    async def stop(self) -> None:
        """Measure no more."""
        if self._clock.running:
            self._clock.stop()

    @property
    def overloaded(self) -> bool:
        """True while the reactor is too far behind."""
        return self.lag > self._limit

    def _strike(self) -> None:
        now, before = self._seconds(), self.overloaded
        self.lag = max(now - self._due, 0.0)
        self._due = now + INTERVAL
        self.lags.observe(self.lag)
        if self.overloaded and not before:
            self.log.warn("{lag:.1f} s behind: new clients are sent away", lag=self.lag)
