"""`mta backup`: a copy of all that the server keeps, whether it runs or not."""

from __future__ import annotations

import argparse
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import twisted_mta
from twisted_mta.backup.snapshots import BackupError, Snapshots
from twisted_mta.backup.taking import Taken, is_full, take
from twisted_mta.service import data_dir
from twisted_mta.service.commands.progress import ProgressBar
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.mail_account import refusing
from twisted_mta.service.options.config import Config


def add_command(backup: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta backup`."""
    backup.add_argument(
        "directory", type=Path, metavar="DIR", help="where the snapshots are; made when missing"
    )
    backup.add_argument(
        "--keep", type=_count, default=0, metavar="N", help="then remove all but the newest N snapshots"
    )
    backup.add_argument("--json", action="store_true")
    backup.set_defaults(command=back_up)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


@contextmanager
def refusing_backup(what: str) -> Iterator[None]:
    """Trouble with snapshots, files and databases becomes a sentence. Raises Refused."""
    try:
        with refusing(what):
            yield
    except BackupError as error:
        raise Refused(str(error)) from error


def back_up(config: Config, options: argparse.Namespace) -> None:
    """`backup DIR [--keep N]`"""
    data = Path(config.data_dir)
    if not data.is_dir():
        raise Refused(f"data_dir: there is no {data}, so there is nothing to back up yet")
    snapshots = Snapshots(options.directory)
    if Path(snapshots.path).resolve().is_relative_to(data.resolve()):
        raise Refused(f"{snapshots.path} is inside the data directory; a backup belongs on another disk")
    with refusing_backup("backup"):
        text = options.config.read_bytes()
        data_dir.enter(data)
        taken = _take(config, data, snapshots, text)
        gone = []
        if options.keep:
            with snapshots.writing():
                gone = snapshots.keep(options.keep)
    outside = [path for path in config.tls.files().values() if path and not Path(path).is_relative_to(data)]
    if options.json:
        print(json.dumps(_as_json(taken, gone, outside)))
        return
    tally = taken.tally
    print(
        f"{taken.snapshot.path}: {tally.files:,} files, {tally.octets:,} octets;"
        f" copied {tally.copied:,} of them, {tally.copied_octets:,} octets"
    )
    for note in tally.notes:
        print(f"  {note}")
    for path in outside:
        print(f"  {path} is outside of the data directory, and not in the backup")
    for name in gone:
        print(f"  removed {name}")


def _take(config: Config, data: Path, snapshots: Snapshots, text: bytes) -> Taken:
    with ProgressBar("backup", 0, "files") as bar:
        try:
            return take(
                data,
                snapshots,
                config=text,
                hostname=config.hostname,
                release=twisted_mta.__version__,
                progress=lambda what, count: bar.advance(count),
            )
        except (OSError, sqlite3.Error) as error:
            if is_full(error):
                where = snapshots.path
                raise Refused(
                    f"backup: no space left for {where}; nothing of this backup is kept, earlier ones are as"
                    " they were. Make room, or remove old snapshots with --keep"
                ) from error
            raise


def _as_json(taken: Taken, gone: Sequence[str], outside: Sequence[str]) -> dict[str, object]:
    tally = taken.tally
    return {
        "snapshot": taken.snapshot.name,
        "path": taken.snapshot.path,
        "files": tally.files,
        "octets": tally.octets,
        "copied_files": tally.copied,
        "copied_octets": tally.copied_octets,
        "notes": tally.notes,
        "outside": list(outside),
        "removed": list(gone),
    }
