"""When keys change, so that there is no moment without one that receivers can find (RFC 6376 §3.1, RFC 5863
§3.5).

A new key is made and waits until the DNS has it, and for a while longer, since not all servers of a domain
have it at once. Then it signs, and the one before it stays in the DNS for whoever is late with verifying.
After that it is retired: its record may go. If nobody publishes the new key, the old one goes on signing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twisted_mta.trust.dkim.keyring import ACTIVE, OLD, RETIRED, WAITING, StoredKey

if TYPE_CHECKING:  # asking the DNS is dear to load, and the configuration needs this
    from twisted_mta.trust.dkim.publication import Look

MISSED = 3600.0  # seconds for which the DNS may be wrong about a key that signs


@dataclass(frozen=True, slots=True)
class Schedule:
    """`algorithms`: each domain has a key of each. In seconds: the life of a key (`rotate`, 0: for ever), how
    long the DNS has a new one before it takes over (`settle`), how long it has the one before afterwards
    (`keep`). `check_dns`: without it the DNS is not asked, and a key takes over by hand only."""

    algorithms: Sequence[str] = ("rsa-sha256", "ed25519-sha256")
    rotate: float = 180 * 86400.0
    settle: float = 86400.0
    keep: float = 14 * 86400.0
    check_dns: bool = True

    def signs(self, key: StoredKey, now: float) -> bool:
        """Whether mail is to be signed with it: receivers can find it, as far as we know."""
        return key.state == ACTIVE and not (self.check_dns and key.missing and now - key.missing >= MISSED)


def after_look(key: StoredKey, look: Look, now: float) -> StoredKey:
    """What is known of a key now that the DNS has answered."""
    if look.there is None:
        return key
    if key.state == WAITING:
        return replace(key, seen=(key.seen or now) if look.there else 0.0)
    if key.state == ACTIVE:
        return replace(key, missing=0.0 if look.there else key.missing or now)
    return key


def missing(
    keys: Iterable[StoredKey],
    domains: Sequence[str],
    schedule: Schedule,
    now: float,
    *,
    unusable: Iterable[str] = (),
) -> list[tuple[str, str]]:
    """The domains and algorithms of which a new key is to be made. unusable: the names of keys whose private
    half cannot be read."""
    lost = frozenset(unusable)
    wanted = []
    by_place = _by_place(keys)
    for domain in domains:
        for algorithm in schedule.algorithms:
            there = by_place.get((domain, algorithm), [])
            active = [key for key in there if key.state == ACTIVE and key.name not in lost]
            if any(key.state == WAITING and key.name not in lost for key in there):
                continue
            aged = schedule.check_dns and schedule.rotate and active
            if not active or (aged and now - active[-1].changed >= schedule.rotate):
                wanted.append((domain, algorithm))
    return wanted


def due(
    keys: Iterable[StoredKey], schedule: Schedule, now: float, *, unusable: Iterable[str] = ()
) -> list[StoredKey]:
    """The keys whose state changes now, as they are to be. unusable: as for `missing`."""
    lost = frozenset(unusable)
    changed: list[StoredKey] = []
    for there in _by_place(keys).values():
        active = [key for key in there if key.state == ACTIVE]
        ready = [key for key in there if key.state == WAITING and _is_ready(key, schedule, lost)]
        signing = [key for key in active if schedule.signs(key, now) and key.name not in lost]
        if signing:  # older ones are left over, their time will not come
            late = [key for key in there if key.state == WAITING and key.made < signing[-1].made]
            changed += [key.become(OLD, now) for key in late]
            ready = [key for key in ready if key not in late]
        if ready and (not signing or (schedule.check_dns and now - ready[-1].seen >= schedule.settle)):
            changed += switch(ready[-1], active, now)
        changed += [
            key.become(RETIRED, now)
            for key in there
            if key.state == OLD and now - key.changed >= schedule.keep
        ]
    return changed


def switch(to: StoredKey, active: Iterable[StoredKey], now: float) -> list[StoredKey]:
    """This one takes over."""
    return [*(key.become(OLD, now) for key in active), to.become(ACTIVE, now)]


def _is_ready(key: StoredKey, schedule: Schedule, lost: frozenset[str]) -> bool:
    return key.name not in lost and bool(key.seen or not schedule.check_dns)


def _by_place(keys: Iterable[StoredKey]) -> dict[tuple[str, str], list[StoredKey]]:
    """By domain and algorithm; the oldest first."""
    found: dict[tuple[str, str], list[StoredKey]] = {}
    for key in sorted(keys, key=lambda key: (key.made, key.selector)):
        found.setdefault((key.domain, key.algorithm), []).append(key)
    return found
