"""`mta verify`: is a backup what was written; without one, is what the server keeps in order.

With `--fix` what can be put right is: a mailbox that the server has to look at again is marked so, a full
text is made anew. What would lose something (an index that is damaged) stays to be done by hand, with the
words for it.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from twisted_mta.backup.checking import check
from twisted_mta.backup.copying import DATABASE, reading
from twisted_mta.backup.snapshots import Snapshots
from twisted_mta.backup.taking import SPOOL
from twisted_mta.queue.ids import encode
from twisted_mta.queue.mailqueue import DATABASE as QUEUE_DATABASE
from twisted_mta.queue.spool import Spool
from twisted_mta.service import data_dir
from twisted_mta.service.commands.backup import refusing_backup
from twisted_mta.service.commands.mailbox import MOMENT
from twisted_mta.service.commands.progress import ProgressBar
from twisted_mta.service.commands.refused import Misused, Refused
from twisted_mta.service.commands.terminal import counted
from twisted_mta.service.mail_account import every, refusing
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.roles import TRANSFER
from twisted_mta.service.reindex_request import Request
from twisted_mta.store.exchange.inventory import mailbox_directories
from twisted_mta.store.exchange.verification import verify
from twisted_mta.store.fulltext import FULLTEXT
from twisted_mta.store.index.survey import faults_of

SHOWN = 20  # findings that are printed; --json has all
YOUNG = 60.0  # seconds in which a body may be there before its message, or behind it


class Fault(NamedTuple):
    """Where, what, and what to do; fixed: it has been put right, or will be by the server."""

    where: str
    what: str
    remedy: str = ""
    fixed: bool = False


def add_command(parser: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta verify`."""
    parser.add_argument(
        "directory", type=Path, nargs="?", metavar="DIR", help="of backups; without it: what the server keeps"
    )
    parser.add_argument("--snapshot", default="", metavar="NAME", help="which one; the newest when not given")
    parser.add_argument("--all", action="store_true", help="every snapshot")
    parser.add_argument("--fix", action="store_true", help="put right what can be, of what the server keeps")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(command=verify_command)


def verify_command(config: Config, options: argparse.Namespace) -> None:
    """`verify [DIR]`"""
    if options.directory is None:
        if options.snapshot or options.all:
            raise Misused("--snapshot and --all are about backups: name the directory where they are")
        data = Path(config.data_dir)
        data_dir.enter(data)
        faults = list(_live(config, data, options.fix))
        _tell(options, str(data), faults)
        return
    if options.fix:
        raise Misused("--fix is about what the server keeps; a damaged backup is made anew: mta backup")
    with refusing_backup("verify"):
        snapshots = Snapshots(options.directory)
        names = snapshots.names() if options.all else [options.snapshot]
        sound: set[tuple[int, int]] = set()
        faults = []
        checked = []
        for name in names or [""]:
            snapshot = snapshots.open(name)
            checked.append(snapshot.name)
            total = sum(each.files for each in snapshot.sections.values())
            with ProgressBar(snapshot.name, total, "files") as bar:
                faults += [Fault(snapshot.name, what) for what in check(snapshot, bar.advance, sound)]
    _tell(options, ", ".join(checked), faults)


def _tell(options: argparse.Namespace, what: str, faults: list[Fault]) -> None:
    """Raises Refused when something is wrong."""
    left = [fault for fault in faults if not fault.fixed]
    if options.json:
        print(json.dumps({"verified": what, "faults": [fault._asdict() for fault in faults]}))
    else:
        print(f"{what}: {f'{len(left):,} wrong' if left else 'all is well'}")
        for fault in faults[:SHOWN]:
            print(f"  {'mended: ' if fault.fixed else ''}{fault.where}: {fault.what}")
            if fault.remedy:
                print(f"    {fault.remedy}")
        if len(faults) > SHOWN:
            print(f"  and {len(faults) - SHOWN:,} more; --json shows all")
    if left:
        raise Refused(f"{counted(len(left), 'fault')} found")


# What the server keeps


def _live(config: Config, data: Path, fix: bool) -> Iterator[Fault]:
    yield from _databases(data)
    with refusing("queue"):
        yield from _queue(data)
    for account in every(config):
        if not account.has_mail:
            continue
        with refusing(account.name):
            for found in verify(account.path, partial(time.sleep, MOMENT)):
                if found.fault:
                    where = f"{account.name}: {found.mailbox}" if found.mailbox else account.name
                    yield Fault(
                        where,
                        found.what,
                        found.remedy,
                        fix and _mend(data, account.name, account.path, found.mailbox, found.what),
                    )


def _databases(data: Path) -> Iterator[Fault]:
    """Those beside the mail, and the queue's; those of accounts are looked at with their mail."""
    for directory, directories, names in os.walk(data):
        if Path(directory) == data / "mail":
            directories.clear()
        for name in sorted(names):
            if name.endswith(DATABASE):
                for fault in faults_of(f"{directory}/{name}"):
                    yield Fault(
                        f"{directory}/{name}",
                        f"is damaged: {fault}",
                        "stop the server and put it back from a backup",
                    )


def _queue(data: Path) -> Iterator[Fault]:
    """Messages without their bodies, bodies without a message. A server at work has both for a moment."""
    path = data / "queue" / QUEUE_DATABASE
    if not path.exists():
        return
    spool = Spool(data / SPOOL)
    there = set(spool.messages())
    wanted = _wanted(path)
    missing = {number for number in wanted.keys() - there if not spool.path(number).exists()}
    still = _wanted(path).keys()  # what was finished meanwhile is no fault
    for number in sorted(missing & still):
        yield Fault(
            f"queue: {encode(number)}",
            f"its body {spool.path(number)} is gone",
            f"it cannot be sent; to return it to its sender: mta queue bounce {encode(number)}",
        )
    for number in sorted(wanted.keys() & there & still):
        try:
            fault = "" if spool.is_sound(number, wanted[number]) else "has other octets than were received"
        except OSError as error:
            fault = f"cannot be read: {error.strerror}"
        if fault and number in _wanted(path):
            yield Fault(
                f"queue: {encode(number)}",
                f"its body {spool.path(number)} {fault}",
                "put it back from a backup",
            )
    for number in sorted(there - wanted.keys() - still):
        with suppress(FileNotFoundError):
            if (
                time.time() - spool.path(number).stat().st_mtime > YOUNG
                and data_dir.server(data, TRANSFER) is None
            ):
                yield Fault(
                    "queue",
                    f"{spool.path(number)} belongs to no message",
                    "the server removes it at its next start",
                    fixed=True,
                )


def _wanted(path: Path) -> dict[int, int]:
    """The messages whose bodies are files, with their checksums."""
    try:
        with closing(reading(str(path))) as database:
            rows = database.execute("SELECT number, checksum FROM message WHERE body IS NULL")
            return dict(rows.fetchall())
    except sqlite3.DatabaseError:
        return {}  # said already


def _mend(data: Path, account: str, path: str, mailbox: str, what: str) -> bool:
    """Put right what was found, or have the server do it. False when that is left to a person."""
    if what.startswith(FULLTEXT):
        Request(data, account).make()  # for the server that runs, or the next one
        return True
    if not mailbox or "in the index" not in what:
        return False
    directory = mailbox_directories(f"{path}/Maildir").get(mailbox)
    if directory is None:
        return False
    os.utime(f"{path}/Maildir/{directory}/cur")
    return True
