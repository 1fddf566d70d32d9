"""The configuration of what is served over HTTP, and of what mail programs are told: [web]."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.quantities import Domain, Network, PublicPlace

_NOWHERE = PublicPlace("")


class Told(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a service is to be reached from outside, if that is not where it listens: behind a proxy, or a
    router that changes ports."""

    imaps: PublicPlace = _NOWHERE
    imap: PublicPlace = _NOWHERE
    pop3s: PublicPlace = _NOWHERE
    pop3: PublicPlace = _NOWHERE
    submissions: PublicPlace = _NOWHERE
    submission: PublicPlace = _NOWHERE
    managesieve: PublicPlace = _NOWHERE
    https: PublicPlace = _NOWHERE


class Web(Struct, frozen=True, forbid_unknown_fields=True):
    """`setup`: mail programs and people find their settings. `name`: what they are told this server is
    called; None: `hostname`. `proxies`: web proxies that say with X-Forwarded-For and X-Forwarded-Proto whom
    they speak for."""

    setup: bool = True
    name: Domain | None = None
    proxies: tuple[Network, ...] = ()
    told: Told = Told()


def check_web(web: Web, services: Collection[str]) -> None:
    """`services`: those that are on. Raises ConfigError."""
    for network in web.proxies:
        if not network.network.prefixlen:
            raise ConfigError(f"web.proxies: {network} is everybody; name the machines that you trust")
    if web.proxies and not {"http", "https"} & set(services):
        raise ConfigError(
            'listen.http: missing; web.proxies stand in front of it, for example ["127.0.0.1:8080"]'
        )
    if web.told.https.is_none:
        raise ConfigError("web.told.https: write web.setup = false to have nothing told")
    if web.proxies and "https" not in services and not web.told.https:
        raise ConfigError(
            "web.told.https: missing; where is the proxy to be reached? For example "
            f"{PublicPlace.EXAMPLE.replace('993', '443')}"
        )
