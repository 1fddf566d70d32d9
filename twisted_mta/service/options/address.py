"""The part of the configuration that says how addresses are read, and how mail is sent on to other hosts."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.quantities import Domain, Separator


class Addresses(Struct, frozen=True, forbid_unknown_fields=True):
    """`separators`: what may stand between a name and its detail, as in `user+detail`; none: no details."""

    separators: tuple[Separator, ...] = (Separator("+"),)


class Forwarding(Struct, frozen=True, forbid_unknown_fields=True):
    """`srs`: mail that is sent on to other hosts leaves under a reverse-path in a domain of ours, by which
    reports find back. `srs_domain`: which one; None: the first."""

    srs: bool = True
    srs_domain: Domain | None = None


def check_forwarding(forwarding: Forwarding, domains: Sequence[str]) -> None:
    """Raises ConfigError."""
    if forwarding.srs_domain is not None and forwarding.srs_domain not in domains:
        raise ConfigError(
            f"forwarding.srs_domain: {forwarding.srs_domain} is in none of `domains`, so that no report "
            "could come back"
        )
