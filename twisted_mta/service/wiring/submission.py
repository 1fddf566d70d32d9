"""Submission, made from the configuration: limits, copies in Sent, the Outbox, what BURL fetches from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted_mta.directory.directory import Directory
from twisted_mta.directory.snapshot import POSTMASTER
from twisted_mta.interfaces import IDeliverer, IIntake
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.protocol.smtp.extensions import SmtpLimits
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.service.commands.sending import ALLOWANCES, keeps_copy, sending_limits
from twisted_mta.service.in_queue import is_queued
from twisted_mta.service.options.config import Config
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


class Submissions:
    """`local`: who delivers what is not for Sent; `deliverer` stands in front of it. `intake`: where what is
    sent goes. `options` are for the sessions, `outbox` for those who read their mail. `anybody_knows` tells
    whether an account has written to an address before. `parts` are started when queue and store are."""

    def __init__(
        self,
        config: Config,
        *,
        local: IDeliverer,
        directory: Directory,
        store: MessageStore,
        queue: MailQueue,
        intake: IIntake,
        returns: Returns | None,
        journey: Journey,
        reactor: Any,
    ) -> None:
        data = Path(config.data_dir)
        counting = Allowances(
            data / ALLOWANCES,
            reactor=reactor,
            limits_of=lambda account: sending_limits(config, directory.quota(account)),
            renew_limits=directory.refresh,
        )
        self.anybody_knows = counting.anybody_knows
        self.deliverer = SentCopies(
            local, store=store, journey=journey, reactor=reactor, outbox=config.submission.outbox
        )
        self.options: dict[str, Any] = {
            "counting": counting,
            "keeps_copy": _keeps_copy(config, directory),
            "contents": MailboxContents(store, reactor),
        }
        self.outbox = Outbox(
            data / OUTBOX,
            policy=OutboxPolicy(
                outbox=config.submission.outbox,
                hostname=config.hostname,
                postmaster=Address(POSTMASTER, config.domains[0]),
                limits=submission_limits(config),
            ),
            store=store,
            directory=directory,
            intake=intake,
            in_queue=partial(is_queued, queue),
            has_recipient=queue.has_recipient,
            counting=counting,
            sent=self.deliverer,
            is_full=store.is_full,
            returns=returns,
            journey=journey,
            reactor=reactor,
        )
        self.parts: tuple[tuple[str, Allowances | Outbox], ...] = (
            ("allowances", counting),
            ("outbox", self.outbox),
        )


def _keeps_copy(config: Config, directory: Directory) -> Callable[[str], bool]:
    return lambda account: keeps_copy(config, directory.quota(account))
