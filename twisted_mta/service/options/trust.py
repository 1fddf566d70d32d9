"""The part of the configuration that says what follows from what is found out about mail of strangers."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.quantities import Domain, Duration
from twisted_mta.trust.modes import Mode, SpfMode

Score = Annotated[float, Meta(ge=0)]


class Trust(Struct, frozen=True, forbid_unknown_fields=True):
    """`dmarc`: how far the policies of authors' domains are followed, `domains`: otherwise for one, or
    "*.domain". `spf`: what becomes of mail that its sender's domain disowns, when no signature speaks for it.
    `sealers`: whose ARC seals are believed, with all domains below. `dns`: how long the DNS may take at the
    end of a message. Scores: of all filters together; 0: never."""

    dmarc: Mode = "junk"
    domains: dict[str, Mode] = {}
    spf: SpfMode = "junk"
    sealers: tuple[Domain, ...] = ()
    dns: Duration = Duration(10)
    junk_score: Score = 6.0
    reject_score: Score = 15.0


def check_trust(trust: Trust) -> None:
    """Raises ConfigError."""
    for domain in trust.domains:
        bare = domain.removeprefix("*.")
        try:
            known = Domain.read(bare)
        except ValueError as error:
            raise ConfigError(f"trust.domains: {error}") from error
        if known != bare:
            raise ConfigError(f'trust.domains: write "{known}" for {domain!r}')
    if 0 < trust.reject_score < trust.junk_score:
        raise ConfigError("trust.reject_score: less than trust.junk_score, so that nothing would be junk")
