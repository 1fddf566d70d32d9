"""To whom mailboxes are shared: the grants of all accounts, in one database (RFC 4314).

`sharing.sqlite` in the mail directory, beside the accounts: an index that is lost takes no grants with it.
All grants are in memory, so that what a user may do is answered at once, and for a mailbox that they may not
know of exactly as for one that is not there: nothing of its account is even looked at. Every change is
durable before it counts.

Grants follow a mailbox's name. `Viewpoint` moves and removes them along with mailboxes. One that another
program removed keeps its grants until a mailbox of that name is made here.

Another process (`mta account remove`) may change the database. That is noticed like a change of the
directory: SQLite's data_version is asked, for a few microseconds, before grants are.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_mta.database import transaction
from twisted_mta.store.errors import StoreError, disk_error
from twisted_mta.store.index.rows import is_corruption
from twisted_mta.store.rights import NEGATIVE, Acl, identifiers, rights_of
from twisted_mta.store.threads import Lane, Threads

FILE = "sharing.sqlite"

Grants = dict[str, Acl]  # of one account: what is granted, by mailbox
Edit = Callable[[Grants], object]
T = TypeVar("T")

_BROKEN = -2  # what no data_version is
_SCHEMA = """
    BEGIN;
    CREATE TABLE IF NOT EXISTS grants (
        owner TEXT NOT NULL,
        mailbox TEXT NOT NULL,
        identifier TEXT NOT NULL,           -- with "-" in front: what is taken away
        rights TEXT NOT NULL,               -- sorted letters
        PRIMARY KEY (owner, mailbox, identifier)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS changes (number INTEGER NOT NULL);  -- one row: how many there have been
    INSERT INTO changes SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM changes);
    COMMIT;
