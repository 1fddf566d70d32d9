"""The configuration of what stands in front of this server, and of the manners of its SMTP dialog: [proxy]
and [smtp]."""

from __future__ import annotations

import re
from collections.abc import Collection

from msgspec import Struct

from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.quantities import Network

_CLASS = re.compile(r"[A-Za-z][A-Za-z0-9._:-]*\Z")  # RFC 3865 §2.2
_CLASSES = 480  # characters of all classes: they stand in one line of the reply to EHLO
_CONTACT = re.compile(r"[!-~]{1,200}\Z")


class Proxy(Struct, frozen=True, forbid_unknown_fields=True):
    """`networks`: proxies that say with the PROXY protocol who their client is; everything that comes from
    there begins with its header. `services`: those that they stand in front of; none: all."""

    networks: tuple[Network, ...] = ()
    services: tuple[str, ...] = ()


class Smtp(Struct, frozen=True, forbid_unknown_fields=True):
    """`xclient`: networks of proxies that say with XCLIENT who their client is. `normalise_line_ends`:
    networks of old clients that end lines in LF. `no_soliciting`: classes of solicitation that are not
    wanted. `help`: whom HELP names; "": postmaster."""

    xclient: tuple[Network, ...] = ()
    normalise_line_ends: tuple[Network, ...] = ()
    no_soliciting: tuple[str, ...] = ()
    help: str = ""


def check_proxy(proxy: Proxy, smtp: Smtp, services: Collection[str]) -> None:
    """`services`: those that are on. Raises ConfigError."""
    if proxy.services and not proxy.networks:
        raise ConfigError(
            'proxy.networks: missing; name the proxies in front of proxy.services, for example ["192.0.2.10"]'
        )
    for name in proxy.services:
        if name not in services:
            raise ConfigError(f"proxy.services: {name} is not a service that is on under [listen]")
    for key, networks in (
        ("proxy.networks", proxy.networks),
        ("smtp.xclient", smtp.xclient),
        ("smtp.normalise_line_ends", smtp.normalise_line_ends),
    ):
        for network in networks:
            if not network.network.prefixlen:
                raise ConfigError(f"{key}: {network} is everybody; name the machines that you trust")
    for label in smtp.no_soliciting:
        if not _CLASS.match(label):
            raise ConfigError(f'smtp.no_soliciting: {label!r} is no class; write it as "org.example:ADV"')
    if len(",".join(smtp.no_soliciting)) > _CLASSES:
        raise ConfigError(f"smtp.no_soliciting: all classes together may have {_CLASSES} characters")
    if smtp.help and not _CONTACT.match(smtp.help):
        raise ConfigError('smtp.help: write a URL or an address, for example "https://example.org/mail"')
