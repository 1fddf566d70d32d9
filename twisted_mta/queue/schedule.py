"""When to try again, and when to give up (RFC 5321 §4.5.4.1: hours between tries, four to five days in all).

Giving up needs both age and attempts: a clock that jumps ahead, or a server that was off over a long
weekend, makes messages old without anybody having tried to deliver them.
"""

from __future__ import annotations

from dataclasses import dataclass

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """`delays`: seconds to wait after the first attempt, the second, and so on; the last repeats.
    `lifetime`: seconds after arrival when a message that cannot be delivered goes back."""

    delays: tuple[float, ...] = (5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR)
    lifetime: float = 5 * DAY

    def __post_init__(self) -> None:
        if not self.delays or min(self.delays) <= 0 or self.lifetime < 0:
            raise ValueError("a retry schedule needs delays above zero and a lifetime that is not negative")

    def next_attempt(self, arrived: float, attempts: int, now: float) -> float | None:
        """The time of the next attempt after `attempts` of them, or None: give up.

        The last attempt falls on the end of the lifetime, so no message waits longer than was promised.
        """
        end = arrived + self.lifetime
        if now >= end and attempts >= self.attempts_owed:
            return None
        soonest = now + self.delays[min(attempts, len(self.delays)) - 1]
        return min(soonest, end) if now < end else soonest

    @property
    def attempts_owed(self) -> int:
        """Attempts a message is owed, whatever the clock says: nine tenths of those that fit into the
        lifetime, since attempts that take long leave room for fewer."""
        delays, last = list(self.delays), self.delays[-1]
        planned, at = 1, 0.0
        while delays and (at := at + delays.pop(0)) <= self.lifetime:
            planned += 1
        if not delays and at <= self.lifetime:
            planned += int((self.lifetime - at) / last)
        return max(1, planned * 9 // 10)
