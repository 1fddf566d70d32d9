"""Keeps the keys of our domains: makes them, looks for them in the DNS, changes them when it is time.

All that blocks, and making RSA keys above all, happens in a thread, one thing after the other. What
`mta dkim` has changed meanwhile takes effect with the next look.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mta.database_thread import DatabaseThread
from twisted_mta.interfaces import IResolver
from twisted_mta.trust.dkim.keyring import ACTIVE, OLD, RETIRED, WAITING, KeyFileFault, Keyring, StoredKey
from twisted_mta.trust.dkim.publication import Look, look
from twisted_mta.trust.dkim.rotation import Schedule, after_look, due, missing
from twisted_mta.trust.dkim.sign import SigningKey
from twisted_mta.trust.dkim.signer import Signer

INTERVAL = 10.0  # seconds between two looks at what is to be done
LOOKS = {WAITING: 300.0, ACTIVE: 6 * 3600.0, RETIRED: 86400.0}  # seconds between two questions for a key
LOOK_AGAIN = 300.0  # seconds, for a key that signs and is not there
DAY = 86400.0
AT_ONCE = 10  # questions to the DNS

T = TypeVar("T")


class KeyKeeper:
    """domains: ours. reactor: its clock is the wall clock. The first keys are made an INTERVAL after the
    start: they are in nobody's way."""

    log = Logger(namespace="twisted_mta.dkim")

    def __init__(
        self,
        directory: Path,
        *,
        signer: Signer,
        domains: Sequence[str],
        schedule: Schedule,
        resolver: IResolver,
        reactor: Any,
    ) -> None:
        self._directory = directory
        self._signer = signer
        self._domains = domains
        self._schedule = schedule
        self._resolver = resolver
        self._reactor = reactor
        self._thread: DatabaseThread[Keyring] = DatabaseThread("dkim", reactor=reactor)
        self._version = -1
        self._keys: list[StoredKey] = []
        self._private: dict[str, SigningKey] = {}  # by the key's name
        self._faults: dict[str, str] = {}  # the same
        self._next_look: dict[tuple[str, str], float] = {}  # by name and state
        self._trouble = ""
        self._loop = LoopingCall(self._round)
        self._loop.clock = reactor

    async def start(self) -> None:
        """Sign from now on, with the keys there are. Raises sqlite3.Error and OSError."""
        await self._thread.start(lambda: Keyring(self._directory))
        aside = await self._thread.run(lambda keyring: keyring.put_aside)
        if aside is not None:
            self.log.error(
                "{path} was damaged; it is {aside} now. The keys themselves are still there; those that the "
                "DNS has will sign again.",
                path=self._directory,
                aside=aside,
            )
        await self._read()
        for key in self._keys:
            if key.state == WAITING and key.domain in self._domains and not key.seen:
                self._tell_waiting(key)
        self._loop.start(INTERVAL, now=False).addErrback(self._failed)

    async def stop(self) -> None:
        """Sign with what is known; nothing changes any more."""
        if self._loop.running:
            self._loop.stop()
        await self._thread.stop()

    def _round(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.look()).addErrback(self._failed)

    async def look(self) -> None:
        """Do what there is to do now."""
        try:
            if await self._in_thread(Keyring.data_version) != self._version:
                await self._read()
            elif self._faults:
                await self._load()
            await self._make_missing()
            if self._schedule.check_dns:
                await self._look_for_keys()
            await self._change(lambda keys: due(keys, self._schedule, self._now, unusable=self._faults))
        except _Stopped:
            return
        except (sqlite3.Error, OSError) as error:
            if str(error) != self._trouble:
                self.log.error("DKIM keys in {path}: {error}", path=self._directory, error=error)
            self._trouble = str(error)
        else:
            self._trouble = ""
        self._renew_signer()

    @property
    def _now(self) -> float:
        return float(self._reactor.seconds())

    # What there is

    async def _read(self) -> None:
        adopted, faults = await self._in_thread(_adopted, self._domains)
        for fault in faults:
            self._tell_fault(str(fault), str(fault))
        for key in adopted:
            self.log.info("DKIM: a key for {name} was found and waits to be published", name=key.name)
        self._version = await self._in_thread(Keyring.data_version)
        before = {key.name: key for key in self._keys}
        self._keys = await self._in_thread(Keyring.stored)
        for key in self._keys:
            if key.name in before and key.domain in self._domains:  # by hand
                self._tell_change(before[key.name], key, None)
        await self._load()
        self._renew_signer()

    async def _load(self) -> None:
        """The private keys that are, or will be, needed."""
        wanted = [k for k in self._keys if k.state in (WAITING, ACTIVE) and k.domain in self._domains]
        new = [key for key in wanted if key.name not in self._private]
        found, faults = await self._in_thread(_private_keys, new)
        for name, fault in faults.items():
            self._tell_fault(name, fault)
        names = {key.name for key in wanted}
        self._private = {name: key for name, key in (self._private | found).items() if name in names}
        self._faults = {name: fault for name, fault in faults.items() if name in names}

    def _renew_signer(self) -> None:
        now = self._now
        names = [key.name for key in self._keys if self._schedule.signs(key, now)]
        self._signer.use([self._private[name] for name in names if name in self._private], known=self._keys)

    # What is to be done

    async def _make_missing(self) -> None:
        wanted = missing(self._keys, self._domains, self._schedule, self._now, unusable=self._faults)
        made = [
            await self._in_thread(Keyring.create, domain, algorithm, self._now)
            for domain, algorithm in wanted
        ]
        if made:
            await self._read()
        for key in made:
            self._tell_waiting(key)

    async def _look_for_keys(self) -> None:
        """Ask the DNS for the keys whose turn it is, and note what it says."""
        now = self._now
        mine = [key for key in self._keys if key.domain in self._domains and key.state in LOOKS]
        asked = [key for key in mine if self._next_look.get((key.name, key.state), 0.0) <= now]
        places = {(key.name, key.state) for key in mine}
        self._next_look = {place: when for place, when in self._next_look.items() if place in places}
        turns = DeferredSemaphore(AT_ONCE)
        under_way = [turns.run(self._ask, key) for key in asked]
        looks = {key.name: (key, await answer) for key, answer in zip(asked, under_way, strict=True)}
        for key, found in looks.values():
            self._next_look[key.name, key.state] = now + _pause(key, found, now)
        gone_keys = [k for k, found in looks.values() if k.state == RETIRED and found.there is False]
        if gone_keys:
            await self._forget(gone_keys)
        if looks:
            await self._change(lambda keys: _looked(keys, looks, now), looks)

    def _ask(self, key: StoredKey) -> Deferred[Look]:
        return Deferred.fromCoroutine(look(self._resolver, key))

    async def _forget(self, keys: Sequence[StoredKey]) -> None:
        for key in keys:
            await self._in_thread(Keyring.forget, key)
            self.log.info("DKIM: {name} is gone from the DNS, and done with", name=key.name)
        self._keys = await self._in_thread(Keyring.stored)

    async def _change(
        self,
        decide: Callable[[list[StoredKey]], list[StoredKey]],
        looks: dict[str, tuple[StoredKey, Look]] | None = None,
    ) -> None:
        """Have keys as they are to be, and tell of those that differ from before."""
        changed = await self._in_thread(_decided, self._domains, decide)
        if not changed:
            return
        before = {key.name: key for key in self._keys}
        self._keys = await self._in_thread(Keyring.stored)
        for key in changed:
            self._tell_change(before.get(key.name), key, (looks or {}).get(key.name))
        await self._load()

    # What is told

    def _tell_waiting(self, key: StoredKey) -> None:
        if self._schedule.check_dns:
            self.log.info(
                "DKIM: publish the new key {name} in the DNS; `mta dkim show {domain}` has the record. Mail "
                "is signed with it as soon as the DNS has had it for long enough.",
                name=key.name,
                domain=key.domain,
            )

    def _tell_fault(self, name: str, fault: str) -> None:
        if self._faults.get(name) != fault:
            self.log.error("DKIM: {fault}. Nothing is signed with this key.", fault=fault)
            self._faults[name] = fault

    def _tell_change(
        self, before: StoredKey | None, key: StoredKey, looked: tuple[StoredKey, Look] | None
    ) -> None:
        was = before.state if before else ""
        if key.state != was:
            self.log.info("DKIM: {name} {news}", name=key.name, news=_NEWS[key.state])
        elif key.missing and before is not None and not before.missing:
            self.log.warn(
                "DKIM: {name} is missing: {why}. Unless it is back within an hour, mail is not signed "
                "with it; `mta dkim show {domain}` has the record.",
                name=key.name,
                domain=key.domain,
                why=looked[1].why if looked else "",
            )
        elif key.state == WAITING and key.seen and before is not None and not before.seen:
            self.log.info("DKIM: the DNS has {name}", name=key.name)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("unexpected error with the DKIM keys", failure=failure)

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """function: of the keyring and these. Raises what it raises."""
        if not self._thread.is_open:
            raise _Stopped
        return await self._thread.run(lambda keyring: function(keyring, *arguments))


