"""How long a user has to wait between two logins, where the operator wants that (RFC 2449 §6.5)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

MOST = 100_000  # accounts that are remembered; the one that logged in first goes


class LoginDelay:
    """For all sessions. `seconds` is the clock; `delay` in seconds, 0 for none. A login that comes too soon
    does not count as one."""

    def __init__(self, seconds: Callable[[], float], delay: int) -> None:
        self.delay = delay
        self._seconds = seconds
        self._last: OrderedDict[str, float] = OrderedDict()

    def allows(self, account: str) -> bool:
        """Whether the account may log in now; if so, it has."""
        if not self.delay:
            return True
        now = self._seconds()
        while self._last and (next(iter(self._last.values())) <= now - self.delay or len(self._last) > MOST):
            self._last.popitem(last=False)
        if account in self._last:
            return False
        self._last[account] = now
        return True
