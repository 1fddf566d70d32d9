"""How rewritten senders, mailing lists and warnings about quotas are made, from the configuration."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThreadPool

from twisted_mta.directory.address_administration import AddressAdministration
from twisted_mta.directory.database import DATABASE, DirectoryDatabase
from twisted_mta.directory.directory import Directory
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import Config
from twisted_mta.service.wiring.dkim import Signing
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.lists import MailingLists
from twisted_mta.transfer.mda.quota_warnings import QuotaWarnings
from twisted_mta.transfer.mda.srs import ReversePaths
from twisted_mta.transfer.mda.srs_book import FILE, SenderBook

KEYS = "forwarding.keys"  # one a line, hexadecimal: the first is used, all are believed


@dataclass(frozen=True)
class Forwarding:
    """`returns` is None when senders are not rewritten."""

    returns: ReversePaths | None
    lists: MailingLists
    warnings: QuotaWarnings


def build_forwarding(
    config: Config,
    *,
    directory: Directory,
    queue: MailQueue,
    signing: Signing,
    store: MessageStore,
    journey: Journey,
    reactor: Any,
) -> Forwarding:
    """Raises ConfigError for a file of keys that cannot be read or made."""
    data = Path(config.data_dir)
    keys = read_keys(data / KEYS)
    returns = ReversePaths(
        keys,
        config.forwarding.srs_domain or config.domains[0],
        is_ours=directory.is_local,
        book=SenderBook(data / FILE, reactor=reactor, seconds=reactor.seconds),
        seconds=reactor.seconds,
    )

    async def leave(mailing_list: Address, member: Address) -> None:
        pool = reactor.getThreadPool()
        await deferToThreadPool(reactor, pool, _leave, data / DATABASE, config, mailing_list, member)

    lists = MailingLists(
        signing.own,
        posts=signing.posts,
        in_queue=queue.has_envelope,
        directory=directory,
        leave=leave,
        key=keys[0],
        hostname=config.hostname,
        journey=journey,
        reactor=reactor,
        seconds=reactor.seconds,
    )
    warnings = QuotaWarnings(
        store,
        levels=config.quota.warnings,
        hostname=config.hostname,
        journey=journey,
        reactor=reactor,
        seconds=reactor.seconds,
    )
    return Forwarding(returns if config.forwarding.srs else None, lists, warnings)


def read_keys(path: Path) -> tuple[bytes, ...]:
    """The secrets in a file, which is made when it is not there. Raises ConfigError."""
    try:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            pass
        else:
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32) + "\n")
                file.flush()
                os.fsync(file.fileno())
        keys = tuple(bytes.fromhex(line) for line in path.read_text("ascii").split())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be used: {error}") from error
    if not keys or min(map(len, keys)) < 16:
        raise ConfigError(
            f"{path}: expected keys of 32 or more hexadecimal digits, one a line; when the file is removed, "
            "a new one is made, and reports about what was sent on before do not find back"
        )
    return keys


def _leave(path: Path, config: Config, mailing_list: Address, member: Address) -> None:
    """In a thread. Raises DirectoryError."""
    database = DirectoryDatabase(path)
    try:
        AddressAdministration(database, config.domains).remove_members(str(mailing_list), [str(member)])
    finally:
        database.close()
