"""Greylisting: who is not known is asked to come back (RFC 6647).

A program that sends junk by the million seldom tries again, a mail server does. What is refused for a while
is the triple of client, sender's domain and recipient (§2.4): the domain and not the address, as senders
that change from mail to mail (SRS, BATV, one for each recipient of a list) are still the same. Whoever has
come back once is free from then on, with all of its mail, as long as it goes on sending now and then; who is
one and the same is in `origin.py`.

One origin may have so many triples waiting and no more; with one more it forgets its own oldest, so that
nobody washes out the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from twisted_mta.trust.abuse.memory import Memory

MOST_WAITING = 50_000  # triples
MOST_TRUSTED = 50_000  # origins
MOST_OF_ONE = 500  # triples of one origin
_RENEWED = 86400.0  # seconds after which trust that is used is worth writing down again


@dataclass(frozen=True, slots=True)
class GreylistRules:
    """All in seconds. `delay`: before that, coming back does not count; `window`: nor does it later.
    `trust`: how long an origin is free after its last mail (RFC 6647 §5: at least a week; mail that comes
    once a month must not wait every time)."""

    delay: float = 300.0
    window: float = 2 * 86400.0
    trust: float = 36 * 86400.0


class Greylist:
    """`seconds`: the wall clock, since what is remembered outlives the process."""

    def __init__(self, rules: GreylistRules, *, seconds: Callable[[], float]) -> None:
        self.waiting = Memory(MOST_WAITING)
        self.trusted = Memory(MOST_TRUSTED)
        self._rules = rules
        self._seconds = seconds
        self._of_one: dict[
            str, deque[str]
        ] = {}  # keys by origin, oldest first; of some, the triples are gone
        self._counted = 0  # keys there

    def is_trusted(self, origin: str) -> bool:
        """Has it come back before? Being asked counts as being used."""
        now = self._seconds()
        found = self.trusted.get(origin, now)
        if found is not None and found.until - now < self._rules.trust - _RENEWED:
            self.trusted.put(origin, found.since, now + self._rules.trust)
        return found is not None

    def wait(self, origin: str, sender_domain: str, recipient: str) -> float:
        """Seconds that it still has to wait, 0 when it need not."""
        if not origin or self.is_trusted(origin):
            return 0.0
        now, rules = self._seconds(), self._rules
        triple = "\0".join((origin, sender_domain, recipient)).encode("utf-8", "surrogatepass")
        key = blake2b(triple, digest_size=16).hexdigest()
        found = self.waiting.get(key, now)
        if found is None or found.since > now:  # the clock has been set back
            self.waiting.put(key, now, now + rules.window)
            self._count(origin, key)
            return rules.delay
        left = found.since + rules.delay - now
        if left > 0:
            return left
        self.trust(origin)
        self.waiting.drop(key)
        return 0.0

    def trust(self, origin: str) -> None:
        """It is free from now on."""
        now = self._seconds()
        self.trusted.put(origin, now, now + self._rules.trust)

    def _count(self, origin: str, key: str) -> None:
        if self._counted >= 2 * MOST_WAITING:
            self._of_one.clear()  # most of these are over; who floods is counted again from here
            self._counted = 0
        own = self._of_one.setdefault(origin, deque())
        own.append(key)
        self._counted += 1
        if len(own) > MOST_OF_ONE:
            self.waiting.drop(own.popleft())
            self._counted -= 1
