"""The part of the configuration that says what strangers have to stand: their names, their rates, their
errors, and what becomes of those who guess passwords."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.quantities import Duration, DurationOrNever, Frequency, Network

Count = Annotated[int, Meta(ge=1)]
Mode = Literal["off", "record", "reject"]


class Reception(Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked of other servers, unless they may relay (`relay.allow_networks`) or are this machine.
    `greeting_delay`: how long a stranger waits for the greeting. `dns`: how long a recipient may wait for
    what the DNS says. `tarpit`: what each error of a client costs beyond the third, up to
    `tarpit_longest`."""

    hello: Literal["off", "record", "reject", "strict"] = "record"
    reverse_dns: Mode = "record"
    sender_domain: Mode = "reject"
    greeting_delay: DurationOrNever = DurationOrNever(2)
    dns: Duration = Duration(5)
    tarpit: DurationOrNever = DurationOrNever(1)
    tarpit_longest: Duration = Duration(10)


class ServiceRates(Struct, frozen=True, forbid_unknown_fields=True):
    """What one client network may ask of a service."""

    connections: Frequency = Frequency("300/1m")
    messages: Frequency = Frequency("600/1m")
    recipients: Frequency = Frequency("3000/1m")


class WebRates(Struct, frozen=True, forbid_unknown_fields=True):
    """What one client network may ask for over HTTP."""

    requests: Frequency = Frequency("300/1m")


class Rates(Struct, frozen=True, forbid_unknown_fields=True):
    """By service; `v4` and `v6` bits of an address are one client network."""

    v4: Annotated[int, Meta(ge=8, le=32)] = 32
    v6: Annotated[int, Meta(ge=16, le=128)] = 64
    smtp: ServiceRates = ServiceRates()
    submission: ServiceRates = ServiceRates()
    web: WebRates = WebRates()


class Bans(Struct, frozen=True, forbid_unknown_fields=True):
    """Failed logins that are borne within `window`: of an address (IPv4) or /64 (IPv6), of the /24 or /48
    around it, and for one login. Bans last `shortest` at first and `longest` at last; a login is closed to
    strangers for `lock` at the most. `exempt`: who is never banned."""

    failures: Count = 10
    range_failures: Count = 50
    login_failures: Count = 50
    window: Duration = Duration(3600)
    shortest: Duration = Duration(300)
    longest: Duration = Duration(86400)
    lock: Duration = Duration(900)
    exempt: tuple[Network, ...] = ()


def check_bans(bans: Bans) -> None:
    """Raises ConfigError."""
    if bans.longest < bans.shortest:
        raise ConfigError("bans.longest: shorter than bans.shortest, with which bans begin")
