"""Certificates are got when they are missing, and renewed when two thirds of their time are over, or when the
authority wants it (RFC 9773). One name after the other, each with a certificate of its own: a name that the
DNS does not lead here holds up no other.

What fails is tried again, after a quarter of an hour, then twice as long, up to a day; meanwhile the
certificate of before is shown. Why it failed is told once, until it fails for another reason, and daily in
the last week of the certificate.
"""

from __future__ import annotations

import datetime
import math
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from twisted_mta.certificates.acme.client import LONGEST_REST, Account, AcmeClient
from twisted_mta.certificates.acme.jws import base64url
from twisted_mta.certificates.acme.kept import KeptCertificates, Progress
from twisted_mta.certificates.acme.problem import AcmeError
from twisted_mta.certificates.acme.solvers import Solver
from twisted_mta.certificates.pair import CertificatePair, NoPair
from twisted_mta.https import HttpsClient

FIRST_WAIT = 900.0  # seconds after the first failure
LONGEST_WAIT = 86400.0
LOOK = 3600.0  # seconds between two looks at what is due: clocks are set, machines sleep
SPREAD = 1 / 20  # of a certificate's time, by which renewals are spread
SOON = 7 * 86400.0  # seconds before the end from which on failures are told daily
INFORMATION = 6 * 3600.0  # seconds between two questions for the authority's wish (RFC 9773 §4.3)


@dataclass(frozen=True)
class Wish:
    """`directory` of the authority; `contact`: an address for its warnings, or "". `key`: "ec" or "rsa", the
    same one for ever if `keep_key`."""

    directory: str
    names: tuple[str, ...]
    contact: str = ""
    key: str = "ec"
    keep_key: bool = True


