"""The side with the mailboxes, put together: the store, delivery into it, and those who read their mail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted_mta.directory.directory import Directory
from twisted_mta.directory.snapshot import POSTMASTER
from twisted_mta.protocol.imap4.bodystructure import render_structures
from twisted_mta.service.commands import quota as quota_commands
from twisted_mta.service.importing.requests import ImportRequests
from twisted_mta.service.options.config import Config
from twisted_mta.service.reindexing import ReindexRequests
from twisted_mta.service.wiring.abuse import OwnJunk
from twisted_mta.service.wiring.address import build_lists, build_warnings
from twisted_mta.service.wiring.house import House, NamedParts
from twisted_mta.service.wiring.session import Sessions, access_sessions
from twisted_mta.service.wiring.sieve import build_events, build_filters
from twisted_mta.service.wiring.submission import Sending
from twisted_mta.service.wiring.ways import QueueWays
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.delivery import LocalDelivery
from twisted_mta.transfer.mda.quota_warnings import WarningEvents
from twisted_mta.transfer.mda.without_binary import WithoutBinary
from twisted_mta.wire.login import LoginMeans


class AccessSide:
    """`deliverer` takes all local mail. `first` is started before mail is delivered, `behind` when it can be;
    and then `outbox`, when the queue can be asked."""

    def __init__(self, house: House, ways: QueueWays) -> None:
        config, told, directory = house.config, house.told, house.directory
        self._house = house
        self.store = store = build_store(config, directory, house.reactor)
        self.own_junk = OwnJunk(config, senders=house.senders, directory=directory, store=store, **told)
        around: dict[str, Any] = {"data": house.data, "store": store, "ways": ways, **told}
        filters = build_filters(config, directory=directory, returns=house.returns, **around)
        warnings = build_warnings(config, store=store, **told)
        local = LocalDelivery(
            directory=directory,
            store=store,
            filters=filters,
            lists=build_lists(config, key=house.keys[0], directory=directory, ways=ways, **told),
            returns=house.returns,
            warnings=warnings,
            personal=self.own_junk.personal,
            **told,
        )
        sending = Sending(
            config,
            local=local,
            directory=directory,
            store=store,
            ways=ways,
            counting=house.counting,
            returns=house.returns,
            **told,
        )
        self.deliverer = WithoutBinary(sending.deliverer, house.in_thread)
        self.outbox = sending.outbox
        self._events = self.own_junk.events(WarningEvents(warnings, build_events(config, filters, **around)))
        self.first: NamedParts = [
            ("store", store),
            ("reindexing", ReindexRequests(house.data, store, reactor=house.reactor)),
            ("imports", ImportRequests(house.data, store, reactor=house.reactor)),
        ]
        self.behind: NamedParts = [*self.own_junk.parts]

    def sessions(self, config: Config, means: LoginMeans) -> Sessions:
        """With the manners of this configuration, and what logins rest on in it."""
        house = self._house
        return access_sessions(
            config,
            directory=house.directory,
            store=self.store,
            means=means,
            submitter=self.outbox,
            events=self._events,
            **house.told,
        )


def build_store(config: Config, directory: Directory, reactor: Any) -> MessageStore:
    """Not started yet."""
    return MessageStore(
        Path(config.data_dir) / "mail",
        reactor=reactor,
        hostname=config.hostname,
        render=render_structures,
        limits_of=lambda account: quota_commands.limits(config, directory.quota(account)),
        renew_limits=directory.refresh,
        bounds=config.mailboxes.bounds,
        server_annotations={"/shared/admin": f"mailto:{POSTMASTER}@{config.domains[0]}".encode()},
        keep_deleted=config.mailboxes.keep_deleted,
    )
