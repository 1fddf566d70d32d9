"""How much the scripts of an account may send within an hour."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

HOUR = 3600.0
_ACCOUNTS = 10_000  # whose last hour is remembered


class Allowance:
    """most: messages of one account within an hour. seconds: the clock."""

    def __init__(self, seconds: Callable[[], float], most: int) -> None:
        self.most = most
        self._seconds = seconds
        self._sent: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, account: str) -> bool:
        """Whether the account may send one more; if so, it has."""
        now = self._seconds()
        times = self._sent.setdefault(account, deque())
        self._sent.move_to_end(account)
        if len(self._sent) > _ACCOUNTS:
            self._sent.popitem(last=False)
        # What is to come was sent while the clock was ahead.
        while times and not now - HOUR <= times[0] <= now:
            times.popleft()
        if len(times) >= self.most:
            return False
        times.append(now)
        return True
