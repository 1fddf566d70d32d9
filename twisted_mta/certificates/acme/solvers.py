"""How a challenge of an authority is met: HTTP-01 (RFC 8555 §8.3), DNS-01 (RFC 8555 §8.4), TLS-ALPN-01 (RFC
8737).

Left out on purpose: following a CNAME at _acme-challenge into another zone; the updates are for the zone of
the name itself.
"""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

from twisted.internet.task import deferLater
from twisted.logger import Logger

from twisted_mta.certificates.acme.client import Challenge
from twisted_mta.certificates.acme.jws import base64url
from twisted_mta.certificates.acme.problem import AcmeError
from twisted_mta.certificates.challenges import Challenges
from twisted_mta.certificates.dns_update import DnsUpdateError, DnsUpdates, Record
from twisted_mta.certificates.tls_alpn import challenge_context


class Solver(Protocol):
    """Of one kind of challenge."""

    kind: str

    async def solve(self, challenge: Challenge) -> None:
        """Put the answer where the authority looks. Raises AcmeError."""

    async def undo(self, challenge: Challenge) -> None:
        """Take it away. Raises nothing."""


class HttpSolver:
    """By the web server that shows `challenges`."""

    kind = "http-01"

    def __init__(self, challenges: Challenges) -> None:
        self._challenges = challenges

    async def solve(self, challenge: Challenge) -> None:
        """See Solver."""
        self._challenges.put(challenge.token, challenge.key_authorization)

    async def undo(self, challenge: Challenge) -> None:
        """See Solver."""
        self._challenges.remove(challenge.token)


class TlsAlpnSolver:
    """By what stands in front of the listener of HTTPS."""

    kind = "tls-alpn-01"

    def __init__(self, challenges: Challenges) -> None:
        self._challenges = challenges

    async def solve(self, challenge: Challenge) -> None:
        """See Solver."""
        context = challenge_context(challenge.name, challenge.key_authorization)
        self._challenges.contexts[challenge.name] = context

    async def undo(self, challenge: Challenge) -> None:
        """See Solver."""
        self._challenges.contexts.pop(challenge.name, None)


class DnsSolver:
    """`updates` by zone; the most of a name's labels wins. `settle`: seconds until all name servers of a zone
    have what its primary has."""

    kind = "dns-01"
    log = Logger(namespace="twisted_mta.certificates")

    def __init__(self, updates: dict[str, DnsUpdates], *, settle: float, reactor: Any) -> None:
        self._updates = updates
        self._settle = settle
        self._reactor = reactor

    async def solve(self, challenge: Challenge) -> None:
        """See Solver."""
        try:
            await self._zone(challenge.name).send(add=[_record(challenge)])
        except DnsUpdateError as error:
            raise AcmeError(str(error)) from error
        await deferLater(self._reactor, self._settle, lambda: None)

    async def undo(self, challenge: Challenge) -> None:
        """See Solver."""
        try:
            await self._zone(challenge.name).send(remove=[_record(challenge)])
        except (DnsUpdateError, AcmeError) as error:
            self.log.warn(
                "tls.acme.dns: the TXT record of _acme-challenge.{name} stays behind, which does no harm: "
                "{error}",
                name=challenge.name,
                error=error,
            )

    def _zone(self, name: str) -> DnsUpdates:
        found = [zone for zone in self._updates if name == zone or name.endswith(f".{zone}")]
        if not found:
            raise AcmeError(f"{name} is in no zone that we may change; set tls.acme.dns.zone")
        return self._updates[max(found, key=len)]


def _record(challenge: Challenge) -> Record:
    digest = base64url(hashlib.sha256(challenge.key_authorization.encode("ascii")).digest())
    return Record(f"_acme-challenge.{challenge.name}", "TXT", f'"{digest}"')
