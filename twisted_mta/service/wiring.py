"""Which part gets which: the one place where everything is made, from the configuration.

Nothing is started here. `Parts.in_order` is the order to start in; each part finds those it needs running.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.ssl import CertificateOptions

from twisted_mta.access.imap4.access import ImapAccess, ImapLimits
from twisted_mta.access.pop3.session import OVERLOAD as POP3_OVERLOAD
from twisted_mta.access.pop3.session import Pop3Session, Pop3Settings
from twisted_mta.directory.directory import Directory
from twisted_mta.directory.snapshot import POSTMASTER
from twisted_mta.journey.bus import Journey
from twisted_mta.journey.log import LogReader
from twisted_mta.message.address import Address
from twisted_mta.protocol.imap4.bodystructure import render_structures
from twisted_mta.protocol.smtp.server import SmtpLimits
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.queue.schedule import RetrySchedule
from twisted_mta.resolver import DnsResolver
from twisted_mta.service import quota_commands
from twisted_mta.service.complaint import ConfigError
from twisted_mta.service.config import Config
from twisted_mta.service.quantities import Domain
from twisted_mta.service.reindexing import ReindexRequests
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.delivery import LocalDelivery
from twisted_mta.transfer.msa.submission import Submission, SubmissionPolicy
from twisted_mta.transfer.mta.active import ActiveLimits
from twisted_mta.transfer.mta.bounce import Bounces
from twisted_mta.transfer.mta.dispatch import Dispatcher
from twisted_mta.transfer.mta.reception import Reception, ReceptionPolicy
from twisted_mta.transfer.mta.relay.limits import RelayLimits
from twisted_mta.transfer.mta.relay.relay import Relay
from twisted_mta.transfer.mta.routing import Credentials, Routing
from twisted_mta.transfer.session import OVERLOAD as SMTP_OVERLOAD
from twisted_mta.wire.connection import Connection
from twisted_mta.wire.listener import Listener

IMAP_OVERLOAD = b"* BYE [UNAVAILABLE] Too many connections, try again later\r\n"  # RFC 5530
IMPLICIT_TLS = frozenset(("submissions", "imaps", "pop3s"))
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
    listeners: dict[str, Listener] = field(default_factory=dict)


def build(
    config: Config, *, reactor: Any, tls_context: CertificateOptions | None, max_connections: int
) -> Parts:
    """All parts of a server; `max_connections` is for each service. Raises ConfigError for a password file
    that cannot be read."""
    data = Path(config.data_dir)
    journey = Journey()
    journey.add_reader(LogReader())
    directory = Directory(
        data / "directory.sqlite",
        config.domains,
        reactor=reactor,
        postmaster=config.postmaster.address if config.postmaster else None,
    )
    resolver = DnsResolver(config.dns.nameservers, reactor=reactor)
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
    relay = Relay(
        reactor=reactor,
        hostname=config.hostname,
        routing=_routing(config, resolver),
        journey=journey,
        limits=RelayLimits(per_destination=config.queue.deliveries_per_domain),
    )
    dispatcher = Dispatcher(
        queue,
        directory=directory,
        local=LocalDelivery(directory=directory, store=store, journey=journey, reactor=reactor),
        remote=relay,
        bounces=Bounces(queue, hostname=config.hostname, postmaster=Address(POSTMASTER, config.domains[0])),
        journey=journey,
        clock=reactor,
        schedule=RetrySchedule(config.queue.retry, config.queue.lifetime),
        limits=ActiveLimits(
            remote=config.queue.deliveries,
            per_domain=config.queue.deliveries_per_domain,
            rest=min(LONGEST_REST, config.queue.retry[0]),
        ),
    )
    parts = Parts(journey)
    parts.in_order += [
        ("directory", directory),
        ("resolver", resolver),
        ("store", store),
        ("reindexing", ReindexRequests(data, store, reactor=reactor)),
        ("queue", queue),
        ("relay", relay),
        ("dispatcher", dispatcher),
    ]
    makers = {
        **_transfer(config, directory=directory, queue=queue, store=store, journey=journey, reactor=reactor),
        **_access(config, directory=directory, store=store, journey=journey, reactor=reactor),
    }
    for name in config.listen.services():
        make, overload = makers[name]
        parts.listeners[name] = Listener(
            make,
            reactor=reactor,
            tls_context=tls_context,
            implicit_tls=name in IMPLICIT_TLS,
            max_connections=max_connections,
            max_connections_per_host=config.limits.connections_per_host,
            overload=overload,
        )
    return parts


def _routing(config: Config, resolver: DnsResolver) -> Routing:
    relay = config.relay
    return Routing(
        resolver=resolver,
        hostname=config.hostname,
        randomness=random.Random(),
        own_addresses=[(address.host, address.port) for address in config.listen.smtp],
        routes={Domain.read(domain): str(hop) for domain, hop in relay.routes.items()},
        smarthost=str(relay.smarthost or ""),
        smarthost_credentials=_credentials(config),
        mx_port=relay.port,
    )


def _credentials(config: Config) -> Credentials | None:
    relay = config.relay
    if not relay.smarthost_user:
        return None
    try:
        text = Path(relay.smarthost_password_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"relay.smarthost_password_file: cannot be read: {error}") from error
    return Credentials(relay.smarthost_user, text.partition("\n")[0].rstrip("\r"))


def _transfer(
    config: Config,
    *,
    directory: Directory,
    queue: MailQueue,
    store: MessageStore,
    journey: Journey,
    reactor: Any,
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
    )
    submission = SubmissionPolicy(
        hostname=config.hostname,
        postmaster_domain=postmaster_domain,
        limits=limits,
        allow_cleartext=config.auth.allow_cleartext,
    )

    def receive() -> Reception:
        return Reception(
            directory=directory,
            intake=queue,
            journey=journey,
            reactor=reactor,
            policy=reception,
            is_full=store.is_full,
        )

    def submit() -> Submission:
        return Submission(
            directory=directory,
            intake=queue,
            journey=journey,
            reactor=reactor,
            policy=submission,
            is_full=store.is_full,
        )

    return {
        "smtp": (receive, SMTP_OVERLOAD),
        "submission": (submit, SMTP_OVERLOAD),
        "submissions": (submit, SMTP_OVERLOAD),
    }


def _access(
    config: Config, *, directory: Directory, store: MessageStore, journey: Journey, reactor: Any
) -> dict[str, tuple[Make, bytes]]:
    """The sessions of IMAP and POP3, by service, with what a client hears that is one too many."""
    imap = ImapAccess(
        directory=directory,
        store=store,
        journey=journey,
        reactor=reactor,
        allow_cleartext=config.auth.allow_cleartext,
        limits=ImapLimits(message=config.limits.message_size),
    )
    settings = Pop3Settings(hostname=config.hostname, allow_cleartext=config.auth.allow_cleartext)

    def pop3() -> Pop3Session:
        return Pop3Session(settings, directory=directory, store=store, journey=journey, reactor=reactor)

    return {
        "imap": (imap.session, IMAP_OVERLOAD),
        "imaps": (imap.session, IMAP_OVERLOAD),
        "pop3": (pop3, POP3_OVERLOAD),
        "pop3s": (pop3, POP3_OVERLOAD),
    }
