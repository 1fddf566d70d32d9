"""The mail of an account as another process finds it: the files, and what the index adds to them.

Nothing is changed, and the files decide: a message is here when its file is, whether a server has noticed
it or not. The index tells what files cannot, or not yet: UIDs, keywords, flags that have been set and are
still to reach the file's name. Without an index, or with a broken one, there are the files all the same.

A server may be at work meanwhile. The rows are read before the files, so a message that is expunged in
between is a row without a file; who takes that for a fault looks again (see verification).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple, Self

from twisted_mta.store import names
from twisted_mta.store.flags import DELETED, INFO, SEEN, tail_bits
from twisted_mta.store.home import INDEX
from twisted_mta.store.index.survey import IndexedMessage, IndexSurvey, MailboxMarks, Unreadable
from twisted_mta.store.keyword_file import read_keywords
from twisted_mta.store.maildir import CUR, Maildir, Place, canonical_size
from twisted_mta.store.quota import Usage


class Totals(NamedTuple):
    """What a mailbox holds; `octets` with CRLF line ends."""

    messages: int
    unseen: int
    deleted: int
    octets: int


class Item(NamedTuple):
    """A message: its base name and place, its flags and keywords; its row, unless the index has none."""

    name: str
    place: Place
    bits: int
    keywords: frozenset[str]
    row: IndexedMessage | None


class Inventory:
    """The account whose directory is `path`. `index`: None when there is none, or none of use; `trouble` then
    says why the one that is there is of none. Raises OSError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.root = f"{path}/Maildir"
        self.index: IndexSurvey | None = None
        self.trouble: Unreadable | None = None
        self._open = ExitStack()
        if os.path.exists(f"{path}/{INDEX}"):
            try:
                self.index = self._open.enter_context(IndexSurvey(f"{path}/{INDEX}"))
                self._marks = {marks.directory: marks for marks in self.index.mailboxes()}
            except Unreadable as error:
                self.give_up(error)
        if self.index is None:
            self._marks = {}
        self.directories = mailbox_directories(self.root)
        for marks in self._marks.values():  # of two directories with one name the server has taken one
            if marks.name in self.directories and os.path.isdir(f"{self.root}/{marks.directory}/{CUR}"):
                self.directories[marks.name] = marks.directory

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def give_up(self, error: Unreadable) -> None:
        """The index proves to be of no use."""
        self.trouble, self.index, self._marks = error, None, {}

    def marks(self) -> dict[str, MailboxMarks]:
        """What the index knows of the mailboxes, by their names."""
        return {marks.name: marks for marks in self._marks.values()}

    def maildir(self, name: str) -> Maildir:
        """The mailbox of that canonical name, which must be among `directories`."""
        directory = self.directories[name]
        return Maildir(f"{self.root}/{directory}" if directory else self.root)

    def rows(self, name: str) -> list[IndexedMessage]:
        """The messages of the mailbox that the index has."""
        marks = self._marks.get(self.directories[name])
        if marks is None or self.index is None:
            return []
        try:
            return self.index.messages(marks.number)
        except Unreadable as error:
            self.give_up(error)
            return []

    def items(self, name: str) -> Iterator[Item]:
        """The messages of the mailbox, those with a UID first and by UID. Raises OSError."""
        rows = self.rows(name)
        maildir = self.maildir(name)
        places, letters = maildir.list(), read_keywords(maildir.path)
        for row in rows:
            place = places.pop(row.name, None)
            if place is not None:
                touched = tail_bits(row.tail) ^ tail_bits(place.tail)
                bits = row.flags & ~touched | tail_bits(place.tail) & touched
                now, before = _keywords(place.tail, letters), _keywords(row.tail, letters)
                keywords = frozenset(row.keywords.split()) - (before - now) | (now - before)
                yield Item(row.name, place, bits, keywords, row)
        for base, place in sorted(places.items()):
            yield Item(base, place, tail_bits(place.tail), _keywords(place.tail, letters), None)

    def size(self, name: str, item: Item) -> int | None:
        """The octets of a message with CRLF line ends; None when it is none, or gone. Raises OSError."""
        if item.row is not None:
            return item.row.size
        path = self.maildir(name).file(item.name, item.place)
        try:
            found = os.lstat(path)
            return (
                canonical_size(item.place.tail, path, found.st_size) if stat.S_ISREG(found.st_mode) else None
            )
        except FileNotFoundError:
            return None

    def totals(self, name: str) -> Totals:
        """What the mailbox holds. Raises OSError."""
        messages = unseen = deleted = octets = 0
        for item in self.items(name):
            size = self.size(name, item)
            if size is None:
                continue
            messages += 1
            octets += size
            unseen += not item.bits & SEEN
            deleted += bool(item.bits & DELETED)
        return Totals(messages, unseen, deleted, octets)

    def usage(self) -> Usage:
        """What all mailboxes hold together. Raises OSError."""
        each = [self.totals(name) for name in self.directories]
        return Usage(sum(totals.octets for totals in each), sum(totals.messages for totals in each))


def _keywords(tail: str, letters: dict[str, str]) -> frozenset[str]:
    """The keywords in a file name."""
    return frozenset(letters[letter] for letter in tail.partition(INFO)[2] if letter in letters)


def mailbox_directories(root: str) -> dict[str, str]:
    """The directory, below a Maildir++, of every mailbox in it, by name with INBOX first. Raises OSError."""
    found: dict[str, str] = {}
    if os.path.isdir(f"{root}/{CUR}"):
        found[names.INBOX] = ""
    if os.path.isdir(root):
        for directory in sorted(entry.name for entry in os.scandir(root) if entry.name.startswith(".")):
            name = names.name_of(directory) if os.path.isdir(f"{root}/{directory}/{CUR}") else None
            if name is not None:
                found.setdefault(name, directory)
    return dict(sorted(found.items(), key=lambda each: (each[0] != names.INBOX, each[0])))
