"""`mta restore`: a snapshot, or something of it, put back.

Everything goes into an empty data directory, and no server may run. An account, a mailbox or a message is
brought back beside a running server, as mail from elsewhere is (see importing).
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from twisted_mta.backup import restoring
from twisted_mta.backup.messages import KeptMailbox, having
from twisted_mta.backup.snapshots import MAIL, Snapshot, Snapshots
from twisted_mta.service import data_dir
from twisted_mta.service.belongings import bring_back
from twisted_mta.service.commands.backup import refusing_backup
from twisted_mta.service.commands.mailbox_transport import so_far
from twisted_mta.service.commands.progress import ProgressBar
from twisted_mta.service.commands.refused import Misused, Refused
from twisted_mta.service.commands.terminal import counted
from twisted_mta.service.mail_account import MailAccount, one
from twisted_mta.service.options.config import Config
from twisted_mta.store.errors import OverQuota, StoreError
from twisted_mta.store.exchange.importing import Importer
from twisted_mta.store.exchange.inventory import Inventory
from twisted_mta.store.home import Home
from twisted_mta.store.maildir import NameSource
from twisted_mta.store.names import INBOX, SEPARATOR, canonical_name
from twisted_mta.store.quota import Room

SHOWN = 10  # sentences about damage that are printed


def add_command(restore: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta restore`."""
    add = restore.add_argument
    add("directory", type=Path, metavar="DIR", help="where mta backup has put its snapshots")
    add("--snapshot", default="", metavar="NAME", help="which one; the newest when it is not given")
    add("--account", default="", metavar="ADDRESS", help="only the mail of this account")
    add("--mailbox", default="", metavar="NAME", help="only this mailbox of it")
    add("--message-id", default="", metavar="ID", help="only the message with this Message-ID")
    add(
        "--in-place",
        action="store_true",
        help="into the mailboxes that the mail was in, instead of new ones below «Restored …»",
    )
    add("--without-queue", action="store_true", help="not the messages that were on their way")
    add("--even-damaged", action="store_true", help="although something of it is damaged")
    add("--json", action="store_true")
    restore.set_defaults(command=restore_command)


def restore_command(config: Config, options: argparse.Namespace) -> None:
    """`restore DIR …`"""
    if not options.account:
        for name in ("mailbox", "message_id", "in_place"):
            if getattr(options, name):
                raise Misused(f"--{name.replace('_', '-')} goes together with --account ADDRESS")
        _everything(config, options)
    else:
        _account(config, options)


def _damage(damage: Sequence[str], restored: bool) -> None:
    """Raises Refused when there is any."""
    if not damage:
        return
    more = f"; and {len(damage) - SHOWN:,} more" if len(damage) > SHOWN else ""
    what = (
        "everything that can be read has been restored, but of this the backup has no sound copy"
        if restored
        else "nothing has been restored: the backup is damaged (--even-damaged restores what there is)"
    )
    raise Refused(f"{what}: {'; '.join(damage[:SHOWN])}{more}")


def _files(snapshot: Snapshot, section: str = "") -> int:
    return sum(each.files for name, each in snapshot.sections.items() if not section or name == section)


def _everything(config: Config, options: argparse.Namespace) -> None:
    data = Path(config.data_dir)
    with refusing_backup("restore"):
        snapshot = Snapshots(options.directory).open(options.snapshot)
        if not restoring.is_empty(str(data)):
            raise Refused(
                f"{data} is not empty; a whole backup is restored into a new data directory: move this one"
                " away, or name one account with --account"
            )
        _make_for_its_owner(data, snapshot)
        data_dir.enter(data)
        lock = data_dir.Lock.acquire(data, is_server=False)
        try:
            with ProgressBar("restore", _files(snapshot), "files") as bar:
                damage = restoring.restore_all(
                    snapshot,
                    str(data),
                    queue=not options.without_queue,
                    damaged_too=options.even_damaged,
                    progress=bar.advance,
                )
        finally:
            lock.release()
    _damage(damage, options.even_damaged)
    accounts = sum(name.startswith(MAIL) for name in snapshot.sections)
    if options.json:
        print(json.dumps({"snapshot": snapshot.name, "files": _files(snapshot), "accounts": accounts}))
        return
    print(f"{data}: restored as of {snapshot.name}, the mail of {counted(accounts, 'account')}")
    if not options.without_queue:
        print(
            "  what was on its way then goes out when the server starts; to look at it before: mta queue list"
        )


def _make_for_its_owner(data: Path, snapshot: Snapshot) -> None:
    """Where root restores into what is nobody's yet, it becomes that user's who made the backup."""
    owner = os.stat(snapshot.path)
    if os.geteuid() == 0 and owner.st_uid != 0 and (not data.exists() or data.stat().st_uid == 0):
        data.parent.mkdir(parents=True, exist_ok=True)
        data.mkdir(mode=0o700, exist_ok=True)
        os.chown(data, owner.st_uid, owner.st_gid)


