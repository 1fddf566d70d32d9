"""Which part gets which: the one place where everything is put together, from the configuration.

There are two sides, that with the queue (`transfer.py`) and that with the mailboxes (`access.py`). In one
process each is what the other needs; in two, a connection stands for what is missing (`handover.py`).

Nothing is started here. `Parts.in_order` is the order to start in; each part finds those it needs running.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted_mta.journey.bus import Journey
from twisted_mta.metrics.mail import MailCounts
from twisted_mta.service.certificate import Certificates
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.metrics import METRICS
from twisted_mta.service.options.roles import ACCESS, TRANSFER, services
from twisted_mta.service.reload import Taker
from twisted_mta.service.wiring.access import AccessSide
from twisted_mta.service.wiring.acme import CertificateUpkeep
from twisted_mta.service.wiring.handover import (
    GoOn,
    OnceThere,
    mailbox_process,
    queue_process,
    serve_access,
)
from twisted_mta.service.wiring.house import House, NamedParts, Part, build_house
from twisted_mta.service.wiring.login import build_means
from twisted_mta.service.wiring.metrics import Watch, check_names
from twisted_mta.service.wiring.reception import WITH_LOGINS, Gate
from twisted_mta.service.wiring.reload import takers
from twisted_mta.service.wiring.session import Sessions
from twisted_mta.service.wiring.transfer import MailboxWays, QueueDoor, TransferSide
from twisted_mta.service.wiring.ways import direct
from twisted_mta.service.wiring.web import WEB_SERVICES, Web
from twisted_mta.trust.check import Check
from twisted_mta.web.listener import WebListener
from twisted_mta.wire.listener import Listener

__all__ = ["Part", "Parts", "build"]

IMPLICIT_TLS = frozenset(("submissions", "imaps", "pop3s"))


@dataclass
class Parts:
    """Everything the server consists of; `listeners` by the name of their service. `when_open`: those that
    are started when all of these are open, and stopped first. `takers`: what can follow another
    configuration."""

    journey: Journey
    in_order: NamedParts = field(default_factory=list)
    listeners: dict[str, Listener | WebListener] = field(default_factory=dict)
    when_open: NamedParts = field(default_factory=list)
    takers: list[Taker] = field(default_factory=list)


@dataclass
class _Sides:
    """Those that are in this process, and all parts in the order to start them."""

    house: House
    transfer: TransferSide | None
    access: AccessSide | None
    in_order: NamedParts

    def sessions(self, config: Config, checks: Sequence[Check]) -> Sessions:
        """By service."""
        house, sessions = self.house, Sessions()
        means = build_means(
            config,
            bans=house.gate.bans,
            directory=house.directory,
            resolver=house.resolver,
            reactor=house.reactor,
        )
        if self.transfer is not None:
            sessions |= self.transfer.sessions(config, means, checks)
        if self.access is not None:
            sessions |= self.access.sessions(config, means)
        return sessions


def build(config: Config, *, reactor: Any, certificates: Certificates, max_connections: int) -> Parts:
    """All parts of a process with the roles of the configuration; `max_connections` is for each service.
    Raises ConfigError for a password file that cannot be read."""
    house = build_house(config, reactor=reactor)
    if TRANSFER not in config.roles:
        sides = _access_alone(house)
    elif ACCESS not in config.roles:
        sides = _transfer_alone(house)
    else:
        sides = _both(house)
    transfer, gate = sides.transfer, house.gate
    web = None
    if transfer is not None:
        web = Web(
            config,
            is_ours=house.directory.is_local,
            gate=gate,
            reactor=reactor,
            challenges=certificates.challenges,
            signing=lambda: certificates.shown.pairs if certificates.shown is not None else (),
        )
    listeners = _listeners(
        config,
        sides.sessions(config, transfer.content_filters.checks if transfer is not None else ()),
        gate=gate,
        web=web,
        reactor=reactor,
        certificates=certificates,
        max_connections=max_connections,
    )
    if METRICS in services(config):
        mail = MailCounts(check_names(config))
        house.journey.add_reader(mail)
        listeners[METRICS] = Watch(
            config,
            mail=mail,
            queue=transfer.queue if transfer is not None else None,
            store=sides.access.store if sides.access is not None else None,
            directory=house.directory,
            dispatcher=transfer.dispatcher if transfer is not None else None,
            certificates=certificates,
            load=gate.load,
            listeners=listeners,
            reactor=reactor,
        ).listener()
    upkeep = CertificateUpkeep(
        config, certificates, resolver=house.resolver, reactor=reactor, gets=transfer is not None
    )
    return Parts(
        house.journey,
        sides.in_order,
        listeners,
        [("certificates", upkeep)],
        takers(
            config,
            certificates=certificates,
            upkeep=upkeep,
            directory=house.directory,
            gate=gate,
            listeners=listeners,
            resolver=house.resolver,
            sessions=sides.sessions,
            transfer=transfer,
            web=web,
            reactor=reactor,
        ),
    )


def _both(house: House) -> _Sides:
    door = QueueDoor(house)
    access = AccessSide(house, direct(door.queue, door.signing))
    store = access.store
    mailboxes = MailboxWays(access.deliverer, store.is_full, access.own_junk.keep, store)
    transfer = TransferSide(house, door, mailboxes)
    in_order: NamedParts = [
        *house.first,
        *transfer.first,
        *access.first,
        *transfer.parts,
        ("allowances", house.counting),
        ("outbox", access.outbox),
        *house.senders.parts,
        *access.behind,
        ("dispatcher", transfer.dispatcher),
    ]
    return _Sides(house, transfer, access, in_order)


def _access_alone(house: House) -> _Sides:
    process, ways = queue_process(house)
    access = AccessSide(house, ways)
    serve_access(process, access)
    in_order: NamedParts = [
        *house.first,
        *access.first,
        ("allowances", house.counting),
        *house.senders.parts,
        *access.behind,
        ("way to the queue", process),
        ("outbox", OnceThere(process, access.outbox)),
    ]
    return _Sides(house, None, access, in_order)


def _transfer_alone(house: House) -> _Sides:
    door = QueueDoor(house)
    process, mailboxes = mailbox_process(house, door)
    transfer = TransferSide(house, door, MailboxWays(mailboxes, mailboxes.is_full, mailboxes.keep))
    GoOn(process, mailboxes, transfer.dispatcher, reactor=house.reactor)
    in_order: NamedParts = [
        *house.first,
        *transfer.first,
        *transfer.parts,
        ("allowances", house.counting),
        *house.senders.parts,
        ("way to the mailboxes", process),
        ("dispatcher", transfer.dispatcher),
    ]
    return _Sides(house, transfer, None, in_order)


def _listeners(
    config: Config,
    sessions: Sessions,
    *,
    gate: Gate,
    web: Web | None,
    reactor: Any,
    certificates: Certificates,
    max_connections: int,
) -> dict[str, Listener | WebListener]:
    listeners: dict[str, Listener | WebListener] = {}
    # Other servers are not asked for certificates: many would show theirs, and some would give up.
    shown = certificates.shown
    tls_context, for_logins = (shown.context, shown.asking) if shown is not None else (None, None)
    for name in services(config):
        if name == METRICS:
            continue  # it needs the others
        if name in WEB_SERVICES:
            assert web is not None
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
