"""The Sieve scripts of accounts, wired: at delivery, and at what is done to mailboxes over IMAP."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from twisted_mta.interfaces import IDirectory
from twisted_mta.journey.bus import Journey
from twisted_mta.service.commands.sending import ALLOWANCES
from twisted_mta.service.options.config import Config
from twisted_mta.service.wiring.ways import QueueWays
from twisted_mta.store.scripts import Scripts
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.sieve.answers import Answers
from twisted_mta.transfer.mda.sieve.carrying_out import CarryingOut
from twisted_mta.transfer.mda.sieve.filtering import Filters
from twisted_mta.transfer.mda.sieve.imap_events import ImapEvents
from twisted_mta.transfer.mda.sieve.notifying import Notifying
from twisted_mta.transfer.mda.sieve.onward import Onward
from twisted_mta.transfer.mda.sieve.troubles import Troubles
from twisted_mta.transfer.mda.sieve.verdicts import Verdicts
from twisted_mta.transfer.mda.srs import ReversePaths
from twisted_mta.transfer.msa.allowances import stored_acquaintance


def build_filters(
    config: Config,
    *,
    data: Path,
    directory: IDirectory,
    store: MessageStore,
    ways: QueueWays,
    journey: Journey,
    reactor: Any,
    returns: ReversePaths | None,
) -> Filters:
    """What delivery asks. data: its `sieve` directory has the scripts that everybody may include."""
    common: dict[str, Any] = {
        "hostname": config.hostname,
        "journey": journey,
        "seconds": reactor.seconds,
        "owns": directory.owns,
    }
    return Filters(
        store,
        answers=Answers(ways.own, **common),
        hostname=config.hostname,
        journey=journey,
        reactor=reactor,
        notifying=Notifying(ways.own, **common),
        common=Scripts(data),
        verdicts=Verdicts(service=config.hostname),
        separators="".join(config.addresses.separators),
        onward=Onward(ways.onward, journey=journey, returns=returns),
        troubles=Troubles(store, hostname=config.hostname, reactor=reactor),
        acquaintance=partial(stored_acquaintance, data / ALLOWANCES),
    )


def build_events(
    config: Config,
    filters: Filters,
    *,
    data: Path,
    store: MessageStore,
    ways: QueueWays,
    journey: Journey,
    reactor: Any,
) -> ImapEvents:
    """What IMAP sessions tell of what was done."""
    return ImapEvents(
        store,
        filters=filters,
        carrying_out=CarryingOut(
            store,
            filters=filters,
            onward=Onward(ways.onward, journey=journey),
            journey=journey,
            seconds=reactor.seconds,
        ),
        journey=journey,
        reactor=reactor,
        common=Scripts(data),
        script=config.sieve.imap_script,
        url=f"sieve://{config.hostname}" if config.listen.managesieve else "",
    )
