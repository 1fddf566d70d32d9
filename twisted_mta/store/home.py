"""One account on disk: its Maildir++, its index, and the opening, mending and closing of the two.

    <account>/Maildir/            INBOX, with the other mailboxes as .Name inside
    <account>/index.sqlite        see index.py
    <account>/numbers             see numbers.py
    <account>/columns/            see snapshot.py
    <account>/reached             see high_water.py
    <account>/removed.*           deleted mailboxes on their way out
    <account>/removal.*           messages on their way out, see removal.py
    <account>/deleted/            what was deleted lately, see deleted.py

Everything here runs in the account's lane.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from twisted_mta.durable import sync
from twisted_mta.store import high_water, removal, snapshot
from twisted_mta.store import names as mailbox_names
from twisted_mta.store.changes import Step
from twisted_mta.store.deleted import SHARE, Deleted
from twisted_mta.store.errors import NoSuchMailbox, StorageFault, StoreError
from twisted_mta.store.file_names import catch_up
from twisted_mta.store.folder import SETTLING, Folder
from twisted_mta.store.index.index import Index
from twisted_mta.store.index.reader import Reader
from twisted_mta.store.index.rows import MailboxRow, is_corruption
from twisted_mta.store.maildir import CUR, Maildir, NameSource
from twisted_mta.store.numbers import last_number, take_numbers
from twisted_mta.store.quota import EMPTY, UNLIMITED, Bounds, Limits, Room, Usage
from twisted_mta.store.take_over import (
    BadList,
    UidList,
    find_uid_list,
    read_courier_keywords,
    read_subscriptions,
    read_uid_list,
)

if TYPE_CHECKING:
    from twisted_mta.store.listing import MailboxInfo

INDEX = "index.sqlite"
SPECIAL_USES = {  # the mailboxes of a new account besides INBOX (RFC 6154)
    "Archive": "\\Archive",
    "Drafts": "\\Drafts",
    "Junk": "\\Junk",
    "Sent": "\\Sent",
    "Trash": "\\Trash",
}

_UNKNOWN = -1


class Home:
    """The account's directory `path`. `boot` names this boot of the machine. `report` takes lines for the
    operator, from any thread."""

    def __init__(self, path: str, names: NameSource, boot: str, report: Callable[[str], None]) -> None:
        self.path = path
        self.root = f"{path}/Maildir"
        self.names = names
        self.report = report
        self.reader = Reader(f"{path}/{INDEX}")
        self._boot = boot
        self._index: Index | None = None
        self._rows: dict[int, MailboxRow] = {}  # as in the index, by number; their stamps are the folders'
        self._by_name: dict[str, MailboxRow] = {}
        self._generation = -1  # of the index, when they were read
        self.listing: list[MailboxInfo] | None = None  # see listing.py; None: not what the rows are now
        self.event_scripts: tuple[int, dict[int, str]] | None = None  # see annotations.py; None: not known
        self._folders: dict[int, Folder] = {}  # by number
        self._root_stamp = _UNKNOWN
        self._steps: list[Step] = []
        self.limits: Callable[[], Limits] = lambda: UNLIMITED  # what the account may keep
        self.bounds = Bounds()
        self.deleted = Deleted(path, names.seconds)
        self.deleted.most = lambda: None if (octets := self.limits().octets) is None else octets // SHARE
        self.waiting: Callable[[], AbstractContextManager[None]] = nullcontext  # around a wait for the disk

    # Steps

    def tell(self, step: Step) -> None:
        """Something was committed."""
        self._read_rows()
        if row := self._rows.get(step.mailbox):
            step.name = row.name
        self._steps.append(step)

    def take_steps(self) -> list[Step]:
        """What was committed since the last call."""
        steps, self._steps = self._steps, []
        return steps

    # Opening and closing

    def open(self) -> None:
        """Open the index when it is not, and mend what needs mending.

        Raises StorageFault, OSError, sqlite3.Error."""
        if self._index is None:
            self._open()

    @property
    def is_open(self) -> bool:
        """True while the index is open. May be asked beside the lane."""
        return self._index is not None

    @property
    def index(self) -> Index:
        """The index, opened when it is not. Raises StorageFault, OSError, sqlite3.Error."""
        self.open()
        assert self._index is not None
        return self._index

    @property
    def is_behind(self) -> bool:
        """True while there are files whose names are still to follow the index, which is open."""
        return self._index is not None and bool(self._index.behind.mailboxes)

    def catch_up(self) -> bool:
        """Have the names of some files follow. False when there are none left, or another program has locked
        the folder for now. Raises OSError, sqlite3.Error, and then leaves the mailbox alone until it has
        changed again, or the index is opened the next time."""
        if self._index is None or not self._index.behind.mailboxes:
            return False
        waiting = self._index.behind.mailboxes
        number = next(iter(waiting))
        try:
            catch_up(self.folder_numbered(number))
        except BlockingIOError:
            return False
        except BaseException:
            waiting.discard(number)
            raise
        return bool(waiting)

    def shut(self) -> None:
        """Have all names follow, and close the index; the next use opens it again. Raises sqlite3.Error."""
        more = True
        while more:
            try:
                more = self.catch_up()
            except (StoreError, OSError, sqlite3.Error) as error:
                self.report(f"{self.path}: {error!r}")
        if self._index is not None:
            for folder in self._folders.values():
                folder.index = self._index
                with suppress(sqlite3.Error):  # it costs time at the next opening
                    folder.keep_stamp()
        self.close()

    def close(self) -> None:
        """Close the index; the next use opens it again."""
        index, self._index = self._index, None
        self.reader.close()
        if index is not None:
            high_water.end(index, self.path)
            index.close()

    def _open(self) -> None:
        fresh = not os.path.exists(f"{self.path}/{INDEX}")
        new_account = fresh and not os.path.isdir(self.root)
        if new_account:
            self._make()
        elif not os.path.isdir(self.root):
            self.report(f"{self.root} is missing, but there is an index of it: not touched")
            raise StorageFault()
        if fresh:
            self._folders.clear()
            shutil.rmtree(f"{self.path}/{snapshot.DIRECTORY}", ignore_errors=True)
        self._root_stamp = _UNKNOWN
        try:
            self._index = self._open_index(fresh)
        except sqlite3.DatabaseError as error:
            if not is_corruption(error):
                raise
            self.set_aside(str(error))
            fresh = True
            self._index = self._open_index(fresh)
        try:
            self._settle(fresh, new_account)
        except BaseException:
            with suppress(sqlite3.Error):
                self.close()
            raise

    def _make(self) -> None:
        """The Maildir of a new account, complete or not there at all."""
        made = Path(self.path)
        while not made.parent.exists():
            made = made.parent
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        unfinished = f"{self.root}.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        Maildir(unfinished).make(folder=False)
        for name in SPECIAL_USES:
            Maildir(f"{unfinished}/{mailbox_names.directory_of(name)}").make(folder=True)
        sync(unfinished)
        os.rename(unfinished, self.root)
        directory = Path(self.path)
        while True:
            sync(str(directory))
            if directory == made.parent:
                break
            directory = directory.parent

    def _open_index(self, fresh: bool) -> Index:
        path = f"{self.path}/{INDEX}"
        if fresh:  # what belonged to an index that is gone must not be taken for the new one's
            for rest in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.unlink(path + rest)
        elif os.path.getsize(path) == 0:
            error = sqlite3.DatabaseError("the index is empty")
            error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
            raise error
        index = Index(path)
        try:
            high_water.begin(index, self.path, self._boot, fresh=fresh)
        except BaseException:
            with suppress(sqlite3.Error):
                index.close()
            raise
        return index

    def examine(self) -> None:
        """The reader has found the index broken. Raises sqlite3.DatabaseError when it is; StorageFault,
        OSError."""
        self.reader.close()
        if self._index is not None and self.reader.epoch() != self._index.emails.epoch:
            error = sqlite3.DatabaseError("the index was emptied, or replaced, while it was in use")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        self.open()

    def set_aside(self, why: str) -> None:
        """The index is corrupt: keep the file for whoever wants to look at it, and begin a new one."""
        with suppress(sqlite3.Error):
            self.close()
        self._folders.clear()
        path = f"{self.path}/{INDEX}"
        aside = f"{path}.corrupt-{int(self.names.seconds())}"
        with suppress(FileNotFoundError):
            os.replace(path, aside)
        for rest in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.replace(path + rest, aside + rest)
        self.report(f"{path} is corrupt ({why}): moved to {aside}")

    def _settle(self, fresh: bool, new_account: bool) -> None:
        """Finish what was under way, and let index and directories agree on which mailboxes there are."""
        for row in self.index.mailboxes():
            if row.moved_from is not None:
                with suppress(FileNotFoundError):
                    if not os.path.isdir(f"{self.root}/{row.directory}"):
                        os.rename(f"{self.root}/{row.moved_from}", f"{self.root}/{row.directory}")
                with self.index.transaction():
                    self.index.mailbox_moved(row.id)
        for entry in os.scandir(self.path):
            if entry.name.startswith("removed."):
                shutil.rmtree(entry.path, ignore_errors=True)
        removal.finish(self)
        lost = self._rows.values() if fresh else ()
        self._generation = -1
        for row in lost:  # their numbers mean nothing any more
            self.tell(Step(row.id, name=row.name, deleted=True))
        begun = self.index.fact("begun") is None  # by this opening, or one that a crash cut short
        taking_over = begun and not new_account and last_number(self.path)[1]
        self.notice(new=begun, taking_over=taking_over)
        if taking_over:
            self._take_over()
        if begun:
            # The subscriptions are lost with an index; to see everything is the safe side.
            subscribed = read_subscriptions(self.root) if taking_over else None
            with self.index.transaction():
                if subscribed is None:
                    subscribed = {row.name for row in self.index.mailboxes()}
                self.index.subscribe(sorted(subscribed))
                self.index.set_fact("begun", str(int(self.names.seconds())))
        if taking_over:
            take_numbers(self.path, 0, now=self.names.seconds())
        for row in self.index.mailboxes():
            with suppress(OSError):
                Maildir(f"{self.root}/{row.directory}").sweep(self.names.seconds())
        if fresh and not new_account and not taking_over:
            self.report(f"{self.path}: index built anew from the Maildir, with a new UIDVALIDITY")

    def _take_over(self) -> None:
        """Messages get the UIDs that another server has given them. All of a mailbox or none, and only what
        has been found when the mailbox was added: a crash in between leads here again."""
        for row in self.index.mailboxes():
            path = f"{self.root}/{row.directory}"
            uid_list = self._uid_list(row.directory)
            if uid_list is not None and uid_list.uid_validity == row.uid_validity:
                folder = self._folder(row)
                if not self.index.count_between(row.id, 1, uid_list.uid_next):
                    folder.take_over(uid_list.uids, read_courier_keywords(path))
                    self.report(f"{path}: taken over with its UIDs")

    def _uid_list(self, directory: str) -> UidList | None:
        """What another server has left in that directory of the Maildir."""
        path = find_uid_list(f"{self.root}/{directory}")
        if path is None:
            return None
        try:
            return read_uid_list(path)
        except (BadList, OSError) as error:
            self.report(f"{path} cannot be taken over: {error}; the mailbox has a new UIDVALIDITY")
            return None

    def notice(self, new: bool = False, taking_over: bool = False) -> None:
        """Take over mailboxes that others made or removed. `new`: known names get their special use.
        `taking_over`: the UIDVALIDITY that another server has given stays.

        The Maildir is not read again as long as its modification time says that nothing has come or gone."""
        self.open()
        stamp = os.stat(self.root).st_mtime_ns
        if stamp == self._root_stamp:
            return
        present = {""} if os.path.isdir(f"{self.root}/{CUR}") else set()
        unfinished = False
        for entry in os.scandir(self.root):
            if entry.name.startswith("."):
                if os.path.isdir(f"{entry.path}/{CUR}"):
                    present.add(entry.name)
                else:
                    unfinished = True
        if "" not in present:
            self.report(f"{self.root}/{CUR} is missing: not touched")
            raise StorageFault()
        rows = self.index.mailboxes()
        for row in rows:
            if row.directory not in present:
                self.forget(row)
        taken = {row.name for row in rows if row.directory in present}
        found = []
        for directory in sorted(present - {row.directory for row in rows}):
            name = mailbox_names.name_of(directory) if directory else mailbox_names.INBOX
            if name is None or name in taken:
                continue  # not a mailbox name, or the second directory of one
            Maildir(f"{self.root}/{directory}" if directory else self.root).make(folder=bool(directory))
            uses = frozenset({SPECIAL_USES[name]}) if new and name in SPECIAL_USES else frozenset[str]()
            found.append((name, directory, uses))
            taken.add(name)
        if found:
            lists = {directory: self._uid_list(directory) for _, directory, _ in found} if taking_over else {}
            self.add(found, {each: found for each, found in lists.items() if found is not None})
        settled = not unfinished and abs(self.names.seconds() - stamp / 1e9) > SETTLING
        self._root_stamp = stamp if settled else _UNKNOWN

    # Mailboxes

    def _read_rows(self) -> None:
        """Look whether the mailboxes in the index are other ones now."""
        if self._generation != self.index.generation:
            self._generation = self.index.generation
            self.listing = None
            self._rows = {row.id: row for row in self.index.mailboxes()}
            self._by_name = {row.name: row for row in self._rows.values()}

    def rows(self) -> list[MailboxRow]:
        """Every mailbox, by name, whatever others may have done meanwhile."""
        self._read_rows()
        return list(self._rows.values())

    def named(self, name: str) -> MailboxRow | None:
        """The mailbox of that canonical name, whatever others may have done meanwhile."""
        self._read_rows()
        return self._by_name.get(name)

    def knows(self, name: str) -> bool:
        """True when there was a mailbox of that canonical name at the last look. Any thread; no I/O."""
        return name in self._by_name

    def room(self) -> Room:
        """What still fits into the account. Raises as `index`."""
        limits = self.limits()
        return Room(limits, EMPTY if limits == UNLIMITED else Usage(*self.index.usage()))

    def is_unchanged(self) -> bool:
        """True when no mailbox has come or gone since the last look: it only stats. Raises OSError."""
        known = self._index is not None and self._generation == self._index.generation
        return known and os.stat(self.root).st_mtime_ns == self._root_stamp

    def row(self, name: str) -> MailboxRow:
        """The mailbox of that canonical name. Raises NoSuchMailbox."""
        row = self.named(name)
        if row is None:
            self.notice()
            row = self.named(name)
            if row is None:
                raise NoSuchMailbox()
        return row

    def folder(self, name: str) -> Folder:
        """The mailbox of that canonical name, at work. Raises NoSuchMailbox."""
        return self._folder(self.row(name))

    def folder_numbered(self, number: int) -> Folder:
        """The mailbox with that number, whatever its name. Raises NoSuchMailbox."""
        self._read_rows()
        row = self._rows.get(number)
        if row is None:
            raise NoSuchMailbox("The mailbox has been deleted")
        return self._folder(row)

    def _folder(self, row: MailboxRow) -> Folder:
        folder = self._folders.get(row.id)
        if folder is None:
            current = self.index.mailbox_numbered(row.id) or row
            folder = Folder(current, self.root, self.index, self.names, self.tell, self.report)
            folder.discarding = self.deleted.discarding
            self._folders[row.id] = folder
        if not os.path.isdir(folder.maildir.path):
            self._root_stamp = _UNKNOWN
            self.notice()
            raise NoSuchMailbox("The mailbox has been deleted")
        folder.index = self.index  # it may have been closed and opened since
        return folder

    def is_due(self, number: int) -> bool:
        """True when that mailbox deserves a refresh. May be asked beside the lane: it only stats."""
        folder = self._folders.get(number)
        return folder is None or folder.is_due()

    def due(self) -> tuple[list[int], bool]:
        """The numbers of all mailboxes that deserve a refresh, and whether mailboxes may have come or gone.
        May be asked beside the lane: it only stats. Raises OSError."""
        numbers = []
        anew = os.stat(self.root).st_mtime_ns != self._root_stamp
        for number in list(self._rows):
            try:
                if self.is_due(number):
                    numbers.append(number)
            except FileNotFoundError:
                anew = True
        return numbers, anew

    def add(
        self,
        mailboxes: Sequence[tuple[str, str, frozenset[str]]],
        uid_lists: Mapping[str, UidList] = MappingProxyType({}),
    ) -> None:
        """Put mailboxes (name, directory, special uses), whose directories exist, into the index, durably.
        uid_lists: by directory, those whose UIDVALIDITY and UIDs are to be taken over."""
        above = max((each.uid_validity for each in uid_lists.values()), default=0)
        now = self.names.seconds()
        first = take_numbers(self.path, len(mailboxes), now=now, above=above, taking_over=bool(uid_lists))
        with self.index.transaction(durable=True):
            for number, mailbox in enumerate(mailboxes, first):
                uid_list = uid_lists.get(mailbox[1])
                if uid_list is None:
                    self.index.add_mailbox(number, *mailbox)
                else:
                    self.index.add_mailbox(number, *mailbox, uid_list.uid_validity, uid_list.uid_next)
        for number, mailbox in enumerate(mailboxes, first):
            self.tell(Step(number, name=mailbox[0], created=True))

    def forget(self, row: MailboxRow) -> None:
        """Take a mailbox, whose directory is gone, out of the index."""
        with self.index.transaction():
            self.index.remove_mailbox(row.id)
        self._folders.pop(row.id, None)
        with suppress(OSError):
            os.unlink(f"{self.path}/{snapshot.DIRECTORY}/{row.id}")
        self.tell(Step(row.id, name=row.name, deleted=True))

    def renamed(self, row: MailboxRow, name: str, directory: str) -> None:
        """A mailbox, until now as in `row`, bears another name."""
        self._folders.pop(row.id, None)
        self.tell(Step(row.id, renamed=(name, directory, row.name)))
