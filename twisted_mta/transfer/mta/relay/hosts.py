"""In which order the hosts of a route are tried (RFC 5321 §5.1).

By preference. Among equals one to which a connection is kept goes first, and otherwise chance decides, over
all their addresses and both families, so that the load is shared. Who could not be reached lately goes last,
whatever its preference: a first host that is down must not cost every message its timeout. When it was the
only one it is tried all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

from twisted_mta.transfer.mta.routing import Host

_MOST = 10_000  # hosts that failed are remembered


class HostMemory:
    """Which hosts failed lately. memory: seconds; seconds: the clock."""

    def __init__(self, memory: float, *, seconds: Callable[[], float], randomness: Random) -> None:
        self._memory = memory
        self._seconds = seconds
        self._random = randomness
        self._failed: dict[tuple[str, int, str], float] = {}  # until when; those of longest ago first

    def failed(self, host: Host) -> None:
        """It could not be reached, or had nothing sensible to say."""
        key = _key(host)
        self._failed.pop(key, None)
        self._failed[key] = self._seconds() + self._memory
        if len(self._failed) > _MOST:
            del self._failed[next(iter(self._failed))]

    def answered(self, host: Host) -> None:
        """It takes mail."""
        if self._failed:
            self._failed.pop(_key(host), None)

    def in_order(self, hosts: Iterable[Host], is_kept: Callable[[Host], bool]) -> list[Host]:
        """As they are to be tried."""
        order = list(hosts)
        if len(order) > 1:
            self._random.shuffle(order)
            order.sort(key=lambda host: (self._is_shunned(host), host.preference, not is_kept(host)))
        return order

    def _is_shunned(self, host: Host) -> bool:
        until = self._failed.get(_key(host))
        if until is None:
            return False
        now = self._seconds()
        # A clock that was set back must not prolong it.
        if now < until <= now + self._memory:
            return True
        del self._failed[_key(host)]
        return False


def _key(host: Host) -> tuple[str, int, str]:
    return host.address, host.port, host.path
