"""The part of the configuration that says how mail of our domains is signed (DKIM)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.quantities import Duration, DurationOrNever

if TYPE_CHECKING:
    from twisted_mta.trust.dkim.rotation import Schedule

_DAY = 86400
_SHORTEST = 3600.0  # seconds


class Dkim(Struct, frozen=True, forbid_unknown_fields=True):
    """`algorithms`: each domain has a key of each. A key signs for the time of `rotate` (0: until it is
    changed by hand); its successor takes over when the DNS has had that one for the time of `settle`, and its
    record stays for the time of `keep`, and no shorter than mail may be under way. `check_dns`: keys sign
    only while the DNS has them; false: they sign at once, and change by hand only."""

    enabled: bool = True
    algorithms: Annotated[tuple[Literal["rsa", "ed25519"], ...], Meta(min_length=1)] = ("rsa", "ed25519")
    rotate: DurationOrNever = DurationOrNever(180 * _DAY)
    settle: Duration = Duration(_DAY)
    keep: Duration = Duration(14 * _DAY)
    check_dns: bool = True


def check_dkim(dkim: Dkim) -> None:
    """Raises ConfigError."""
    if dkim.settle < _SHORTEST:
        raise ConfigError('dkim.settle: not all name servers have a new record at once; write at least "1h"')
    if 0 < dkim.rotate < dkim.settle + _DAY:
        raise ConfigError('dkim.rotate: shorter than a key takes to be known; write for example "180d", or 0')


def schedule(dkim: Dkim, lifetime: float) -> Schedule:
    """As configured. lifetime: of a message in the queue, in seconds."""
    # Every command reads the configuration, and what makes keys is dear to load.
    from twisted_mta.trust.dkim.keyring import ALGORITHMS
    from twisted_mta.trust.dkim.rotation import Schedule

    return Schedule(
        algorithms=tuple(dict.fromkeys(ALGORITHMS[name] for name in dkim.algorithms)),
        rotate=dkim.rotate,
        settle=dkim.settle,
        keep=max(dkim.keep, lifetime),
        check_dns=dkim.check_dns,
    )