class _Brought(NamedTuple):
    """From which mailbox, into which one, and how many."""

    mailbox: str
    into: str
    new: int
    known: int


def _account(config: Config, options: argparse.Namespace) -> None:
    account = one(config, options.account)
    with refusing_backup(account.name):
        snapshots = Snapshots(options.directory)
        names = [options.snapshot] if options.snapshot else snapshots.names()[::-1]
        section = MAIL + os.path.relpath(account.path, Path(config.data_dir, "mail"))
        for name in names or [""]:  # of a message: the newest one that has it
            snapshot = snapshots.open(name)
            if section not in snapshot.sections:
                continue
            whole = not (options.mailbox or options.message_id)
            if whole and not account.has_mail:
                _anew(config, options, account, snapshot, section)
                return
            brought = _bring(config, options, account, snapshot, section)
            if brought or whole:
                _tell(options, account, snapshot, brought)
                return
    what = f"message {options.message_id}" if options.message_id else "mail"
    where = f" in {options.mailbox}" if options.mailbox else ""
    raise Refused(f"{account.name}: there is no {what}{where} in {options.snapshot or options.directory}")


def _anew(
    config: Config, options: argparse.Namespace, account: MailAccount, snapshot: Snapshot, section: str
) -> None:
    """The account has no mail at all: it gets back all that it had, but for what only the directory knows."""
    with ProgressBar(account.name, _files(snapshot, section), "files") as bar:
        damage = restoring.restore_account(
            snapshot, section, config.data_dir, damaged_too=options.even_damaged, progress=bar.advance
        )
    if not options.even_damaged:
        _damage(damage, restored=False)
    back = bring_back(config, snapshot, account.name)
    _damage(damage, restored=True)
    if options.json:
        files = _files(snapshot, section)
        told = {"snapshot": snapshot.name, "account": account.name, "files": files}
        print(json.dumps({**told, **back._asdict()}))
        return
    print(f"{account.name}: restored as of {snapshot.name}, with its scripts and rules")
    if back.grants or back.limits:
        had = counted(back.grants, "grant on its mailboxes", "grants on its mailboxes")
        print(f"  {had} and {counted(back.limits, 'limit')} of its own came back with it")
    print("  its password, its app passwords and what others share with it are as they were before this")


def _bring(
    config: Config, options: argparse.Namespace, account: MailAccount, snapshot: Snapshot, section: str
) -> list[_Brought]:
    """Mail of the account in the snapshot into the account as it is."""
    names = NameSource(config.hostname, secrets.token_hex(6), time.time)
    brought = []
    with Inventory(snapshot.file(section)) as kept:
        for mailbox in _wanted(kept, options):
            among = None
            if options.message_id:
                among = having(kept.maildir(mailbox), options.message_id)
                if not among:
                    continue
            source = KeptMailbox(kept, mailbox, among)
            if not source.size and (options.mailbox or not options.in_place):
                continue  # of all that is put in place an empty mailbox is a part
            if not os.path.isdir(f"{account.path}/Maildir"):
                _begin(account, names)
            into = mailbox if options.in_place else _below(snapshot, mailbox)
            with Inventory(account.path) as now:
                importer = Importer(f"{account.path}/Maildir", Room(account.limits, now.usage()), names)
            with ProgressBar(mailbox, source.size, "messages") as bar:
                try:
                    done = importer.bring(source, into, bar.at)
                except OverQuota as error:
                    raise Refused(
                        f"{mailbox}: {so_far(importer)} back, the next one is over the account's"
                        " quota; see: account quota. Then restore once more: what is back does not come twice"
                    ) from error
            if done.new or done.known:
                brought.append(_Brought(mailbox, into, done.new, done.known))
    return brought


def _wanted(kept: Inventory, options: argparse.Namespace) -> list[str]:
    if not options.mailbox:
        return list(kept.directories)
    try:
        name = canonical_name(options.mailbox)
    except StoreError as error:
        raise Refused(error.text) from error
    return [name] if name in kept.directories else []


def _below(snapshot: Snapshot, mailbox: str) -> str:
    top = f"Restored {snapshot.name[:10]}"
    return top if mailbox == INBOX else top + SEPARATOR + mailbox


def _begin(account: MailAccount, names: NameSource) -> None:
    """As at its first use."""
    home = Home(account.path, names, boot="", report=lambda line: None)
    home.open()
    home.close()


def _tell(
    options: argparse.Namespace, account: MailAccount, snapshot: Snapshot, brought: Sequence[_Brought]
) -> None:
    if options.json:
        mailboxes = [each._asdict() for each in brought]
        told = {"snapshot": snapshot.name, "account": account.name, "mailboxes": mailboxes}
        print(json.dumps(told))
        return
    for each in brought:
        there = f", {each.known:,} were there already" if each.known else ""
        new = counted(each.new, "message")
        print(f"{each.mailbox}: {new} of {snapshot.name} restored into {each.into}{there}")
    if not brought:
        print(f"{account.name}: there was no mail in {snapshot.name}")
