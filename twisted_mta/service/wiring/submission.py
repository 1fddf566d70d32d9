"""Submission, made from the configuration: limits, copies in Sent, the Outbox, what BURL fetches from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted_mta.directory.directory import Directory
from twisted_mta.directory.snapshot import POSTMASTER
from twisted_mta.interfaces import IDeliverer
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.protocol.smtp.extensions import SmtpLimits
from twisted_mta.service.commands.sending import ALLOWANCES, keeps_copy, sending_limits
from twisted_mta.service.options.config import Config
from twisted_mta.service.wiring.ways import QueueWays
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.msa.allowances import Allowances
from twisted_mta.transfer.msa.burl import MailboxContents
from twisted_mta.transfer.msa.outbox import Outbox, OutboxPolicy
from twisted_mta.transfer.msa.sent import SentCopies
from twisted_mta.transfer.recipient import Returns

OUTBOX = "outbox.sqlite"


def submission_limits(config: Config) -> SmtpLimits:
    """Of one message."""
    return SmtpLimits(
        message=config.submission.message_size or config.limits.message_size,
        recipients=config.submission.recipients or config.limits.recipients,
    )


def build_allowances(config: Config, *, directory: Directory, reactor: Any) -> Allowances:
    """What accounts may send is counted here, whichever way it goes, in either process of the server."""
    return Allowances(
        Path(config.data_dir) / ALLOWANCES,
        reactor=reactor,
        limits_of=lambda account: sending_limits(config, directory.quota(account)),
        renew_limits=directory.refresh,
    )


def session_options(
    config: Config, *, directory: Directory, counting: Allowances, store: MessageStore | None, reactor: Any
) -> dict[str, Any]:
    """For sessions of submission. store: what BURL fetches from; None: mailboxes are not here."""
    return {
        "counting": counting,
        "keeps_copy": lambda account: keeps_copy(config, directory.quota(account)),
        "contents": MailboxContents(store, reactor) if store is not None else None,
    }


class Sending:
    """What accounts send, on the side of their mailboxes. `local`: who delivers what is not for Sent;
    `deliverer` stands in front of it. `outbox` is for those who read their mail, and started when queue,
    store and allowances are."""

    def __init__(
        self,
        config: Config,
        *,
        local: IDeliverer,
        directory: Directory,
        store: MessageStore,
        ways: QueueWays,
        counting: Allowances,
        returns: Returns | None,
        journey: Journey,
        reactor: Any,
    ) -> None:
        self.deliverer = SentCopies(
            local, store=store, journey=journey, reactor=reactor, outbox=config.submission.outbox
        )
        self.outbox = Outbox(
            Path(config.data_dir) / OUTBOX,
            policy=OutboxPolicy(
                outbox=config.submission.outbox,
                hostname=config.hostname,
                postmaster=Address(POSTMASTER, config.domains[0]),
                limits=submission_limits(config),
            ),
            store=store,
            directory=directory,
            intake=ways.own,
            in_queue=ways.is_queued,
            has_recipient=ways.has_recipient,
            counting=counting,
            sent=self.deliverer,
            is_full=store.is_full,
            returns=returns,
            journey=journey,
            reactor=reactor,
        )
