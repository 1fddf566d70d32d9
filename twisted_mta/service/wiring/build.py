"""Which part gets which: the one place where everything is made, from the configuration.

Nothing is started here. `Parts.in_order` is the order to start in; each part finds those it needs running.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypedDict

from twisted_mta.directory.directory import Directory
from twisted_mta.directory.snapshot import POSTMASTER
from twisted_mta.journey.bus import Journey
from twisted_mta.journey.log import LogReader
from twisted_mta.journey.store import DATABASE, JourneyStore
from twisted_mta.message.address import Address
from twisted_mta.metrics.mail import MailCounts
from twisted_mta.protocol.imap4.bodystructure import render_structures
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.queue.schedule import RetrySchedule
from twisted_mta.resolver import DnsResolver
from twisted_mta.service.certificate import Certificates
from twisted_mta.service.commands import quota as quota_commands
from twisted_mta.service.importing.requests import ImportRequests
from twisted_mta.service.log_lines import RENDERERS
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.metrics import METRICS
from twisted_mta.service.reindexing import ReindexRequests
from twisted_mta.service.reload import Taker
from twisted_mta.service.wiring.abuse import AgainstAbuse
from twisted_mta.service.wiring.acme import CertificateUpkeep
from twisted_mta.service.wiring.address import build_forwarding
from twisted_mta.service.wiring.directory import build_directory
from twisted_mta.service.wiring.dkim import Signing
from twisted_mta.service.wiring.dmarc import build_dmarc
from twisted_mta.service.wiring.filter import ContentFilters
from twisted_mta.service.wiring.login import build_means
from twisted_mta.service.wiring.metrics import Watch, check_names
from twisted_mta.service.wiring.reception import WITH_LOGINS, Gate
from twisted_mta.service.wiring.relay import build_tls, routing
from twisted_mta.service.wiring.reload import takers
from twisted_mta.service.wiring.session import Sessions, access_sessions, transfer_sessions
from twisted_mta.service.wiring.sieve import build_events, build_filters
from twisted_mta.service.wiring.submission import Submissions
from twisted_mta.service.wiring.trust import Suffixes, build_judge
from twisted_mta.service.wiring.web import WEB_SERVICES, Web
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.delivery import LocalDelivery
from twisted_mta.transfer.mda.quota_warnings import WarningEvents
from twisted_mta.transfer.mda.without_binary import WithoutBinary
from twisted_mta.transfer.mta.active import ActiveLimits
from twisted_mta.transfer.mta.bounce import Bounces
from twisted_mta.transfer.mta.dispatch import Dispatcher
from twisted_mta.transfer.mta.relay.limits import RelayLimits, StageTimeouts
from twisted_mta.transfer.mta.relay.relay import Relay
from twisted_mta.transfer.mta.report_intake import ReportIntake
from twisted_mta.trust.bimi import BimiCheck
from twisted_mta.trust.check import Check
from twisted_mta.web.listener import WebListener
from twisted_mta.wire.listener import Listener

IMPLICIT_TLS = frozenset(("submissions", "imaps", "pop3s"))
CONNECTIONS_KEPT = 100  # to other servers, while there is nothing to send
LONGEST_REST = 300.0  # seconds that a host which cannot be reached is left alone


class Part(Protocol):
    """What is started and stopped."""

    async def start(self) -> None:
        """Be of use from now on."""

    async def stop(self) -> None:
        """Finish what is under way and let go of everything."""


@dataclass
class Parts:
    """Everything the server consists of; `listeners` by the name of their service. `when_open`: those that
    are started when all of these are open, and stopped first. `takers`: what can follow another
    configuration."""

    journey: Journey
    in_order: list[tuple[str, Part]] = field(default_factory=list)
    listeners: dict[str, Listener | WebListener] = field(default_factory=dict)
    when_open: list[tuple[str, Part]] = field(default_factory=list)
    takers: list[Taker] = field(default_factory=list)


class _Told(TypedDict):
    """What tells of mail, and when it is: nearly every part has these."""

    journey: Journey
    reactor: Any


def build(config: Config, *, reactor: Any, certificates: Certificates, max_connections: int) -> Parts:
    """All parts of a server; `max_connections` is for each service. Raises ConfigError for a password file
    that cannot be read."""
    data = Path(config.data_dir)
    journey = Journey()
    journey.add_reader(LogReader(render=RENDERERS[config.log.format]))
    kept = JourneyStore(data / DATABASE, reactor=reactor, keep=config.journey.keep)
    if config.journey.keep:
        journey.add_reader(kept)
    directory = build_directory(config, reactor=reactor)
    resolver = DnsResolver(config.dns.nameservers, reactor=reactor, trusted=config.dns.trusted)
    gate = Gate(config, journey=journey, reactor=reactor)
    store = _store(config, directory, reactor)
    queue = MailQueue(data / "queue", reactor=reactor)
    told: _Told = {"journey": journey, "reactor": reactor}

    signing = Signing(config, queue=queue, is_ours=directory.is_local, resolver=resolver, reactor=reactor)
    tls = build_tls(config, resolver=resolver, queue=signing.own, **told)
    dmarc = build_dmarc(config, resolver=resolver, queue=queue, intake=signing.own, **told)
    forwarding = build_forwarding(
        config, directory=directory, queue=queue, signing=signing, store=store, **told
    )
    returns = forwarding.returns
    around: dict[str, Any] = {"data": data, "store": store, "signing": signing, **told}
    filters = build_filters(config, directory=directory, returns=returns, **around)
    content_filters = ContentFilters(config, resolver=resolver, reactor=reactor)
    abuse = AgainstAbuse(
        config,
        resolver=gate.resolver,
        directory=directory,
        store=store,
        known_sender=lambda address: submissions.anybody_knows(address),
        **told,
    )
    local = LocalDelivery(
        directory=directory,
        store=store,
        filters=filters,
        lists=forwarding.lists,
        returns=returns,
        warnings=forwarding.warnings,
        personal=abuse.personal,
        **told,
    )
    submissions = Submissions(
        config,
        local=ReportIntake(local, [*tls.expected, *dmarc.expected]),
        directory=directory,
        store=store,
        queue=queue,
        intake=signing.own,
        returns=returns,
        **told,
    )
    ways = routing(config, resolver)
    relay = Relay(
        hostname=config.hostname,
        routing=ways,
        tls=tls.policy,
        limits=_relay_limits(config),
        mx_port=config.relay.port,
        rewrite=returns.forward if returns else None,
        seal=signing.seal,
        renew=signing.renew,
        **told,
    )
    dispatcher = Dispatcher(
        queue,
        directory=directory,
        local=WithoutBinary(submissions.deliverer, queue.in_thread),
        remote=relay,
        bounces=_bounces(config, queue, signing),
        journey=journey,
        clock=reactor,
        schedule=RetrySchedule(config.queue.retry, config.queue.lifetime, config.queue.delay_warning),
        limits=_active_limits(config),
        next_hop=ways.next_hop,
    )
    events = abuse.events(WarningEvents(forwarding.warnings, build_events(config, filters, **around)))

    def sessions(config: Config, checks: Sequence[Check]) -> Sessions:
        judge = build_judge(
            config,
            resolver=gate.resolver,
            reactor=reactor,
            any_recipient=abuse.any_recipient,
            recipient=abuse.recipient,
            content=[*abuse.content, *checks, BimiCheck(gate.resolver)],
            hear=dmarc.hear,
            keep=abuse.keep,
        )
        means = build_means(config, bans=gate.bans, directory=directory, resolver=resolver, reactor=reactor)
        common: dict[str, Any] = {"directory": directory, "store": store, "means": means, **told}
        transfer = transfer_sessions(
            config,
            queue=queue,
            signing=signing,
            gate=gate,
            judge=judge,
            returns=returns,
            submissions=submissions,
            **common,
        )
        return transfer | access_sessions(config, submitter=submissions.outbox, events=events, **common)

    in_order: list[tuple[str, Part]] = [
        *([("journey", kept)] if config.journey.keep else []),
        ("directory", directory),
        ("resolver", resolver),
        *gate.parts,
        ("filters", content_filters),
        ("public suffixes", Suffixes()),
        ("store", store),
        ("reindexing", ReindexRequests(data, store, reactor=reactor)),
        ("imports", ImportRequests(data, store, reactor=reactor)),
        *signing.parts,
        ("queue", queue),
        *tls.parts,
        *dmarc.parts,
        ("relay", relay),
        *submissions.parts,
        *abuse.parts,
        ("dispatcher", dispatcher),
    ]
    web = Web(
        config,
        is_ours=directory.is_local,
        gate=gate,
        reactor=reactor,
        challenges=certificates.challenges,
        signing=lambda: certificates.shown.pairs if certificates.shown is not None else (),
    )
    listeners = _listeners(
        config,
        sessions(config, content_filters.checks),
        gate=gate,
        web=web,
        reactor=reactor,
        certificates=certificates,
        max_connections=max_connections,
    )
    if config.listen.metrics:
        mail = MailCounts(check_names(config))
        journey.add_reader(mail)
        listeners[METRICS] = Watch(
            config,
            mail=mail,
            queue=queue,
            store=store,
            directory=directory,
            dispatcher=dispatcher,
            certificates=certificates,
            load=gate.load,
            listeners=listeners,
            reactor=reactor,
        ).listener()
    upkeep = CertificateUpkeep(config, certificates, resolver=resolver, reactor=reactor)
    return Parts(
        journey,
        in_order,
        listeners,
        [("certificates", upkeep)],
        takers(
            config,
            certificates=certificates,
            upkeep=upkeep,
            content_filters=content_filters,
            directory=directory,
            gate=gate,
            listeners=listeners,
            resolver=resolver,
            routing=ways,
            sessions=sessions,
            signing=signing,
            web=web,
            reactor=reactor,
        ),
    )


def _store(config: Config, directory: Directory, reactor: Any) -> MessageStore:
    return MessageStore(
        Path(config.data_dir) / "mail",
        reactor=reactor,
        hostname=config.hostname,
        render=render_structures,
        limits_of=lambda account: quota_commands.limits(config, directory.quota(account)),
        renew_limits=directory.refresh,
        server_annotations={"/shared/admin": f"mailto:{POSTMASTER}@{config.domains[0]}".encode()},
        keep_deleted=config.mailboxes.keep_deleted,
    )


def _bounces(config: Config, queue: MailQueue, signing: Signing) -> Bounces:
    return Bounces(
        queue,
        hostname=config.hostname,
        postmaster=Address(POSTMASTER, config.domains[0]),
        confidential=[alias.address for alias in config.reports.confidential_aliases],
        sign=signing.sign,
    )


def _active_limits(config: Config) -> ActiveLimits:
    return ActiveLimits(
        remote=config.queue.deliveries,
        per_domain=config.queue.deliveries_per_domain,
        rest=min(LONGEST_REST, config.queue.retry[0]),
    )


def _relay_limits(config: Config) -> RelayLimits:
    idle = config.queue.connection_idle
    return RelayLimits(
        timeouts=StageTimeouts(idle=idle or 1.0),
        per_destination=config.queue.deliveries_per_domain,
        messages=config.queue.connection_messages,
        kept=CONNECTIONS_KEPT if idle else 0,
    )


def _listeners(
    config: Config,
    sessions: Sessions,
    *,
    gate: Gate,
    web: Web,
    reactor: Any,
    certificates: Certificates,
    max_connections: int,
) -> dict[str, Listener | WebListener]:
    listeners: dict[str, Listener | WebListener] = {}
    # Other servers are not asked for certificates: many would show theirs, and some would give up.
    shown = certificates.shown
    tls_context, for_logins = (shown.context, shown.asking) if shown is not None else (None, None)
    for name in config.listen.services():
        if name == METRICS:
            continue  # it needs the others
        if name in WEB_SERVICES:
            listeners[name] = web.listener(name, tls_context=tls_context, max_connections=max_connections)
            continue
        make, overload = sessions[name]
        listeners[name] = Listener(
            make,
            reactor=reactor,
            tls_context=for_logins if name in WITH_LOGINS else tls_context,
            implicit_tls=name in IMPLICIT_TLS,
            max_connections=max_connections,
            max_connections_per_host=config.limits.connections_per_host,
            overload=overload,
            admission=gate.admission(name),
            spared=gate.spared,
        )
    return listeners
