"""What belongs to an account and is not in its directory, out of a snapshot: what it has granted to others,
and a quota of its own.

It comes back where the account has none now, as after its removal: what there is, is newer. Passwords do not,
and neither does what others have granted to the account: that is theirs, and may have been taken back since.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from twisted_mta.backup.copying import reading
from twisted_mta.backup.snapshots import Snapshot
from twisted_mta.directory.database import DATABASE
from twisted_mta.service.directory_administration import opened_administration
from twisted_mta.service.options.config import Config
from twisted_mta.store import sharing


class Belongings(NamedTuple):
    """How many have come back."""

    grants: int
    limits: int


def bring_back(config: Config, snapshot: Snapshot, account: str) -> Belongings:
    """Of the account as the snapshot has it. Raises OSError, sqlite3.Error, Refused."""
    grants = _rows(
        snapshot.file(f"mail/{sharing.FILE}"),
        "SELECT mailbox, identifier, rights FROM grants WHERE owner = ?",
        account,
    )
    limits = dict(
        _rows(snapshot.file(DATABASE), "SELECT resource, amount FROM quota WHERE address = ?", account)
    )
    granted = sharing.bring_back(Path(config.data_dir, "mail"), account, grants)
    with opened_administration(config) as directory:
        if directory.limits(account):
            return Belongings(granted, 0)
        directory.set_quota(
            account, {name: "none" if each is None else each for name, each in limits.items()}
        )
    return Belongings(granted, len(limits))


def _rows(path: str, sql: str, account: str) -> list[tuple[Any, ...]]:
    """Nothing of a database, or a table, that there was not yet. Raises sqlite3.Error."""
    if not os.path.exists(path):
        return []
    with closing(reading(path)) as database:
        try:
            return database.execute(sql, (account,)).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise
