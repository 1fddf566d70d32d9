"""How mail leaves, made from the configuration: routing, the TLS of others, their reports; and our own
policy for them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted_mta.directory.snapshot import POSTMASTER
from twisted_mta.https import HttpsClient
from twisted_mta.interfaces import IIntake, IResolver
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.named_files import authorities, first_line
from twisted_mta.service.options.quantities import Domain, MailAddress, NextHop
from twisted_mta.service.options.relay import Login
from twisted_mta.transfer.mta.report_intake import ReportKind
from twisted_mta.transfer.mta.routing import Credentials, Proxy, Routing
from twisted_mta.transfer.mta.tls.database import DATABASE
from twisted_mta.transfer.mta.tls.incoming_reports import IncomingTlsReports
from twisted_mta.transfer.mta.tls.ledger import TlsLedger
from twisted_mta.transfer.mta.tls.policy import TlsPolicy
from twisted_mta.transfer.mta.tls.reporting import TlsReporting
from twisted_mta.transfer.mta.tls.sts_client import StsClient
from twisted_mta.transfer.mta.tls.tls_report import Maker

# The way out


def routing(config: Config, resolver: IResolver) -> Routing:
    """Raises ConfigError for a password file that cannot be read."""
    relay = config.relay
    smarthost = Login(relay.smarthost_user, relay.smarthost_password_file, relay.smarthost_token_file)
    logins = {
        str(NextHop.read(hop)): _credentials(f'relay.logins."{hop}"', login)
        for hop, login in relay.logins.items()
    }
    return Routing(
        resolver=resolver,
        hostname=config.hostname,
        randomness=random.Random(),
        own_addresses=[(address.host, address.port) for address in config.listen.smtp],
        routes=_by(_domain, relay.routes),
        accounts=_by(MailAddress.read, relay.accounts),
        senders=_by(lambda sender: (MailAddress if "@" in sender else Domain).read(sender), relay.senders),
        smarthost=str(relay.smarthost or ""),
        smarthost_credentials=_credentials("relay.smarthost", smarthost) if smarthost.user else None,
        fallback=relay.smarthost_use == "fallback",
        logins=logins,
        sources=relay.sources,
        proxy=_proxy(config),
        mx_port=relay.port,
    )


def _by(read: Any, hops: Mapping[str, NextHop]) -> dict[str, str]:
    return {str(read(key)): str(hop) for key, hop in hops.items()}


def _domain(text: str) -> str:
    wild = "*." if text.startswith("*.") else ""
    return wild + Domain.read(text.removeprefix(wild))


def _credentials(key: str, login: Login) -> Credentials:
    """A token is read when it is needed; it changes."""
    if login.token_file:
        return Credentials(login.user, token_file=login.token_file)
    return Credentials(login.user, first_line(f"{key}.password_file", login.password_file))


def _proxy(config: Config) -> Proxy | None:
    relay = config.relay
    if relay.proxy is None:
        return None
    password = first_line("relay.proxy_password_file", relay.proxy_password_file) if relay.proxy_user else ""
    return Proxy(relay.proxy.host, relay.proxy.port, relay.proxy_user, password)


# The TLS of others


@dataclass
class OutgoingTls:
    """`parts` in the order to start them. `expected`: which reports of others come in where."""

    policy: TlsPolicy
    parts: list[tuple[str, Any]] = field(default_factory=list)
    expected: list[tuple[Address, ReportKind]] = field(default_factory=list)


def build_tls(
    config: Config, *, resolver: IResolver, queue: IIntake, journey: Journey, reactor: Any
) -> OutgoingTls:
    """Raises ConfigError for certificates that cannot be read."""
    options, reports = config.relay.tls, config.tls_reports
    trust_root = authorities("relay.tls.authorities", options.authorities)
    ledger = TlsLedger(Path(config.data_dir) / DATABASE, reactor=reactor)
    https = HttpsClient(reactor=reactor, resolver=resolver, trust_root=trust_root)
    sts = StsClient(resolver=resolver, https=https, ledger=ledger, reactor=reactor)
    policy = TlsPolicy(
        trust_root=trust_root,
        resolver=resolver if options.dane else None,
        sts=sts if options.mta_sts else None,
        ledger=ledger,
        journey=journey,
        rules={_domain(domain): demanded.rule for domain, demanded in options.domains.items()},
        default=options.default.rule,
    )
    tls = OutgoingTls(policy, [("memory of TLS", ledger), ("MTA-STS", sts)])
    if reports.receive is not None:
        tls.expected.append((reports.receive.address, IncomingTlsReports(ledger, journey)))
    if reports.send:
        contact = reports.contact.address if reports.contact else Address(POSTMASTER, config.domains[0])
        reporting = TlsReporting(
            maker=Maker(config.hostname, contact),
            ledger=ledger,
            resolver=resolver,
            https=https,
            intake=queue,
            journey=journey,
            reactor=reactor,
            randomness=random.Random(),
        )
        tls.parts.append(("TLS reports", reporting))
    return tls