"""


class Sharing:
    """The grants in the directory `root`. `report` takes lines for the operator, from any thread."""

    def __init__(self, root: Path, threads: Threads, report: Callable[[str], None]) -> None:
        self._path = root / FILE
        self._lane = Lane(threads)
        self._report = report
        self._grants: dict[str, Grants] = {}  # by owner
        self._owners: dict[str, set[str]] = {}  # by identifier: who has granted something to it
        self._watchers: list[Callable[[str], None]] = []
        self._changes = -1  # the number of the last change that is in memory
        self._watch: sqlite3.Connection | None = None
        self._version = -1  # data_version as of the last look

    def stop(self) -> None:
        """Close the database."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    # Questions

    async def refresh(self) -> None:
        """Take over what another process has changed. To be awaited before the questions below.

        Costs a few microseconds when nothing has changed. Raises StorageFault."""
        version = self._data_version()
        if version != self._version:
            found = await self._in_lane(partial(self._read, self._changes))
            self._version = version
            if found is not None:
                self._take(*found)

    def rights(self, owner: str, mailbox: str, user: str) -> frozenset[str]:
        """What the user may do with that mailbox; whether there is one is not looked at."""
        return rights_of(user, owner, self.acl(owner, mailbox))

    def acl(self, owner: str, mailbox: str) -> Acl:
        """What is granted on a mailbox, without what the owner has anyway."""
        return self._grants.get(owner, {}).get(mailbox, {})

    def has_granted(self, owner: str) -> bool:
        """True when something is granted on any mailbox of the owner."""
        return bool(self._grants.get(owner))

    def visible_to(self, user: str) -> dict[str, dict[str, frozenset[str]]]:
        """Owner -> mailbox -> rights, of all that others let the user see (right `l`)."""
        meant = identifiers(user, user)
        owners = set().union(*(self._owners.get(each, ()) for each in meant)) - {user}
        found: dict[str, dict[str, frozenset[str]]] = {}
        for owner in owners:
            for mailbox, acl in self._grants.get(owner, {}).items():
                rights = rights_of(user, owner, acl)
                if "l" in rights:
                    found.setdefault(owner, {})[mailbox] = rights
        return found

    def may_read_some_of(self, owner: str, user: str) -> bool:
        """True when the user may read one of the owner's mailboxes (right `r`)."""
        return any("r" in rights_of(user, owner, acl) for acl in self._grants.get(owner, {}).values())

    # Watching

    def watch(self, watcher: Callable[[str], None]) -> None:
        """Have the name of every account told whose grants have changed, when the questions above know it.
        What another process does is told when somebody asks next."""
        self._watchers.append(watcher)

    def unwatch(self, watcher: Callable[[str], None]) -> None:
        """Take a watcher off. A no-op when it is off already."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def _tell(self, owner: str) -> None:
        for watcher in list(self._watchers):
            watcher(owner)

    # Changes

    async def change(self, owner: str, edit: Edit) -> None:
        """Change the grants of one account: `edit` is called in a thread with all of them and changes the
        dictionary. Nobody else changes them meanwhile. Raises what `edit` does, StorageFull, StorageFault."""
        grants, changes = await self._in_lane(partial(self._edit, owner, edit))
        self._set_grants(owner, grants)
        if self._changes == changes - 1:  # else another process came first: all is read at the next look
            self._changes = changes
        self._tell(owner)

    def _edit(self, owner: str, edit: Edit) -> tuple[Grants, int]:
        os.makedirs(self._path.parent, mode=0o700, exist_ok=True)
        with _database(self._path) as db, transaction(db):
            rows = db.execute("SELECT mailbox, identifier, rights FROM grants WHERE owner = ?", (owner,))
            before = _by_mailbox(rows)
            after = dict(before)
            edit(after)
            after = {mailbox: acl for mailbox, acl in after.items() if acl}
            for mailbox in before.keys() | after.keys():
                if before.get(mailbox) != after.get(mailbox):
                    db.execute("DELETE FROM grants WHERE owner = ? AND mailbox = ?", (owner, mailbox))
                    db.executemany(
                        "INSERT INTO grants VALUES (?, ?, ?, ?)",
                        (
                            (owner, mailbox, identifier, "".join(sorted(rights)))
                            for identifier, rights in after.get(mailbox, {}).items()
                        ),
                    )
            return after, _count_change(db)

    # Memory

    def _take(self, changes: int, grants: dict[str, Grants]) -> None:
        if changes < self._changes:  # another file than before
            self.stop()
        self._changes = changes
        before, self._grants = self._grants, {}
        self._owners = {}
        for owner, of_owner in grants.items():
            self._set_grants(owner, of_owner)
        for owner in before.keys() | grants.keys():
            if before.get(owner) != grants.get(owner):
                self._tell(owner)

    def _set_grants(self, owner: str, grants: Grants) -> None:
        for acl in self._grants.get(owner, {}).values():
            for identifier in acl:
                self._owners.get(identifier, set()).discard(owner)
        self._grants[owner] = grants
        for acl in grants.values():
            for identifier in acl:
                self._owners.setdefault(identifier, set()).add(owner)

    # The database

    def _data_version(self) -> int:
        """A number that is another one when another connection has changed the database; 0 without one."""
        try:
            if self._watch is None:
                if not self._path.exists():
                    return 0
                self._watch = sqlite3.connect(self._path, isolation_level=None, timeout=0.0)
            return int(self._watch.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.OperationalError:
            return self._version  # locked for a moment: the next look sees it
        except sqlite3.DatabaseError:
            self.stop()
            return _BROKEN  # which reading it finds, too, and puts it aside

    def _read(self, known: int) -> tuple[int, dict[str, Grants]] | None:
        """All grants, or None when what is known is as new. A broken database is put aside: nothing is
        shared any more until it is shared anew."""
        if not self._path.exists():
            return None if known <= 0 else (0, {})
        try:
            with _database(self._path) as db:
                db.execute("BEGIN")
                changes = int(db.execute("SELECT number FROM changes").fetchone()[0])
                if changes == known:
                    return None
                rows = db.execute("SELECT owner, mailbox, identifier, rights FROM grants").fetchall()
        except sqlite3.DatabaseError as error:
            if not is_corruption(error):
                raise
            aside = f"{self._path}.corrupt"
            for rest in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.replace(f"{self._path}{rest}", aside + rest)
            self._report(f"{self._path} is corrupt ({error}): moved to {aside}; nothing is shared any more")
            return 0, {}
        grants: dict[str, Grants] = {}
        by_owner: dict[str, list[tuple[str, str, str]]] = {}
        for owner, mailbox, identifier, rights in rows:
            by_owner.setdefault(owner, []).append((mailbox, identifier, rights))
        for owner, of_owner in by_owner.items():
            grants[owner] = _by_mailbox(iter(of_owner))
        return changes, grants

    async def _in_lane(self, work: Callable[[], T]) -> T:
        done: Deferred[T] = Deferred()

        def perform() -> Callable[[], None]:
            try:
                return partial(done.callback, work())
            except StoreError as error:
                return partial(done.errback, Failure(error))
            except (OSError, sqlite3.Error) as error:
                self._report(f"{self._path}: {error!r}")
                return partial(done.errback, Failure(disk_error(error)))
            except BaseException as error:
                return partial(done.errback, Failure(error))

        self._lane.run(perform)
        return await done


def forget_account(root: Path, account: str) -> None:
    """The account exists no more: nothing of it is shared, and nothing is shared with it. Whoever gets its
    name later begins with nothing. Blocks. Raises OSError, sqlite3.Error."""
    path = root / FILE
    if not path.exists():
        return
    local, _, domain = account.rpartition("@")
    with _database(path) as db, transaction(db):
        db.execute("DELETE FROM grants WHERE owner = ?", (account,))
        db.execute("DELETE FROM grants WHERE identifier IN (?, ?)", (account, NEGATIVE + account))
        db.execute(
            "DELETE FROM grants WHERE identifier IN (?, ?) AND substr(owner, -?) = ?",
            (local, NEGATIVE + local, len(domain) + 1, "@" + domain),
        )
        _count_change(db)


def bring_back(root: Path, account: str, grants: Sequence[tuple[str, str, str]]) -> int:
    """What an account had granted, (mailbox, identifier, rights), unless it has granted something by now. How
    much of it is there again. Blocks. Raises OSError, sqlite3.Error."""
    if not grants:
        return 0
    with _database(root / FILE) as db, transaction(db):
        if db.execute("SELECT 1 FROM grants WHERE owner = ?", (account,)).fetchone():
            return 0
        db.executemany("INSERT INTO grants VALUES (?, ?, ?, ?)", [(account, *each) for each in grants])
        _count_change(db)
    return len(grants)


def grant(acl: Acl, identifier: str, rights: frozenset[str]) -> Acl:
    """The list with these rights for the identifier; without it when there are none."""
    others = {other: granted for other, granted in acl.items() if other != identifier}
    return {**others, identifier: rights} if rights else others


@contextmanager
def _database(path: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(path, isolation_level=None, timeout=10.0)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'changes'").fetchone():
            db.executescript(_SCHEMA)
        yield db
    finally:
        db.close()


def _count_change(db: sqlite3.Connection) -> int:
    db.execute("UPDATE changes SET number = number + 1")
    return int(db.execute("SELECT number FROM changes").fetchone()[0])


def _by_mailbox(rows: Iterator[tuple[str, str, str]]) -> Grants:
    grants: dict[str, dict[str, frozenset[str]]] = {}
    for mailbox, identifier, rights in rows:
        grants.setdefault(mailbox, {})[identifier] = _letters(rights)
    return dict(grants)


@cache
def _letters(rights: str) -> frozenset[str]:
    """One object for all grants of the same rights; there are 2,048 at most."""
    return frozenset(rights)
