"""When to try again, when to warn and when to give up (RFC 5321 §4.5.4.1: hours between tries, four to five
days in all).

Warning and giving up need both age and attempts: a clock that jumps ahead, or a server that was off over a
long weekend, makes messages old without anybody having tried to deliver them.
"""

from __future__ import annotations

from dataclasses import dataclass

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """`delays`: seconds to wait after the first attempt, the second, and so on; the last repeats.
    `lifetime`: seconds after arrival when a message that cannot be delivered goes back. `warn_after`: seconds
    after arrival when its sender is told that it still waits; 0: never."""

    delays: tuple[float, ...] = (5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR)
    lifetime: float = 5 * DAY
    warn_after: float = 4 * HOUR

    def __post_init__(self) -> None:
        if not self.delays or min(self.delays) <= 0 or self.lifetime < 0 or self.warn_after < 0:
            raise ValueError("a retry schedule needs delays above zero, and no other time below it")

    def next_attempt(
        self, arrived: float, attempts: int, now: float, end: float | None = None
    ) -> float | None:
        """The time of the next attempt after `attempts` of them, or None: give up. arrived: or when a hold
        that the sender asked for ended (NewMessage.begins). end: when the message is worth nothing any
        more, whatever was promised (RFC 2852, by-mode R).

        One attempt falls on the time to warn, and the last one on the end of the lifetime: nobody is told
        later than was promised.
        """
        if end is not None and now >= end:
            return None
        if now >= arrived + self.lifetime and attempts >= self.attempts_owed:
            return None
        soonest = self.soonest(attempts, now)
        appointments = [arrived + self.warn_after, arrived + self.lifetime]
        if end is not None:
            appointments.append(end)
        return min([soonest, *(time for time in appointments if time > now)])

    def soonest(self, attempts: int, now: float) -> float:
        """The time of the next attempt after `attempts` of them, whatever ends before that."""
        return now + self.delays[min(attempts, len(self.delays)) - 1]

    def is_late(self, arrived: float, attempts: int, now: float) -> bool:
        """Whether the sender is to be told, after `attempts` of them, that the message still waits."""
        return 0 < self.warn_after <= now - arrived and attempts >= self._owed(self.warn_after)

    @property
    def attempts_owed(self) -> int:
        """Attempts a message is owed before it is given up, whatever the clock says."""
        return self._owed(self.lifetime)

    def _owed(self, period: float) -> int:
        """Nine tenths of the attempts that fit into a period, since those that take long leave room for
        fewer."""
        delays, last = list(self.delays), self.delays[-1]
        planned, at = 1, 0.0
        while delays and (at := at + delays.pop(0)) <= period:
            planned += 1
        if not delays and at <= period:
            planned += int((period - at) / last)
        return max(1, planned * 9 // 10)
