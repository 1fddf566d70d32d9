"""Which part gets which: the one place where everything is made, from the configuration.

Nothing is started here. `Parts.in_order` is the order to start in; each part finds those it needs running.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.ssl import CertificateOptions

from twisted_mta.access.imap4.access import ImapAccess, ImapLimits
from twisted_mta.access.managesieve.session import OVERLOAD as SIEVE_OVERLOAD
from twisted_mta.access.managesieve.session import ManageSieveSession, ManageSieveSettings
from twisted_mta.access.pop3.login_delay import LoginDelay
from twisted_mta.access.pop3.session import OVERLOAD as POP3_OVERLOAD
from twisted_mta.access.pop3.session import Pop3Session, Pop3Settings
from twisted_mta.directory.directory import Directory
from twisted_mta.directory.snapshot import POSTMASTER
from twisted_mta.interfaces import IMailboxEvents, ISubmitter
from twisted_mta.journey.bus import Journey
from twisted_mta.journey.log import LogReader
from twisted_mta.journey.store import DATABASE, JourneyStore
from twisted_mta.message.address import Address
from twisted_mta.protocol.imap4.bodystructure import render_structures
from twisted_mta.protocol.smtp.extensions import Extension, SmtpLimits
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.queue.schedule import RetrySchedule
from twisted_mta.resolver import DnsResolver
from twisted_mta.service import quota_commands
from twisted_mta.service.address_wiring import build_forwarding
from twisted_mta.service.config import Config
from twisted_mta.service.directory_wiring import build_directory
from twisted_mta.service.login_wiring import build_means, login_context
from twisted_mta.service.proxy_wiring import with_manners
from twisted_mta.service.reception_wiring import WITH_LOGINS, Gate
from twisted_mta.service.reindexing import ReindexRequests
from twisted_mta.service.relay_wiring import build_tls, pages, routing
from twisted_mta.service.sieve_wiring import build_events, build_filters
from twisted_mta.service.submission_wiring import Submissions, submission_limits
from twisted_mta.service.web import WebListener
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.delivery import LocalDelivery
from twisted_mta.transfer.mda.lmtp import Lmtp
from twisted_mta.transfer.mda.srs import ReversePaths
from twisted_mta.transfer.msa.submission import Submission, SubmissionPolicy
from twisted_mta.transfer.mta.active import ActiveLimits
from twisted_mta.transfer.mta.bounce import Bounces
from twisted_mta.transfer.mta.dispatch import Dispatcher
from twisted_mta.transfer.mta.reception import Reception, ReceptionPolicy
from twisted_mta.transfer.mta.relay.limits import RelayLimits, StageTimeouts
from twisted_mta.transfer.mta.relay.relay import Relay
from twisted_mta.transfer.mtqp.session import OVERLOAD as MTQP_OVERLOAD
from twisted_mta.transfer.mtqp.session import MtqpSession
from twisted_mta.transfer.screening.screening import UNSCREENED, Screening
from twisted_mta.transfer.session import OVERLOAD as SMTP_OVERLOAD
from twisted_mta.transfer.session import TransferPolicy, TransferSession
from twisted_mta.wire.connection import Connection
from twisted_mta.wire.listener import Listener
from twisted_mta.wire.login import LoginMeans

IMAP_OVERLOAD = b"* BYE [UNAVAILABLE] Too many connections, try again later\r\n"  # RFC 5530
IMPLICIT_TLS = frozenset(("submissions", "imaps", "pop3s"))
CONNECTIONS_KEPT = 100  # to other servers, while there is nothing to send
LONGEST_REST = 300.0  # seconds that a host which cannot be reached is left alone

Make = Callable[[], Connection[Any]]


class Part(Protocol):
    """What is started and stopped."""

    async def start(self) -> None:
        """Be of use from now on."""

    async def stop(self) -> None:
        """Finish what is under way and let go of everything."""


@dataclass
class Parts:
    """Everything the server consists of; `listeners` by the name of their service."""

    journey: Journey
    in_order: list[tuple[str, Part]] = field(default_factory=list)
    listeners: dict[str, Listener | WebListener] = field(default_factory=dict)


def build(
    config: Config, *, reactor: Any, tls_context: CertificateOptions | None, max_connections: int
) -> Parts:
    """All parts of a server; `max_connections` is for each service. Raises ConfigError for a password file
    that cannot be read."""
    data = Path(config.data_dir)
    journey = Journey()
    journey.add_reader(LogReader())
    kept = JourneyStore(data / DATABASE, reactor=reactor, keep=config.journey.keep)
    if config.journey.keep:
        journey.add_reader(kept)
    directory = build_directory(config, reactor=reactor)
    resolver = DnsResolver(config.dns.nameservers, reactor=reactor, trusted=config.dns.trusted)
    gate = Gate(config, journey=journey, reactor=reactor)
    means = build_means(config, bans=gate.bans, directory=directory, resolver=resolver, reactor=reactor)
    for_logins = login_context(config, tls_context)
    store = MessageStore(
        data / "mail",
        reactor=reactor,
        hostname=config.hostname,
        render=render_structures,
        limits_of=lambda account: quota_commands.limits(config, directory.quota(account)),
        renew_limits=directory.refresh,
        server_annotations={"/shared/admin": f"mailto:{POSTMASTER}@{config.domains[0]}".encode()},
    )
    queue = MailQueue(data / "queue", reactor=reactor)
    tls = build_tls(config, resolver=resolver, queue=queue, journey=journey, reactor=reactor)
    ways = routing(config, resolver)
    forwarding = build_forwarding(
        config, directory=directory, intake=queue, store=store, journey=journey, reactor=reactor
    )
    relay = Relay(
        reactor=reactor,
        hostname=config.hostname,
        routing=ways,
        journey=journey,
        tls=tls.policy,
        limits=_relay_limits(config),
        mx_port=config.relay.port,
        rewrite=forwarding.returns.forward if forwarding.returns else None,
    )
    around = {"data": data, "store": store, "queue": queue, "journey": journey, "reactor": reactor}
    filters = build_filters(config, directory=directory, returns=forwarding.returns, **around)
    submissions = Submissions(
        config,
        local=tls.watch_for_reports(
            LocalDelivery(
                directory=directory,
                store=store,
                journey=journey,
                reactor=reactor,
                filters=filters,
                lists=forwarding.lists,
                returns=forwarding.returns,
                warnings=forwarding.warnings,
            )
        ),
        directory=directory,
        store=store,
        queue=queue,
        returns=forwarding.returns,
        journey=journey,
        reactor=reactor,
    )
    dispatcher = Dispatcher(
        queue,
        directory=directory,
        local=submissions.deliverer,
        remote=relay,
        bounces=Bounces(
            queue,
            hostname=config.hostname,
            postmaster=Address(POSTMASTER, config.domains[0]),
            confidential=[alias.address for alias in config.reports.confidential_aliases],
        ),
        journey=journey,
        clock=reactor,
        schedule=RetrySchedule(config.queue.retry, config.queue.lifetime, config.queue.delay_warning),
        limits=ActiveLimits(
            remote=config.queue.deliveries,
            per_domain=config.queue.deliveries_per_domain,
            rest=min(LONGEST_REST, config.queue.retry[0]),
        ),
        next_hop=ways.next_hop,
    )
    parts = Parts(journey)
    if config.journey.keep:
        parts.in_order.append(("journey", kept))
    parts.in_order += [
        ("directory", directory),
        ("resolver", resolver),
        *gate.parts,
        ("store", store),
        ("reindexing", ReindexRequests(data, store, reactor=reactor)),
        ("queue", queue),
        *tls.parts,
        ("relay", relay),
        *submissions.parts,
        ("dispatcher", dispatcher),
    ]
    makers = {
        **_transfer(
            config,
            directory=directory,
            queue=queue,
            store=store,
            journey=journey,
            reactor=reactor,
            gate=gate,
            means=means,
            returns=forwarding.returns,
            submissions=submissions,
        ),
        **_access(
            config,
            directory=directory,
            store=store,
            journey=journey,
            reactor=reactor,
            means=means,
            submitter=submissions.outbox,
            events=build_events(config, filters, **around),
        ),
        "mtqp": (
            lambda: MtqpSession(hostname=config.hostname, journey=data / DATABASE, reactor=reactor),
            MTQP_OVERLOAD,
        ),
    }
    for name in config.listen.services():
        if name == "https":
            parts.listeners[name] = WebListener(
                pages(config),
                tls_context=tls_context,
                max_connections=max_connections,
                max_connections_per_host=config.limits.connections_per_host,
            )
            continue
        make, overload = makers[name]
        parts.listeners[name] = Listener(
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
    return parts


def _relay_limits(config: Config) -> RelayLimits:
    idle = config.queue.connection_idle
    return RelayLimits(
        timeouts=StageTimeouts(idle=idle or 1.0),
        per_destination=config.queue.deliveries_per_domain,
        messages=config.queue.connection_messages,
        kept=CONNECTIONS_KEPT if idle else 0,
    )


def _transfer(
    config: Config,
    *,
    directory: Directory,
    queue: MailQueue,
    store: MessageStore,
    journey: Journey,
    reactor: Any,
    gate: Gate,
    means: LoginMeans,
    returns: ReversePaths | None,
    submissions: Submissions,
) -> dict[str, tuple[Make, bytes]]:
    """The sessions of the SMTP services, by service, with what a client hears that is one too many."""
    limits = SmtpLimits(message=config.limits.message_size, recipients=config.limits.recipients)
    postmaster_domain = config.domains[0]
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = tuple(
        network.network for network in config.relay.allow_networks
    )
    reception = ReceptionPolicy(
        hostname=config.hostname,
        postmaster_domain=postmaster_domain,
        limits=limits,
        allow_networks=networks,
        receiving=config.limits.receiving,
        extensions=_offered(config),
    )
    lmtp = TransferPolicy(
        hostname=config.hostname,
        postmaster_domain=postmaster_domain,
        limits=limits,
        extensions=frozenset({Extension.SMTPUTF8, Extension.CHUNKING, Extension.DSN}),
    )
    submission = SubmissionPolicy(
        hostname=config.hostname,
        postmaster_domain=postmaster_domain,
        limits=submission_limits(config),
        allow_cleartext=config.auth.allow_cleartext,
        means=means,
        receiving=config.limits.receiving,
        extensions=_offered(config) | _FOR_SUBMISSION,
    )

    def sessions(
        kind: Callable[..., TransferSession[Any]],
        policy: TransferPolicy,
        screening: Screening = UNSCREENED,
        **options: Any,
    ) -> Make:
        policy = with_manners(policy, config.smtp, strangers=kind is not Submission)
        return partial(
            kind,
            directory=directory,
            intake=queue,
            journey=journey,
            reactor=reactor,
            policy=policy,
            is_full=store.is_full,
            returns=returns,
            screening=screening,
            **options,
        )

    submit = sessions(Submission, submission, gate.screening("submission"), **submissions.options)
    return {
        "smtp": (sessions(Reception, reception, gate.screening("smtp")), SMTP_OVERLOAD),
        "lmtp": (sessions(Lmtp, lmtp), SMTP_OVERLOAD),
        "submission": (submit, SMTP_OVERLOAD),
        "submissions": (submit, SMTP_OVERLOAD),
    }


# What the whole house keeps to, and not the dialog alone; a Maildir could not hold BINARYMIME.
_EXTENSIONS = frozenset(
    {
        Extension.SMTPUTF8,
        Extension.CHUNKING,
        Extension.DSN,
        Extension.REQUIRETLS,
        Extension.DELIVERBY,
        Extension.LIMITS,
    }
)
_FOR_SUBMISSION = frozenset({Extension.BURL, Extension.FUTURERELEASE, Extension.PRIORITY})


def _offered(config: Config) -> frozenset[Extension]:
    """To everybody. To be tracked needs somebody to ask."""
    tracked = config.listen.mtqp and config.journey.keep
    return _EXTENSIONS | {Extension.TRACKING} if tracked else _EXTENSIONS


def _access(
    config: Config,
    *,
    directory: Directory,
    store: MessageStore,
    journey: Journey,
    reactor: Any,
    means: LoginMeans,
    submitter: ISubmitter,
    events: IMailboxEvents,
) -> dict[str, tuple[Make, bytes]]:
    """The sessions of IMAP and POP3, by service, with what a client hears that is one too many."""
    imap = ImapAccess(
        directory=directory,
        store=store,
        journey=journey,
        reactor=reactor,
        allow_cleartext=config.auth.allow_cleartext,
        limits=ImapLimits(message=config.limits.message_size),
        submitter=submitter,
        events=events,
        means=means,
    )
    common: dict[str, Any] = {
        "hostname": config.hostname,
        "allow_cleartext": config.auth.allow_cleartext,
        "means": means,
    }
    settings = Pop3Settings(**common, unique_ids=config.pop3.unique_ids)
    delay = LoginDelay(reactor.seconds, round(config.pop3.login_delay))

    def pop3() -> Pop3Session:
        return Pop3Session(
            settings,
            directory=directory,
            store=store,
            journey=journey,
            reactor=reactor,
            login_delay=delay,
        )

    scripts = ManageSieveSettings(**common)

    def managesieve() -> ManageSieveSession:
        return ManageSieveSession(scripts, directory=directory, store=store, journey=journey, reactor=reactor)

    return {
        "managesieve": (managesieve, SIEVE_OVERLOAD),
        "imap": (imap.session, IMAP_OVERLOAD),
        "imaps": (imap.session, IMAP_OVERLOAD),
        "pop3": (pop3, POP3_OVERLOAD),
        "pop3s": (pop3, POP3_OVERLOAD),
    }
