"""The side with the queue, put together: reception and submission, dispatch, relay, and what judges mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twisted_mta.directory.snapshot import POSTMASTER
from twisted_mta.interfaces import IDeliverer
from twisted_mta.message.address import Address
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.queue.schedule import RetrySchedule
from twisted_mta.service.options.config import Config
from twisted_mta.service.wiring.abuse import Strangers, keeping
from twisted_mta.service.wiring.dkim import Signing
from twisted_mta.service.wiring.dmarc import build_dmarc
from twisted_mta.service.wiring.filter import ContentFilters
from twisted_mta.service.wiring.house import House, NamedParts
from twisted_mta.service.wiring.relay import build_tls, routing
from twisted_mta.service.wiring.session import Sessions, transfer_sessions
from twisted_mta.service.wiring.submission import session_options
from twisted_mta.service.wiring.trust import build_judge
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mta.active import ActiveLimits
from twisted_mta.transfer.mta.bounce import Bounces
from twisted_mta.transfer.mta.dispatch import Dispatcher
from twisted_mta.transfer.mta.relay.limits import RelayLimits, StageTimeouts
from twisted_mta.transfer.mta.relay.relay import Relay
from twisted_mta.transfer.mta.report_intake import ReportIntake
from twisted_mta.transfer.recipient import IsFull
from twisted_mta.trust.bimi import BimiCheck
from twisted_mta.trust.check import Check
from twisted_mta.trust.judgement import Keep
from twisted_mta.wire.login import LoginMeans

CONNECTIONS_KEPT = 100  # to other servers, while there is nothing to send
LONGEST_REST = 300.0  # seconds that a host which cannot be reached is left alone


class QueueDoor:
    """The queue and the ways into it, which both sides need."""

    def __init__(self, house: House) -> None:
        self.queue = MailQueue(house.data / "queue", reactor=house.reactor)
        self.signing = Signing(
            house.config,
            queue=self.queue,
            is_ours=house.directory.is_local,
            resolver=house.resolver,
            reactor=house.reactor,
        )


@dataclass(frozen=True)
class MailboxWays:
    """What the side with the queue needs of mailboxes, which may be in another process. `keep` puts refused
    mail by. `store`: None when it is in the other process."""

    deliverer: IDeliverer
    is_full: IsFull
    keep: Keep
    store: MessageStore | None = None


class TransferSide:
    """`first` is started before anything else that has to do with mail, `parts` behind the store;
    `dispatcher` when all that is needed to deliver has been started."""

    def __init__(self, house: House, door: QueueDoor, mailboxes: MailboxWays) -> None:
        config, told, resolver = house.config, house.told, house.resolver
        self._house = house
        self._mailboxes = mailboxes
        self.queue, self.signing = queue, signing = door.queue, door.signing
        tls = build_tls(config, resolver=resolver, queue=signing.own, **told)
        self._dmarc = build_dmarc(config, resolver=resolver, queue=queue, intake=signing.own, **told)
        self.content_filters = ContentFilters(config, resolver=resolver, reactor=house.reactor)
        self._strangers = Strangers(
            config,
            senders=house.senders,
            resolver=house.gate.resolver,
            directory=house.directory,
            known_sender=house.counting.anybody_knows,
            reactor=house.reactor,
        )
        self.routing = routing(config, resolver)
        relay = Relay(
            hostname=config.hostname,
            routing=self.routing,
            tls=tls.policy,
            limits=_relay_limits(config),
            mx_port=config.relay.port,
            rewrite=house.returns.forward if house.returns else None,
            seal=signing.seal,
            renew=signing.renew,
            **told,
        )
        self.dispatcher = Dispatcher(
            queue,
            directory=house.directory,
            local=ReportIntake(mailboxes.deliverer, [*tls.expected, *self._dmarc.expected]),
            remote=relay,
            bounces=_bounces(config, queue, signing),
            journey=house.journey,
            clock=house.reactor,
            schedule=RetrySchedule(config.queue.retry, config.queue.lifetime, config.queue.delay_warning),
            limits=_active_limits(config),
            next_hop=self.routing.next_hop,
        )
        self.first: NamedParts = [("filters", self.content_filters)]
        self.parts: NamedParts = [
            *signing.parts,
            ("queue", queue),
            *tls.parts,
            *self._dmarc.parts,
            ("relay", relay),
        ]

    def sessions(self, config: Config, means: LoginMeans, checks: Sequence[Check]) -> Sessions:
        """With the manners of this configuration, what logins rest on in it, and these checks of other
        programs."""
        house, strangers = self._house, self._strangers
        judge = build_judge(
            config,
            resolver=house.gate.resolver,
            reactor=house.reactor,
            any_recipient=strangers.any_recipient,
            recipient=strangers.recipient,
            content=[*strangers.content, *checks, BimiCheck(house.gate.resolver)],
            hear=self._dmarc.hear,
            keep=keeping(
                house.config, house.senders.lists, keep=self._mailboxes.keep, in_thread=house.in_thread
            ),
        )
        submitting = session_options(
            house.config,
            directory=house.directory,
            counting=house.counting,
            store=self._mailboxes.store,
            reactor=house.reactor,
        )
        return transfer_sessions(
            config,
            directory=house.directory,
            queue=self.queue,
            signing=self.signing,
            is_full=self._mailboxes.is_full,
            gate=house.gate,
            judge=judge,
            means=means,
            returns=house.returns,
            submitting=submitting,
            **house.told,
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
