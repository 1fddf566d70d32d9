"""How rewritten senders, mailing lists and warnings about quotas are made, from the configuration."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThreadPool

from twisted_mta.directory.address_administration import AddressAdministration
from twisted_mta.directory.database import DATABASE, DirectoryDatabase
from twisted_mta.directory.directory import Directory
from twisted_mta.durable import write_whole
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import Config
from twisted_mta.service.wiring.ways import QueueWays
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.lists import MailingLists
from twisted_mta.transfer.mda.quota_warnings import QuotaWarnings
from twisted_mta.transfer.mda.srs import ReversePaths
from twisted_mta.transfer.mda.srs_book import FILE, SenderBook

KEYS = "forwarding.keys"  # one a line, hexadecimal: the first is used, all are believed


def build_returns(
    config: Config, *, keys: tuple[bytes, ...], directory: Directory, reactor: Any
) -> ReversePaths | None:
    """None when senders are not rewritten."""
    if not config.forwarding.srs:
        return None
    data = Path(config.data_dir)
    return ReversePaths(
        keys,
        config.forwarding.srs_domain or config.domains[0],
        is_ours=directory.is_local,
        book=SenderBook(data / FILE, reactor=reactor, seconds=reactor.seconds),
        seconds=reactor.seconds,
    )


def build_lists(
    config: Config,
    *,
    key: bytes,
    directory: Directory,
    ways: QueueWays,
    journey: Journey,
    reactor: Any,
) -> MailingLists:
    """`key`: the first of `read_keys`."""
    data = Path(config.data_dir)

    async def leave(mailing_list: Address, member: Address) -> None:
        pool = reactor.getThreadPool()
        await deferToThreadPool(reactor, pool, _leave, data / DATABASE, config, mailing_list, member)

    return MailingLists(
        ways.own,
        posts=ways.posts,
        in_queue=ways.has_envelope,
        directory=directory,
        leave=leave,
        key=key,
        hostname=config.hostname,
        journey=journey,
        reactor=reactor,
        seconds=reactor.seconds,
    )


def build_warnings(config: Config, *, store: MessageStore, journey: Journey, reactor: Any) -> QuotaWarnings:
    """Of full mailboxes."""
    return QuotaWarnings(
        store,
        levels=config.quota.warnings,
        hostname=config.hostname,
        journey=journey,
        reactor=reactor,
        seconds=reactor.seconds,
    )


def read_keys(path: Path) -> tuple[bytes, ...]:
    """The secrets in a file, which is made when it is not there. Raises ConfigError."""
    try:
        if not path.exists():
            _make_key(path)
        keys = tuple(bytes.fromhex(line) for line in path.read_text("ascii").split())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be used: {error}") from error
    if not keys or min(map(len, keys)) < 16:
        raise ConfigError(
            f"{path}: expected keys of 32 or more hexadecimal digits, one a line; when the file is removed, "
            "a new one is made, and reports about what was sent on before do not find back"
        )
    return keys


def _make_key(path: Path) -> None:
    """Whole or not at all, and never in place of one that another process was faster to make. Raises
    OSError."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    write_whole(draft, f"{secrets.token_hex(32)}\n".encode())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _leave(path: Path, config: Config, mailing_list: Address, member: Address) -> None:
    """In a thread. Raises DirectoryError."""
    database = DirectoryDatabase(path)
    try:
        AddressAdministration(database, config.domains).remove_members(str(mailing_list), [str(member)])
    finally:
        database.close()