class Renewal:
    """`show` is called for each new certificate. Started when all ports are open."""

    log = Logger(namespace="twisted_mta.certificates")

    def __init__(
        self,
        wish: Wish,
        *,
        kept: KeptCertificates,
        https: HttpsClient,
        solver: Solver,
        show: Callable[[str, CertificatePair], None],
        reactor: Any,
        randomness: random.Random,
    ) -> None:
        self._wish = wish
        self._kept = kept
        self._https = https
        self._solver = solver
        self._show = show
        self._reactor = reactor
        self._randomness = randomness
        self._timer: Any = None
        self._running: Deferred[None] | None = None
        self._asked: dict[str, float] = {}  # when the authority was asked for its wish
        self._progress: dict[str, Progress] = {}  # on disk, too, where that has room
        self._stopped = False

    def start(self) -> None:
        """Look at once, then again and again."""
        self._stopped = False
        self._begin()

    def stop(self) -> None:
        """Whatever is under way is given up; the next start sees to it. Idempotent."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._running is not None:
            self._running.cancel()

    def _begin(self) -> None:
        self._running = Deferred.fromCoroutine(self._look())
        self._running.addErrback(self._accident)

    def _accident(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self.log.failure("tls.acme: an accident of ours", failure=failure)
            self._sleep(LOOK)

    async def _look(self) -> None:
        client = AcmeClient(self._wish.directory, https=self._https, reactor=self._reactor)
        for name in self._wish.names:
            if self._stopped:
                return
            try:
                pair: CertificatePair | None = await self._thread(self._kept.pair, name)
            except OSError as error:
                self.log.error(
                    "tls.acme: {name} is looked at again in an hour: {error}", name=name, error=error
                )
                continue
            progress = self._progress.get(name) or await self._thread(self._kept.progress, name)
            self._progress[name] = progress
            if pair is not None and not progress.failures:
                progress = await self._asked_for(client, name, pair, progress)
            if self.due(pair, progress) <= self._reactor.seconds():
                await self._attempt(client, name, pair, progress)
        due = min((progress.next for progress in self._progress.values() if progress.next), default=0.0)
        self._sleep(due - self._reactor.seconds() if due else LOOK)

    def _sleep(self, seconds: float) -> None:
        if not self._stopped:
            self._timer = self._reactor.callLater(min(max(seconds, 1.0), LOOK), self._begin)

    def due(self, pair: CertificatePair | None, progress: Progress) -> float:
        """When to ask for the next certificate, in seconds since 1970. A time that is later than any that is
        noted is of a clock that was wrong, and is not waited for."""
        now = self._reactor.seconds()
        if progress.failures:
            return progress.next if progress.next <= now + LONGEST_REST else now
        if pair is None or progress.directory != self._wish.directory:
            return 0.0
        latest = max(_latest(pair), now + FIRST_WAIT)
        return progress.next if 0 < progress.next <= latest else pair.renewal.timestamp()

    async def _attempt(
        self, client: AcmeClient, name: str, before: CertificatePair | None, progress: Progress
    ) -> None:
        try:
            pair = await self._get(client, name)
        except Exception as error:
            if self._stopped:
                return
            await self._failed(name, before, progress, self._sentence(name, error), error)
            return
        lifetime = pair.lifetime.total_seconds()
        due = pair.renewal.timestamp() + self._randomness.random() * SPREAD * lifetime
        # A clock that is wrong, here or there, is no reason to ask without end.
        due = max(due, self._reactor.seconds() + FIRST_WAIT)
        await self._note(name, Progress(next=due, directory=self._wish.directory))
        self._show(name, pair)
        self.log.info(
            "tls.acme: a new certificate for {name}, by {issuer}, until {expires}",
            name=name,
            issuer=pair.issuer,
            expires=_when(pair.expires.timestamp()),
        )

    def _sentence(self, name: str, error: Exception) -> str:
        match error:
            case AcmeError() | NoPair():
                return str(error)
            case OSError():
                return f"it cannot be written to disk ({error.strerror}: {error.filename}); make room there"
            case _:
                self.log.failure("tls.acme: an accident of ours at {name}", name=name)
                return "an accident of ours; the log has what is known of it"

    async def _get(self, client: AcmeClient, name: str) -> CertificatePair:
        account: Account = await self._thread(self._kept.account, self._wish.directory)
        try:
            return await self._order(client, account, name)
        except AcmeError as error:
            if error.kind != "accountDoesNotExist":
                raise
        account.url = ""
        return await self._order(client, account, name)

    async def _order(self, client: AcmeClient, account: Account, name: str) -> CertificatePair:
        wish, solver = self._wish, self._solver
        if not account.url or account.contact != wish.contact:
            await client.register(account, wish.contact)
            await self._thread(self._kept.put_account, wish.directory, account)
        key = await self._thread(lambda: self._kept.key_for(name, wish.key, keep=wish.keep_key))
        chain = await client.certificate(
            account, name, key, solver.kind, solve=solver.solve, undo=solver.undo
        )
        pair: CertificatePair = await self._thread(self._kept.put, name, key, chain)
        return pair

    async def _failed(
        self,
        name: str,
        before: CertificatePair | None,
        progress: Progress,
        sentence: str,
        error: Exception,
    ) -> None:
        now = self._reactor.seconds()
        wait = min(FIRST_WAIT * 2 ** min(progress.failures, 10), LONGEST_WAIT) * self._randomness.uniform(
            0.8, 1.2
        )
        due = now + max(wait, error.retry_after if isinstance(error, AcmeError) else 0.0)
        left = before.expires.timestamp() - now if before is not None else math.inf
        reason = (error.kind if isinstance(error, AcmeError) else "") or sentence
        tell = reason != progress.reason or (left < SOON and abs(now - progress.told) > 86400)
        await self._note(
            name,
            Progress(
                next=due,
                failures=progress.failures + 1,
                sentence=sentence,
                reason=reason,
                told=now if tell else progress.told,
                directory=progress.directory,
            ),
        )
        if tell:
            self._tell(name, before, sentence, due, urgent=left < SOON)

    def _tell(
        self, name: str, before: CertificatePair | None, sentence: str, due: float, *, urgent: bool
    ) -> None:
        meanwhile = (
            f"the certificate of before is shown, until {_when(before.expires.timestamp())}"
            if before is not None
            else "another one is shown, as there has been none"
        )
        (self.log.error if urgent else self.log.warn)(
            "tls.acme: no new certificate for {name}: {sentence}. Meanwhile {meanwhile}; the next attempt is "
            "at {due}",
            name=name,
            sentence=sentence,
            meanwhile=meanwhile,
            due=_when(due),
        )

    async def _note(self, name: str, progress: Progress) -> None:
        """A full disk keeps nobody from going on."""
        self._progress[name] = progress
        with suppress(OSError):
            await self._thread(self._kept.put_progress, name, progress)

    # The authority's own wish

    async def _asked_for(
        self, client: AcmeClient, name: str, pair: CertificatePair, progress: Progress
    ) -> Progress:
        """`progress` with the time that the authority suggests, if it does."""
        now = self._reactor.seconds()
        identifier = _identifier(pair)
        if not identifier or progress.next <= now or abs(now - self._asked.get(name, 0.0)) < INFORMATION:
            return progress
        self._asked[name] = now
        try:
            found = await client.renewal_information(identifier)
            begin, end = (_seconds(text) for text in found[:2]) if found else (0.0, 0.0)
        except (AcmeError, ValueError, OverflowError):
            return progress  # a wish that cannot be heard changes nothing
        end = min(end, _latest(pair))
        if not 0 < begin <= end or begin <= progress.next <= end:
            return progress  # nor does one to have none for a while
        moved = msgspec.structs.replace(progress, next=self._randomness.uniform(begin, end))
        await self._note(name, moved)
        return moved

    async def _thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)


def _latest(pair: CertificatePair) -> float:
    """Until when the next certificate is asked for, whoever wishes otherwise."""
    return pair.expires.timestamp() - SPREAD * pair.lifetime.total_seconds()


def _identifier(pair: CertificatePair) -> str:
    """Of a certificate, as its authority knows it (RFC 9773 §4.1); "" for one that does not name its key."""
    try:
        extension = pair.certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except (x509.ExtensionNotFound, UnsupportedAlgorithm, ValueError):
        return ""
    serial = pair.certificate.serial_number
    octets = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return f"{base64url(extension.value.key_identifier or b'')}.{base64url(octets)}"


def _seconds(text: str) -> float:
    """Of a time as RFC 3339 has it. Raises ValueError."""
    return datetime.datetime.fromisoformat(text).timestamp()


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
