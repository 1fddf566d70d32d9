r"""Making, deleting and renaming mailboxes (RFC 3501 §6.3.3-6.3.5). Names are canonical ones.

Maildir++ has no directory for a mailbox that only has children: such a parent is no mailbox, it is only
shown, as not selectable. A deleted mailbox leaves the Maildir by one rename before anything is removed;
a rename of several mailboxes is in the index before the first directory moves, and is finished when the
account is opened the next time if a crash cuts it short. Subscriptions are left as they are.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress

from twisted_mta.durable import names_on_disk
from twisted_mta.store.annotations import SPECIAL_USE, give_uses, require_room_for
from twisted_mta.store.changes import Step
from twisted_mta.store.errors import CannotDo, MailboxExists, NoSuchMailbox, TooManyMailboxes
from twisted_mta.store.file_names import catch_up
from twisted_mta.store.home import Home
from twisted_mta.store.index.rows import MailboxRow
from twisted_mta.store.maildir import Maildir
from twisted_mta.store.names import INBOX, SEPARATOR, directory_of, parents
from twisted_mta.store.relocation import move


def virtual_parents(names: Iterable[str]) -> set[str]:
    """The names that only have children."""
    names = set(names)
    return {parent for name in names for parent in parents(name)} - names


def create(home: Home, name: str, special_uses: frozenset[str] = frozenset()) -> None:
    """Make a mailbox. A use that another one has moves to it: RFC 6154 §3 leaves that open, and each account
    has a mailbox for every use from the first day on.

    Raises MailboxExists, TooManyMailboxes, BadMailboxName, OSError, sqlite3.Error."""
    directory = directory_of(name)
    home.notice()
    if home.named(name) is not None:
        raise MailboxExists()
    if len(home.rows()) >= home.bounds.mailboxes:
        raise TooManyMailboxes(home.bounds.mailboxes)
    with names_on_disk(home.root):
        Maildir(f"{home.root}/{directory}").make(folder=True)
    home.add([(name, directory, frozenset())])
    if special_uses:
        with home.index.transaction():
            before = give_uses(home, home.row(name), special_uses)
        for row in before:
            home.tell(Step(row.id, annotation=SPECIAL_USE))


def delete(home: Home, name: str) -> None:
    """Delete a mailbox with its messages; its children stay.

    Raises CannotDo, NoSuchMailbox, OSError, sqlite3.Error."""
    if name == INBOX:
        raise CannotDo("INBOX cannot be deleted")
    if home.named(name) is None and _children(home, name):
        raise CannotDo("Not a mailbox itself, only has children")
    row = home.row(name)
    removed = f"{home.path}/removed.{row.id}"
    if home.deleted.keep:  # what the index knows of its messages goes with it
        folder = home.folder(name)
        with suppress(OSError):
            while catch_up(folder):
                pass
    with names_on_disk(home.root):
        os.rename(f"{home.root}/{row.directory}", removed)
    home.forget(row)
    if not home.deleted.take_mailbox(removed, row.directory):
        shutil.rmtree(removed, ignore_errors=True)


def rename(home: Home, old: str, new: str) -> None:
    """Give a mailbox and its children another name; of INBOX only the messages move, into a new mailbox.

    Raises CannotDo, NoSuchMailbox, MailboxExists, TooManyMailboxes, TooManyAnnotations, BadMailboxName,
    OSError, sqlite3.Error."""
    home.notice()
    taken = {row.name for row in home.rows()}
    if new in taken | virtual_parents(taken):
        raise MailboxExists()
    if old == INBOX:
        require_room_for(home, home.index.annotations.octets(home.row(INBOX).id))
        create(home, new)
        with home.index.transaction():  # they stay and go along (RFC 5464 §4.1)
            home.index.annotations.copy(home.row(INBOX).id, home.row(new).id)
        inbox = home.folder(INBOX)
        inbox.refresh()
        move(inbox, home.folder(new), [message.uid for message in home.index.messages(inbox.id)])
        return
    if new.startswith(old + SEPARATOR):
        raise CannotDo("A mailbox cannot move into itself")
    rows = _children(home, old)
    row = home.named(old)
    if row is not None:
        rows.insert(0, row)
    if not rows:
        raise NoSuchMailbox()
    _move(home, [(row, new + row.name[len(old) :]) for row in rows])


def _children(home: Home, name: str) -> list[MailboxRow]:
    return [row for row in home.rows() if row.name.startswith(name + SEPARATOR)]


def _move(home: Home, renames: list[tuple[MailboxRow, str]]) -> None:
    steps = [(row, name, directory_of(name)) for row, name in renames]
    with home.index.transaction(durable=True):
        for row, name, directory in steps:
            home.index.rename_mailbox(row.id, name, directory, row.directory)
    moved: list[tuple[MailboxRow, str]] = []
    try:
        with names_on_disk(home.root):
            for row, _, directory in steps:
                os.rename(f"{home.root}/{row.directory}", f"{home.root}/{directory}")
                moved.append((row, directory))
    except OSError:
        for row, directory in moved:
            with suppress(OSError):
                os.rename(f"{home.root}/{directory}", f"{home.root}/{row.directory}")
        with home.index.transaction(durable=True):
            for row, _, _ in steps:
                home.index.rename_mailbox(row.id, row.name, row.directory, None)
        raise
    with home.index.transaction():
        for row, _, _ in steps:
            home.index.mailbox_moved(row.id)
    for row, name, directory in steps:
        home.renamed(row, name, directory)
