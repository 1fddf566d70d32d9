"""What is kept of the TLS of others, in memory and in `tls.sqlite`: MTA-STS policies, hosts that have
spoken TLS, and what is to be reported (RFC 8461 §3.3, RFC 8460 §4).

Deliveries ask and tell in memory alone; a thread of its own writes once a minute and when the server stops.
A crash costs a minute of figures. A policy is on disk before it is used.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from twisted_mta.database_thread import DatabaseThread
from twisted_mta.transfer.mta.tls.database import KnownHost, StoredPolicy, TlsDatabase
from twisted_mta.transfer.mta.tls.findings import Finding

T = TypeVar("T")

DAY = 86400
WRITTEN_EVERY = 60.0  # seconds
MOST_HOSTS = 100_000  # in memory
MOST_POLICIES = 20_000
MOST_FINDINGS = 20_000  # different ones, until they are written


class TlsLedger:
    """path: of the database. reactor: its clock is the wall clock, unless `clock` is given."""

    log = Logger(namespace="twisted_mta.tls")

    def __init__(self, path: Path, *, reactor: Any, clock: IReactorTime | None = None) -> None:
        self._path = path
        self._clock = IReactorTime(reactor) if clock is None else clock
        self._thread: DatabaseThread[TlsDatabase] = DatabaseThread("tls", reactor=reactor)
        self._policies: dict[str, StoredPolicy] = {}
        self._hosts: dict[str, KnownHost] = {}
        self._changed: dict[str, KnownHost] = {}
        self._findings: Counter[tuple[int, str, Finding]] = Counter()
        self._writing = LoopingCall(self._write)
        self._writing.clock = self._clock

    async def start(self) -> None:
        """Open the database and read what is known. Raises sqlite3.Error."""

        def damaged(aside: Path) -> None:
            self.log.error("{path} was damaged and is now {aside}", path=self._path, aside=aside)

        await self._thread.start(lambda: TlsDatabase(self._path, damaged=damaged))
        now = self.seconds()
        for policy in await self.run(lambda database: database.policies(now, MOST_POLICIES)):
            self._policies[policy.domain] = policy
        for host in await self.run(lambda database: database.hosts(MOST_HOSTS)):
            self._hosts[host.name] = host
        done = self._writing.start(WRITTEN_EVERY, now=False)
        done.addErrback(lambda failure: self.log.failure("no more is written", failure=failure))

    async def stop(self) -> None:
        """Write what there is, and close."""
        if self._writing.running:
            self._writing.stop()
        await self._write()
        await self._thread.stop()

    def seconds(self) -> float:
        """The time, since the epoch."""
        return self._clock.seconds()

    def run(self, work: Callable[[TlsDatabase], T]) -> Deferred[T]:
        """Something with the database, in its thread."""
        return self._thread.run(work)

    # Policies

    def policy(self, domain: str) -> StoredPolicy | None:
        """The domain's policy, if one is kept that has not expired."""
        policy = self._policies.get(domain)
        return policy if policy is not None and policy.expires > self.seconds() else None

    def policies(self) -> list[StoredPolicy]:
        """All that have not expired."""
        now = self.seconds()
        return [policy for policy in self._policies.values() if policy.expires > now]

    async def keep_policy(self, policy: StoredPolicy) -> None:
        """From now on; returns once it is on disk. A disk that fails is told, and the policy used all the
        same."""
        self._policies.pop(policy.domain, None)
        if len(self._policies) >= MOST_POLICIES:
            del self._policies[next(iter(self._policies))]
        self._policies[policy.domain] = policy
        try:
            await self.run(lambda database: database.keep_policy(policy))
        except sqlite3.Error as error:
            self.log.error("the policy of {domain} is not kept: {error}", domain=policy.domain, error=error)

    # Hosts

    def spoke(self, name: str) -> KnownHost | None:
        """This host has spoken TLS. What was known of it when it had stopped to, else None."""
        now = self.seconds()
        known = self._hosts.get(name)
        if known is not None and known.lost is None and now - known.last < DAY:
            return None
        if known is None and len(self._hosts) >= MOST_HOSTS:
            del self._hosts[next(iter(self._hosts))]
        first = now if known is None else known.first
        self._hosts[name] = self._changed[name] = KnownHost(name, first, now, None)
        return known if known is not None and known.lost is not None else None

    def silent(self, name: str) -> KnownHost | None:
        """This host did not speak TLS. What is known of it when it has until now, None when that is no
        news."""
        known = self._hosts.get(name)
        if known is None or known.lost is not None:
            return None
        self._hosts[name] = self._changed[name] = known._replace(lost=self.seconds())
        return known

    # Findings

    def count(self, finding: Finding) -> None:
        """One more session that went like this."""
        key = (int(self.seconds() // DAY), finding.policy.domain, finding)
        if key in self._findings or len(self._findings) < MOST_FINDINGS:
            self._findings[key] += 1

    async def written(self) -> None:
        """Returns when everything that was told so far is on disk, or the disk has failed."""
        await self._write()

    async def _write(self) -> None:
        if not self._thread.is_open:
            return
        hosts, self._changed = self._changed, {}
        findings, self._findings = self._findings, Counter()
        try:
            if hosts:
                await self.run(lambda database: database.keep_hosts(hosts.values()))
                hosts = {}
            if findings:
                await self.run(lambda database: database.add_findings(findings))
        except sqlite3.Error as error:
            self.log.error("what was seen of TLS cannot be written: {error}", error=error)
            self._changed = {**hosts, **self._changed}
            self._findings = findings + self._findings
