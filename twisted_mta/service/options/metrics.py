"""The configuration of what watches over the server, [metrics] and listen.metrics, and of the log, [log]."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.quantities import ListenAddress, Network

METRICS = "metrics"  # the service


class Metrics(Struct, frozen=True, forbid_unknown_fields=True):
    """`networks`: who may ask beside this machine; they learn how much mail there is, and no word of it.
    `access`: where the process with the mailboxes has its pages, when it is one of its own (`roles`)."""

    networks: tuple[Network, ...] = ()
    access: tuple[ListenAddress, ...] = ()


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """`format`: "text", a readable line an event, or "json", an object on a line."""

    format: Literal["text", "json"] = "text"


def check_metrics(
    metrics: Metrics, services: Mapping[str, Sequence[ListenAddress]], proxied: Collection[str]
) -> None:
    """`services`: those that are on, and where; `proxied`: those in proxy.services. Raises ConfigError."""
    listed = [("listen.metrics", address) for address in services.get(METRICS, ())]
    for key, address in (*listed, *(("metrics.access", address) for address in metrics.access)):
        if not metrics.networks and not ipaddress.ip_address(address.host).is_loopback:
            raise ConfigError(
                f"{key}: {address} can be reached by others; write 127.0.0.1, or name in "
                'metrics.networks who may ask, for example ["192.0.2.10"]'
            )
    for network in metrics.networks:
        if not network.network.prefixlen:
            raise ConfigError(f"metrics.networks: {network} is everybody; name the machines that may ask")
    if metrics.networks and METRICS not in services and not metrics.access:
        raise ConfigError(
            'listen.metrics: missing; for example ["192.0.2.1:9925"], where metrics.networks ask'
        )
    if METRICS in proxied:
        raise ConfigError("proxy.services: metrics are asked for directly, without a proxy; leave them out")
