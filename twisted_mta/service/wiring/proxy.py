"""The services that stand behind proxies, and the manners of the SMTP dialog, made from [proxy] and
[smtp]."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from twisted.internet.interfaces import IProtocolFactory, IReactorTime

from twisted_mta.protocol.smtp.extensions import Extension
from twisted_mta.service.options.proxy import Proxy, Smtp
from twisted_mta.transfer.policy import TransferPolicy
from twisted_mta.wire.proxied import ProxyAware

P = TypeVar("P", bound=TransferPolicy)


def behind_proxies(
    factory: IProtocolFactory, service: str, *, proxy: Proxy, reactor: IReactorTime
) -> IProtocolFactory:
    """`factory` itself, when no proxies stand in front of this service."""
    if not proxy.networks or (proxy.services and service not in proxy.services):
        return factory
    networks = tuple(network.network for network in proxy.networks)
    return ProxyAware(factory, networks=networks, reactor=reactor)


def with_manners(policy: P, smtp: Smtp, *, strangers: bool) -> P:
    """`policy` with what [smtp] says. `strangers`: mail comes in, from others, and may be solicitation."""
    changes: dict[str, Any] = {
        "contact": smtp.help,
        "xclient_networks": tuple(network.network for network in smtp.xclient),
        "normalise_networks": tuple(network.network for network in smtp.normalise_line_ends),
    }
    if strangers and smtp.no_soliciting:
        changes["limits"] = replace(policy.limits, no_soliciting=smtp.no_soliciting)
        changes["extensions"] = policy.extensions | {Extension.NO_SOLICITING}
    return replace(policy, **changes)
