"""How much a client network may ask for in a while: connections, messages, recipients, requests over HTTP.

Each network has a token bucket for each of them, kept as one number, the moment at which it will be full
again (the generic cell rate algorithm). A burst may use the bucket up; after that as much goes through as the
rate says. Memory is bounded: when there is no room, the network that has asked for nothing for longest is
forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from twisted_mta.message.networks import LOOPBACK, Network, range_of, within

MOST_BUCKETS = 50_000


class Rate(NamedTuple):
    """`amount` in any `seconds`, in one burst if need be; 0: without limit."""

    amount: int = 0
    seconds: float = 60.0


ANY = Rate()


@dataclass(frozen=True, slots=True)
class RateLimits:
    """For one client network: `v4` and `v6` bits of an address are one network."""

    connections: Rate = ANY
    messages: Rate = ANY
    recipients: Rate = ANY
    requests: Rate = ANY
    v4: int = 32
    v6: int = 64


class Rates:
    """The buckets of one service. `exempt`: networks without limits, beside the loopback."""

    def __init__(
        self, limits: RateLimits, *, seconds: Callable[[], float], exempt: Iterable[Network] = ()
    ) -> None:
        self._limits = limits
        self._seconds = seconds
        self._exempt = (*LOOPBACK, *exempt)
        self._full_at: dict[tuple[str, str], float] = {}  # by what is asked for, and network

    def follow(self, limits: RateLimits, *, exempt: Iterable[Network]) -> None:
        """Other limits from now on; what has been taken stays taken."""
        self._limits = limits
        self._exempt = (*LOOPBACK, *exempt)

    def connection(self, host: str) -> bool:
        """Take one connection; False when there is none left for now."""
        return self._take("connections", host, self._limits.connections)

    def message(self, host: str) -> bool:
        """Take one message."""
        return self._take("messages", host, self._limits.messages)

    def recipient(self, host: str) -> bool:
        """Take one recipient."""
        return self._take("recipients", host, self._limits.recipients)

    def request(self, host: str) -> bool:
        """Take one request over HTTP."""
        return self._take("requests", host, self._limits.requests)

    def __len__(self) -> int:
        return len(self._full_at)

    def _take(self, what: str, host: str, rate: Rate) -> bool:
        if not rate.amount or within(host, self._exempt):
            return True
        network = range_of(host, self._limits.v4, self._limits.v6)  # one for all whose address is not known
        now = self._seconds()
        # More than a whole bucket ahead: the clock has been set back.
        full_at = min(max(self._full_at.pop((what, network), now), now), now + rate.seconds)
        after = full_at + rate.seconds / rate.amount
        allowed = after <= now + rate.seconds * (1 + 1e-9)
        if len(self._full_at) >= MOST_BUCKETS:
            del self._full_at[next(iter(self._full_at))]
        self._full_at[what, network] = after if allowed else full_at
        return allowed