class _Stopped(Exception):
    """Nothing is to be done any more."""


_NEWS = {
    WAITING: "waits to be published",
    ACTIVE: "signs from now on",
    OLD: "signs no more; leave its record in the DNS until it is retired",
    RETIRED: "is retired; its record may be removed from the DNS",
}


def _looked(
    keys: Iterable[StoredKey], looks: dict[str, tuple[StoredKey, Look]], now: float
) -> list[StoredKey]:
    """Those of which something else is known now."""
    known = [
        (key, after_look(key, looks[key.name][1], now))
        for key in keys
        if key.name in looks and looks[key.name][0].state == key.state
    ]
    return [after for key, after in known if after != key]


def _pause(key: StoredKey, found: Look, now: float) -> float:
    """Seconds until the DNS is asked for a key again."""
    if found.there is None or (found.there is False and key.state == ACTIVE):
        return LOOK_AGAIN
    if key.state == WAITING and now - key.made > DAY:
        return 12 * LOOKS[WAITING]
    return LOOKS[key.state]


# In the thread


def _adopted(keyring: Keyring, domains: Sequence[str]) -> tuple[list[StoredKey], list[KeyFileFault]]:
    with keyring.transaction():
        return keyring.adopt(domains)


def _decided(
    keyring: Keyring, domains: Sequence[str], decide: Callable[[list[StoredKey]], list[StoredKey]]
) -> list[StoredKey]:
    with keyring.transaction():
        changed = decide([key for key in keyring.stored() if key.domain in domains])
        keyring.put(changed)
    return changed


def _private_keys(
    keyring: Keyring, keys: Sequence[StoredKey]
) -> tuple[dict[str, SigningKey], dict[str, str]]:
    found, faults = {}, {}
    for key in keys:
        try:
            found[key.name] = SigningKey(key.domain, key.selector, keyring.private(key))
        except KeyFileFault as fault:
            faults[key.name] = str(fault)
    return found, faults
