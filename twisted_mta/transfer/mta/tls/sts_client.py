"""MTA-STS for mail that we send: is there a policy, fetching it, keeping it, fetching it anew (RFC 8461
§3.3, §5.1).

A policy is used for `max_age` after it was fetched, whatever becomes of its record and its file: that is
what makes taking them away useless to an attacker. The record is looked at for every conversation (the
resolver remembers it); a new id in it has the policy fetched anew. A fetch that fails is not tried again
for five minutes. Policies that are in use are fetched anew every day, so that they do not run out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from twisted_mta.https import FetchError, HttpsClient
from twisted_mta.interfaces import IResolver
from twisted_mta.resolver import ResolutionError
from twisted_mta.shared_questions import SharedQuestions
from twisted_mta.steady import steady_seconds
from twisted_mta.transfer.mta.tls.database import StoredPolicy
from twisted_mta.transfer.mta.tls.findings import FETCH_ERROR, INVALID_CERTIFICATE, INVALID_POLICY
from twisted_mta.transfer.mta.tls.ledger import DAY, TlsLedger
from twisted_mta.transfer.mta.tls.mta_sts import LARGEST, NotAPolicy, StsPolicy, record_id

REST = 300.0  # seconds after a fetch that failed
LOOKED_AFTER = 3600.0  # seconds between two looks at what should be fetched anew
_AT_ONCE = 20  # fetches
_MOST_WAITING = 10_000  # domains; there are never as many deliveries at the same time
_MOST_FAILURES = 10_000  # domains that are remembered


@dataclass(frozen=True, slots=True)
class Discovered:
    """policy: None when there is none to use. cause, reason: why the live one could not be had, "" when
    nothing is wrong: a result type of RFC 8460 §4.3, and words."""

    policy: StsPolicy | None = None
    cause: str = ""
    reason: str = ""


class StsClient:
    """Finds the policies of others."""

    log = Logger(namespace="twisted_mta.tls")

    def __init__(self, *, resolver: IResolver, https: HttpsClient, ledger: TlsLedger, reactor: Any) -> None:
        self._resolver = resolver
        self._https = https
        self._ledger = ledger
        self._parsed: dict[bytes, StsPolicy] = {}
        self._failures: dict[str, tuple[float, Discovered]] = {}  # until when, and what there is instead
        self._fetches: SharedQuestions[str, Discovered] = SharedQuestions(_MOST_WAITING)
        self._turns = DeferredSemaphore(_AT_ONCE)
        self._used: set[str] = set()
        self._steady = steady_seconds(IReactorTime(reactor))
        self._upkeep = LoopingCall(self.refresh)
        self._upkeep.clock = IReactorTime(reactor)

    async def start(self) -> None:
        """Begin to look after what is kept."""
        done = self._upkeep.start(LOOKED_AFTER, now=False)
        done.addErrback(lambda failure: self.log.failure("policies are not fetched anew", failure=failure))

    async def stop(self) -> None:
        """End that."""
        if self._upkeep.running:
            self._upkeep.stop()

    async def discover(self, domain: str) -> Discovered:
        """The policy to use for a domain now. May take as long as a fetch, whose failures are part of the
        answer. Raises TooManyQuestions."""
        kept = self._ledger.policy(domain)
        try:
            found = await self._resolver.txt(f"_mta-sts.{domain}")
            current = record_id(found.records) if found is not None else ""
        except ResolutionError:
            current = ""
        if kept is not None:
            self._used.add(domain)
        if not current or (kept is not None and kept.id == current):
            return Discovered(self._read(kept))
        return await self._fetch_once(domain, current)

    async def refresh(self) -> None:
        """Fetch anew what is in use and more than a day old, or half used up."""
        now = self._ledger.seconds()
        for kept in self._ledger.policies():
            old = now - kept.fetched > min(DAY, (kept.expires - kept.fetched) / 2)
            if old and kept.domain in self._used:
                await self._fetch_once(kept.domain, kept.id)

    def _read(self, kept: StoredPolicy | None) -> StsPolicy | None:
        if kept is None:
            return None
        policy = self._parsed.get(kept.body)
        if policy is None:
            if len(self._parsed) > 1000:
                self._parsed.clear()
            try:
                policy = self._parsed[kept.body] = StsPolicy.parse(kept.body)
            except NotAPolicy:  # somebody has changed the file
                return None
        return policy

    async def _fetch_once(self, domain: str, identity: str) -> Discovered:
        """All who ask at the same time share one fetch, and for a while its failure."""
        until, instead = self._failures.get(domain, (0.0, Discovered()))
        if until > self._steady():
            return Discovered(self._read(self._ledger.policy(domain)), instead.cause, instead.reason)
        return await self._fetches.ask(domain, lambda: self._fetch_in_turn(domain, identity))

    async def _fetch_in_turn(self, domain: str, identity: str) -> Discovered:
        async with self._turns:
            return await self._fetch(domain, identity)

    async def _fetch(self, domain: str, identity: str) -> Discovered:
        try:
            url = f"https://mta-sts.{domain}/.well-known/mta-sts.txt"
            body, media_type = await self._https.get(url, limit=LARGEST)
            if media_type != "text/plain":
                raise NotAPolicy(f"of the media type {media_type or '?'}, not text/plain")
            policy = StsPolicy.parse(body)
        except FetchError as error:
            return self._failed(domain, INVALID_CERTIFICATE if error.certificate else FETCH_ERROR, str(error))
        except NotAPolicy as error:
            return self._failed(domain, INVALID_POLICY, f"{url}: {error}")
        self._failures.pop(domain, None)
        now = self._ledger.seconds()
        await self._ledger.keep_policy(StoredPolicy(domain, identity, body, now, now + policy.max_age))
        self._used.add(domain)
        return Discovered(policy)

    def _failed(self, domain: str, cause: str, reason: str) -> Discovered:
        """Without the live policy the one that is kept goes on (RFC 8461 §3.3)."""
        kept = self._ledger.policy(domain)
        going_on = "; the one that is kept goes on" if kept is not None else ""
        self.log.warn("MTA-STS of {domain}: {reason}{more}", domain=domain, reason=reason, more=going_on)
        discovered = Discovered(self._read(kept), cause, reason)
        self._failures.pop(domain, None)
        if len(self._failures) >= _MOST_FAILURES:
            del self._failures[next(iter(self._failures))]
        self._failures[domain] = self._steady() + REST, discovered
        return discovered
