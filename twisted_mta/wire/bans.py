"""Who guesses passwords is shut out for a while: addresses, ranges around them, and attempts on one account.

An address (IPv4 /32, IPv6 /64) with too many failures is banned; so is the range around it (/24, /48) when
several of its members fail. Failures run out of the count with time, each ban of the same range lasts longer
than the last, and a range that has behaved for long enough begins anew. Networks that are exempt are never
banned, nor is an address that has logged in lately banned because of its neighbours.

Guesses at one account from many addresses lock it, briefly, and only for strangers: where its owner has
logged in lately it stays open, and what a stranger tries while it is locked does not prolong it. So nobody
can lock somebody else out for good.

All in memory and bounded: when there is no room, what has been quiet for longest is forgotten. `ban_store.py`
keeps what must outlive a restart.

Left out on purpose: telling one wrong password from another, which would need to keep something of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from twisted_mta.journey.bus import Journey
from twisted_mta.message.networks import LOOPBACK, NARROW, WIDE, Network, address_of, range_of, within

MOST_SUSPECTS = 20_000  # ranges and logins with failures
MOST_BANS = 20_000
MOST_HOMES = 50_000  # addresses that have logged in lately
MOST_HOMES_OF_ONE = 20  # that are remembered of an account
LONGEST_LOGIN = 320  # characters of a login that are told apart
HOME_WEIGHT = 0.2  # a failure where this account has logged in lately: someone's new password, most likely
HALF = 0.5  # a failure that has half run out counts as a whole one when it comes to the last
RENEWED = 86400.0  # seconds after which it is worth keeping that somebody has logged in again

Kind = Literal["range", "login"]


@dataclass(frozen=True, slots=True)
class BanLimits:
    """How many failures, spread over `window` seconds at the most, are borne from one address, from a range
    (of at least `members` addresses), and for one login. Bans last `shortest` seconds first, `growth` times
    as long each time, and `longest` at last; a login is locked for `longest_lock` at the most. `home`: for
    how many seconds it counts that somebody has logged in from an address."""

    failures: int = 10
    range_failures: int = 50
    members: int = 5
    login_failures: int = 50
    window: float = 3600.0
    shortest: float = 300.0
    longest: float = 86400.0
    growth: float = 4.0
    longest_lock: float = 900.0
    home: float = 30 * 86400.0


class Ban(NamedTuple):
    """`subject`: a range such as "192.0.2.0/24", or a login in lower case. `until`: epoch seconds, infinity
    for ever; in the past: over, and `grade`, how often it happened, still counts; 0: by hand."""

    kind: Kind
    subject: str
    since: float
    until: float
    grade: int
    reason: str


class Home(NamedTuple):
    """This account, or whom this login names, logged in from this address (a range of NARROW size) at `last`,
    epoch seconds."""

    account: str
    range: str
    last: float


@dataclass(slots=True)
class _Suspect:
    """A leaking bucket of failures, and whose they are."""

    level: float
    at: float
    members: set[str] = field(default_factory=set)


class Bans:
    """Asked at every connection to a service with logins and at every login. `exempt`: networks that are
    never banned, beside the loopback."""

    def __init__(
        self,
        *,
        seconds: Callable[[], float],
        journey: Journey,
        limits: BanLimits = BanLimits(),
        exempt: Iterable[Network] = (),
    ) -> None:
        self._seconds = seconds
        self._journey = journey
        self._limits = limits
        self._exempt = (*LOOPBACK, *exempt)
        self._suspects: dict[tuple[Kind, str], _Suspect] = {}
        self._bans: dict[tuple[Kind, str], Ban] = {}
        self._begun: dict[tuple[Kind, str], float] = {}  # bans of hours to come, when they began all the same
        self._sizes: set[tuple[int, int]] = {NARROW, WIDE}
        self._homes: dict[str, dict[str, float]] = {}  # by account, by address
        self._visitors: dict[str, float] = {}  # by address: the last login of anybody
        self._changed_bans: dict[tuple[Kind, str], Ban] = {}
        self._changed_homes: dict[tuple[str, str], Home] = {}

    def follow(self, limits: BanLimits, *, exempt: Iterable[Network]) -> None:
        """Other limits from now on; bans that there are stay."""
        self._limits = limits
        self._exempt = (*LOOPBACK, *exempt)

    # Asked by sessions

    def banned(self, peer: str) -> bool:
        """May this address not even connect to a service with logins?"""
        if not self._bans or self._is_exempt(peer):
            return False
        now = self._seconds()
        for size in self._sizes:
            ban = self._holding("range", range_of(peer, *size), now)
            if ban is not None:
                because_of_others = size == WIDE and ban.grade > 0
                if not (because_of_others and self._is_visitor(peer, now)):
                    return True
        return False

    def locked(self, login: str, peer: str = "") -> bool:
        """Must this login be told "no", whatever the password, when it comes from `peer`?"""
        ban = self._holding("login", _login(login), self._seconds())
        if ban is None or (peer and self._is_exempt(peer)):
            return False
        return not self._is_home(_login(login), peer)

    def failed(self, service: str, peer: str, login: str) -> None:
        """A login failed."""
        name, now = _login(login), self._seconds()
        limits = self._limits
        weight = HOME_WEIGHT if self._is_home(name, peer) else 1.0
        if not self._is_exempt(peer):
            narrow, wide = range_of(peer, *NARROW), range_of(peer, *WIDE)
            if self._count("range", narrow, weight, narrow).level > limits.failures - HALF:
                self._ban("range", narrow, limits.longest, service)
            around = self._count("range", wide, weight, narrow)
            if around.level > limits.range_failures - HALF and len(around.members) >= limits.members:
                self._ban("range", wide, limits.longest, service)
        is_open = name and weight == 1.0 and self._holding("login", name, now) is None
        if is_open and self._count("login", name, weight, "").level > limits.login_failures - HALF:
            self._ban("login", name, limits.longest_lock, service)

    def succeeded(self, peer: str, account: str, login: str = "") -> None:
        """A login succeeded: this address is one of the account's homes from now on, under the name, too, by
        which it was called."""
        narrow, now = range_of(peer, *NARROW), self._seconds()
        if not narrow:
            return
        for name in {account, _login(login) or account} - {_local_part(account)}:
            known = self._homes.get(name, {}).get(narrow, -math.inf)
            if now - known >= RENEWED:
                self._settle(Home(name, narrow, now))
                self._changed_homes[name, narrow] = Home(name, narrow, now)

    # Asked by administration and by what keeps bans

    def all(self) -> list[Ban]:
        """The bans, those too that are over."""
        return list(self._bans.values())

    def put(self, ban: Ban) -> None:
        """A ban that was made elsewhere: by hand, or before a restart."""
        self._drop((ban.kind, ban.subject))
        if len(self._bans) >= MOST_BANS:
            earned = (key for key, kept in self._bans.items() if kept.grade)  # rather than those by hand
            self._drop(next(earned, next(iter(self._bans))))
        self._bans[ban.kind, ban.subject] = ban
        if ban.kind == "range":
            bits = int(ban.subject.rpartition("/")[2])
            self._sizes.add(next((size for size in (NARROW, WIDE) if bits in size), (min(bits, 32), bits)))

    def lift(self, kind: Kind, subject: str) -> None:
        """End a ban and forget what led to it. A no-op when there is none."""
        self._drop((kind, subject))
        self._changed_bans.pop((kind, subject), None)
        self._suspects.pop((kind, subject), None)

    def is_unwritten(self, kind: Kind, subject: str) -> bool:
        """Has this ban changed since `take_changes`?"""
        return (kind, subject) in self._changed_bans

    def settle(self, homes: Iterable[Home]) -> None:
        """Logins before a restart, oldest first."""
        for home in homes:
            self._settle(home)

    def take_changes(self) -> tuple[list[Ban], list[Home]]:
        """What is to be kept since the last time."""
        bans, homes = list(self._changed_bans.values()), list(self._changed_homes.values())
        self._changed_bans.clear()
        self._changed_homes.clear()
        return bans, homes

    # Counting

    def _drop(self, key: tuple[Kind, str]) -> None:
        self._bans.pop(key, None)
        self._begun.pop(key, None)

    def _holding(self, kind: Kind, subject: str, now: float) -> Ban | None:
        """The ban that holds now. One of an hour to come holds from now on, as long as it was meant to:
        either the clock was ahead then, or it is behind now. It is changed only once it is over, so that a
        clock which is put right before finds it as it was."""
        key = (kind, subject)
        ban = self._bans.get(key)
        if ban is None or ban.since <= now:
            self._begun.pop(key, None)
            return ban if ban is not None and ban.until > now else None
        begun = self._begun[key] = min(self._begun.get(key, now), now)
        early = ban._replace(since=begun, until=begun + (ban.until - ban.since))
        if early.until > now:
            return early
        self.put(early)
        self._changed_bans[key] = early
        return None

    def _count(self, kind: Kind, subject: str, weight: float, member: str) -> _Suspect:
        now = self._seconds()
        suspect = self._suspects.pop((kind, subject), None)
        if suspect is None:
            suspect = _Suspect(0.0, now)
            if len(self._suspects) >= MOST_SUSPECTS:
                del self._suspects[next(iter(self._suspects))]
        self._suspects[kind, subject] = suspect  # last in the order: the first is the quietest
        passed = max(now - suspect.at, 0.0) / self._limits.window
        suspect.level = max(suspect.level - passed * self._threshold(kind, subject), 0.0) + weight
        suspect.at = now
        if suspect.level <= weight:
            suspect.members.clear()
        if member and len(suspect.members) < self._limits.members:
            suspect.members.add(member)
        return suspect

    def _threshold(self, kind: Kind, subject: str) -> int:
        """Failures that run out in a window."""
        if kind == "login":
            return self._limits.login_failures
        bits = int(subject.rpartition("/")[2])
        return self._limits.failures if bits in NARROW else self._limits.range_failures

    def _ban(self, kind: Kind, subject: str, longest: float, service: str) -> None:
        limits, now = self._limits, self._seconds()
        if self._holding(kind, subject, now) is not None:
            return
        before = self._bans.get((kind, subject))
        recent = before is not None and now - before.until < limits.longest
        grade = before.grade + 1 if before is not None and recent else 1
        lasting = min(limits.shortest * limits.growth ** min(grade - 1, 30), longest)
        ban = Ban(kind, subject, now, now + lasting, grade, f"failed logins at {service}")
        self._suspects.pop((kind, subject), None)
        self.put(ban)
        self._changed_bans[kind, subject] = ban
        stage = "banned" if kind == "range" else "locked"
        self._journey.tell(stage, **{kind: subject}, seconds=round(lasting), grade=grade, service=service)

    # Homes

    def _settle(self, home: Home) -> None:
        for login in {home.account, _local_part(home.account)}:  # both are logins
            homes = self._homes.pop(login, {})
            homes.pop(home.range, None)
            if len(homes) >= MOST_HOMES_OF_ONE:
                del homes[next(iter(homes))]
            homes[home.range] = home.last
            if len(self._homes) >= MOST_HOMES:
                del self._homes[next(iter(self._homes))]
            self._homes[login] = homes
        self._visitors.pop(home.range, None)
        if len(self._visitors) >= MOST_HOMES:
            del self._visitors[next(iter(self._visitors))]
        self._visitors[home.range] = home.last

    def _is_visitor(self, peer: str, now: float) -> bool:
        """Has anybody lately logged in from this address?"""
        return now - self._visitors.get(range_of(peer, *NARROW), -math.inf) < self._limits.home

    def _is_home(self, login: str, peer: str) -> bool:
        """Has the account of this login lately logged in from near here?"""
        address = address_of(peer)
        homes = self._homes.get(login) if address is not None else None
        if not homes:
            return False
        now, around = self._seconds(), range_of(peer, *WIDE)
        return any(
            now - last < self._limits.home and range_of(home.partition("/")[0], *WIDE) == around
            for home, last in homes.items()
        )

    def _is_exempt(self, peer: str) -> bool:
        return address_of(peer) is None or within(peer, self._exempt)


def by_hand(subject: str, now: float, seconds: float, reason: str) -> Ban:
    """A ban that an administrator asks for; `seconds` infinity: until it is lifted."""
    return Ban("range", subject, now, now + seconds, 0, reason)


def _login(text: str) -> str:
    return text[:LONGEST_LOGIN].strip().lower()


def _local_part(login: str) -> str:
    return login.rpartition("@")[0] or login
