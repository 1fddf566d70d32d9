"""Whether the lists in the DNS that are configured answer as lists do (RFC 5782 §5), for `mta check`, which
may wait for the answers."""

from __future__ import annotations

from collections.abc import Collection

import dns.exception
import dns.resolver

from twisted_mta.resolver import ResolutionError, stub
from twisted_mta.service.options.config import Config
from twisted_mta.service.wiring.abuse import dns_lists
from twisted_mta.trust.abuse.dnsbl import fault

_PATIENCE = 3.0  # seconds for one question


def dnsbl_findings(config: Config) -> list[str]:
    """Sentences."""
    resolver = stub(config.dns.nameservers)
    resolver.lifetime = _PATIENCE

    def ask(name: str) -> Collection[str]:
        try:
            found = resolver.resolve(f"{name}.", "A", raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return ()
        except dns.exception.DNSException as error:
            raise ResolutionError(f"A of {name}: {error}") from error
        return [str(record.address) for record in found.rrset or ()]

    return [
        f'abuse.dnsbl.lists."{one.zone}": {problem}'
        for one in dns_lists(config)
        if (problem := fault(one, ask))
    ]
