"""The part of the configuration that says what is done against abuse: greylisting, lists in the DNS, what
accounts teach about junk, refused mail put by, spam traps."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from msgspec import Meta, Struct

from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.quantities import (
    Domain,
    Duration,
    DurationOrNever,
    MailAddress,
    Network,
    Size,
)

Count = Annotated[int, Meta(ge=1)]
_CODES = ipaddress.IPv4Network("127.0.0.0/8")


class Greylisting(Struct, frozen=True, forbid_unknown_fields=True):
    """Which `clients` are asked to come back when they are new, after `delay` and within `window`; who has is
    free for `trust` after his last mail."""

    clients: Literal["off", "suspicious", "all"] = "suspicious"
    delay: Duration = Duration(300)
    window: Duration = Duration(2 * 86400)
    trust: Duration = Duration(36 * 86400)


class DnsListOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """One list: of what, how many points it is worth (below 0: a list of the good), and which of its answers
    count, () for all."""

    kind: Literal["address", "domain"] = "address"
    score: float = 3.0
    codes: tuple[Network, ...] = ()


class Dnsbl(Struct, frozen=True, forbid_unknown_fields=True):
    """`lists` by their zones. `reject`: so many points of lists refuse a message at once, 0 for never."""

    lists: dict[str, DnsListOptions] = {}
    reject: Annotated[float, Meta(ge=0)] = 0.0


class Learning(Struct, frozen=True, forbid_unknown_fields=True):
    """`learn`: whether what people move teaches anything. A message is `junk` from that probability on, once
    `needed` messages of each kind have been learned."""

    learn: bool = True
    junk: Annotated[float, Meta(gt=0.5, lt=1)] = 0.95
    needed: Count = 20


class RejectsOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """`keep`: for how long refused mail is put by, 0: not at all. Of each account up to `messages`, none
    larger than `size`."""

    keep: DurationOrNever = DurationOrNever(0)
    messages: Count = 200
    size: Size = Size(2**20)


class SpamTraps(Struct, frozen=True, forbid_unknown_fields=True):
    """`addresses` that nobody has ever had; who writes to one is put off for `disgrace`."""

    addresses: tuple[MailAddress, ...] = ()
    disgrace: DurationOrNever = DurationOrNever(3600)


class Abuse(Struct, frozen=True, forbid_unknown_fields=True):
    """All of it."""

    greylist: Greylisting = Greylisting()
    dnsbl: Dnsbl = Dnsbl()
    junk: Learning = Learning()
    rejects: RejectsOptions = RejectsOptions()
    traps: SpamTraps = SpamTraps()


def check_abuse(abuse: Abuse) -> None:
    """Raises ConfigError."""
    if abuse.greylist.window <= abuse.greylist.delay:
        raise ConfigError(
            "abuse.greylist.window: not longer than abuse.greylist.delay; nobody would get through"
        )
    for zone, options in abuse.dnsbl.lists.items():
        key = f'abuse.dnsbl.lists."{zone}"'
        try:
            known = Domain.read(zone)
        except ValueError as error:
            raise ConfigError(f"{key}: {error}") from error
        if known != zone:
            raise ConfigError(f'{key}: write "{known}"')
        if not options.score:
            raise ConfigError(f"{key}.score: 0 points change nothing; leave the list out")
        for code in options.codes:
            network = code.network
            if not isinstance(network, ipaddress.IPv4Network) or not network.subnet_of(_CODES):
                raise ConfigError(f"{key}.codes: {code} is not in 127.0.0.0/8, where answers of lists are")
