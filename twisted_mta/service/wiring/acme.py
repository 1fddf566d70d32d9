"""How certificates are got from an authority, made from [tls.acme]; and the keys of session tickets, which
are renewed whoever makes the certificates."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from twisted_mta.certificates.acme.renewal import Renewal, Wish
from twisted_mta.certificates.acme.solvers import DnsSolver, HttpSolver, Solver, TlsAlpnSolver
from twisted_mta.certificates.challenges import Challenges
from twisted_mta.certificates.dns_update import DnsUpdates, TsigKey
from twisted_mta.certificates.shown import TICKETS
from twisted_mta.https import HttpsClient
from twisted_mta.interfaces import IResolver
from twisted_mta.service.certificate import Certificates, acme_pairs, kept_certificates
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.named_files import authorities
from twisted_mta.service.options.quantities import Nameserver
from twisted_mta.service.options.tls import acme_names

LOOK = 60.0  # seconds between two looks for what another process has got


class CertificateUpkeep:
    """Started when all ports are open: an authority looks at them. `gets`: certificates are got here; else by
    the other process of the server, and what it has got is found in its files."""

    log = Logger(namespace="twisted_mta.certificates")

    def __init__(
        self,
        config: Config,
        certificates: Certificates,
        *,
        resolver: IResolver,
        reactor: Any,
        gets: bool = True,
    ) -> None:
        """Raises ConfigError for files that cannot be used."""
        self._gets = gets
        self._config = config
        self._certificates = certificates
        self._resolver = resolver
        self._reactor = reactor
        self._renewal = self._build(config)
        self._tickets = LoopingCall(self._renew_tickets)
        self._tickets.clock = reactor
        self._looks = LoopingCall(self._look)
        self._looks.clock = reactor

    async def start(self) -> None:
        """See wiring.Part."""
        self._tickets.start(TICKETS, now=False)
        if not self._gets:
            self._looks.start(LOOK, now=False)
        if self._renewal is not None:
            self._renewal.start()

    async def stop(self) -> None:
        """See wiring.Part."""
        for loop in (self._tickets, self._looks):
            if loop.running:
                loop.stop()
        if self._renewal is not None:
            self._renewal.stop()

    def prepare(self, config: Config) -> Callable[[], None]:
        """What takes over a new configuration. Raises ConfigError, and changes nothing."""
        renewal = self._build(config)

        def change() -> None:
            self._config = config
            before, self._renewal = self._renewal, renewal
            if before is not None:
                before.stop()
            if renewal is not None and self._tickets.running:
                renewal.start()

        return change

    def _renew_tickets(self) -> None:
        if self._certificates.shown is not None:
            self._certificates.shown.renew_tickets()

    def _look(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._show_new()).addErrback(
            lambda failure: self.log.error(
                "certificates cannot be looked for: {error}", error=failure.getErrorMessage()
            )
        )

    async def _show_new(self) -> None:
        """What the other process has got."""
        pool = self._reactor.getThreadPool()
        found = await deferToThreadPool(self._reactor, pool, acme_pairs, self._config)
        for name, pair in found.items():
            if pair is not None and not self._certificates.shows(name, pair):
                self._certificates.show(name, pair)

    def _build(self, config: Config) -> Renewal | None:
        acme = config.tls.acme
        if not acme.directory or not self._gets:
            return None
        trust_root = authorities("tls.acme.authorities", acme.authorities)
        wish = Wish(acme.directory, acme_names(config), acme.email, acme.key, acme.keep_key)
        return Renewal(
            wish,
            kept=kept_certificates(config),
            https=HttpsClient(reactor=self._reactor, resolver=self._resolver, trust_root=trust_root),
            solver=_solver(config, self._certificates.challenges, self._reactor),
            show=self._certificates.show,
            reactor=self._reactor,
            randomness=random.Random(),
        )


def _solver(config: Config, challenges: Challenges, reactor: Any) -> Solver:
    acme = config.tls.acme
    if acme.challenge == "http-01":
        return HttpSolver(challenges)
    if acme.challenge == "tls-alpn-01":
        return TlsAlpnSolver(challenges)
    server, key = Nameserver.read(acme.dns.server), read_key(config)
    zones = [acme.dns.zone] if acme.dns.zone else config.domains
    updates = {
        zone: DnsUpdates(server.host, server.port, zone=zone, key=key, reactor=reactor) for zone in zones
    }
    return DnsSolver(updates, settle=acme.dns.settle, reactor=reactor)


def read_key(config: Config) -> TsigKey:
    """Of tls.acme.dns. Raises ConfigError."""
    path = config.tls.acme.dns.key_file
    try:
        return TsigKey.parse(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"tls.acme.dns.key_file: cannot be read: {error}") from error
    except ValueError as error:
        raise ConfigError(f"tls.acme.dns.key_file: {path}: {error}") from error
