"""Which parts of the running server follow a configuration that was read again, and how.

What a key does not do at once it does for whoever connects next: sessions keep what they began with. Two
takers may share a key; each does its part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted_mta.directory.directory import Directory
from twisted_mta.interfaces import IResolver
from twisted_mta.service.certificate import Certificates
from twisted_mta.service.options.config import Config
from twisted_mta.service.own_policy import own_policy
from twisted_mta.service.reload import Taker
from twisted_mta.service.wiring.acme import CertificateUpkeep
from twisted_mta.service.wiring.filter import ContentFilters
from twisted_mta.service.wiring.reception import Gate
from twisted_mta.service.wiring.relay import routing as new_routing
from twisted_mta.service.wiring.session import Sessions
from twisted_mta.service.wiring.transfer import TransferSide
from twisted_mta.service.wiring.web import Web
from twisted_mta.trust.check import Check
from twisted_mta.wire.listener import Listener

Change = Callable[[], None]

# Those of relay that say where mail goes.
_ROUTES = (
    *("routes", "accounts", "senders", "logins", "port", "sources"),
    *("smarthost", "smarthost_use", "smarthost_user", "smarthost_password_file", "smarthost_token_file"),
    *("proxy", "proxy_user", "proxy_password_file"),
)
# What sessions, and what decides who may have one, are made of.
_DIALOGS = (
    *("bans", "rates", "reception", "smtp", "trust", "filters"),
    *("limits.message_size", "limits.recipients", "limits.receiving", "limits.connections_per_host"),
    *("relay.allow_networks", "auth.allow_cleartext", "auth.oauth", "pop3"),
)


def takers(
    config: Config,
    *,
    certificates: Certificates,
    upkeep: CertificateUpkeep,
    directory: Directory,
    gate: Gate,
    listeners: Mapping[str, Any],
    resolver: IResolver,
    sessions: Callable[[Config, Sequence[Check]], Sessions],
    transfer: TransferSide | None,
    web: Web | None,
    reactor: Any,
) -> list[Taker]:
    """In the order in which they follow. What belongs to the side with the queue, when that is in another
    process, is followed by doing nothing."""

    def show(after: Config) -> Change | None:
        show_them, get_them = certificates.prepare(after), upkeep.prepare(after)
        if show_them is None:
            return None

        def change() -> None:
            show_them()
            get_them()

        return change

    def route(after: Config) -> Change:
        if transfer is None:
            return lambda: None
        routing, other = transfer.routing, new_routing(after, resolver)
        return lambda: routing.follow(other)

    def policy(after: Config) -> Change | None:
        if web is None:
            return lambda: None
        return None if own_policy(after) is None else lambda: web.show_policy(after)

    def serve(after: Config) -> Change | None:
        if after.domains[0] != config.domains[0] or config.ldap.uri:
            return None

        def change() -> None:
            directory.serve(after.domains)
            if transfer is not None:
                transfer.signing.domains[:] = after.domains
            gate.follow(after)

        return change

    def talk(after: Config) -> Change:
        filters = ContentFilters(after, resolver=resolver, reactor=reactor)
        made = sessions(after, filters.checks)

        def change() -> None:
            gate.follow(after)
            if transfer is not None:
                transfer.content_filters.follow(filters)
            for name, listener in listeners.items():
                if isinstance(listener, Listener):
                    listener.follow(
                        made[name][0],
                        max_connections_per_host=after.limits.connections_per_host,
                        spared=gate.spared,
                    )

        return change

    return [
        Taker(("tls",), show, always=True),
        Taker(tuple(f"relay.{key}" for key in _ROUTES), route, always=True),
        Taker(("mta_sts",), policy),
        Taker(("domains",), serve),
        Taker(_DIALOGS, talk),
    ]
