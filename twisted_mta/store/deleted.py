"""What was expunged is kept for a while, so that `mta undelete` can bring it back.

    <account>/deleted/<hour>/<directory>/   a Maildir for each mailbox that lost some then (UTC): INBOX, or
                                            the mailbox's directory with its dot
    <account>/deleted/<hour>.<MMSS>/…       a mailbox that was deleted itself, in that minute and second

That is beside the Maildir, where no mail program looks, and it does not count against the quota. A message
is renamed into it, with its flags: its file's change time is that moment. A mailbox goes there as a whole,
and no message of a later one of its name joins it. What comes back is not marked as deleted any more; that is
the matter of whoever brings it.
Hours go again when they are too old, and the oldest first when all of it is more than half of what the
account may keep. On a disk that is nearly full nothing is kept, and what was goes, the oldest of all accounts
first: what makes room must not wait for room.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import time
from calendar import timegm
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from twisted_mta.store.index.rows import Message
from twisted_mta.store.keyword_file import KEYWORDS
from twisted_mta.store.maildir import CUR, NEW, TMP, Maildir, Place
from twisted_mta.store.names import INBOX, name_of
from twisted_mta.store.space import is_nearly_full, is_tight

if TYPE_CHECKING:
    from twisted_mta.store.folder import Folder

DIRECTORY = "deleted"
SHARE = 2  # of what the account may keep: a half
SLICE = 500  # files that are removed in one visit
LOOK = 600.0  # seconds between two looks for what is too old

_HOUR = 3600.0
_HOURLY, _EXACT = "%Y-%m-%dT%H", "%Y-%m-%dT%H.%M%S"
_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d)(?:\.(\d{4}))?(?:-\d+)?\Z")
_SIZE = re.compile(r",S=(\d{1,15})\b")


class Kept(NamedTuple):
    """A mailbox's share of an hour. hour: its beginning, in seconds since the epoch. mailbox: its canonical
    name. path: of a Maildir. gone: when the mailbox itself was deleted; None: it was not."""

    hour: float
    mailbox: str
    path: str
    gone: float | None

    def deleted(self, file: str) -> float:
        """When the message in that file of the Maildir was. Raises OSError."""
        return os.stat(file).st_ctime if self.gone is None else self.gone


class Deleted:
    """That of the account at `home`. keep: seconds; 0: nothing is kept. most: octets; None: any number."""

    def __init__(self, home: str, seconds: Callable[[], float]) -> None:
        self.path = f"{home}/{DIRECTORY}"
        self.keep = 0.0
        self.most: Callable[[], int | None] = lambda: None
        self._seconds = seconds
        self._octets: int | None = None  # that are kept; None: not known
        self._looked = 0.0

    # Keeping

    def discarding(self, folder: Folder) -> Callable[[Message], None]:
        """What takes a message's file out of the folder. It raises OSError."""
        if not self._keeps(folder.maildir):
            return lambda message: os.unlink(folder.file(message))
        return lambda message: self._take(folder, message)

    def discard_file(self, maildir: Maildir, name: str, place: Place) -> None:
        """The same for a file of which no more is known. Raises OSError."""
        source = maildir.file(name, place)
        if not self._keeps(maildir):
            os.unlink(source)
            return
        self._put(maildir, source, name + place.tail, letters=True)
        self._octets = None

    def _keeps(self, maildir: Maildir) -> bool:
        return bool(self.keep) and not is_tight(maildir.path)

    def _take(self, folder: Folder, message: Message) -> None:
        if message.keywords:
            with suppress(OSError, sqlite3.Error):  # it goes without them
                folder.give_letters(message.keywords.split())
        name = f"{message.name}{folder.tail_for(message)}"
        kept = self._put(folder.maildir, folder.file(message), name, letters=bool(message.keywords))
        if kept and self._octets is not None:
            self._octets += message.size

    def _put(self, maildir: Maildir, source: str, name: str, *, letters: bool) -> bool:
        """The file of that Maildir goes under that name into the hour. letters: of keywords may be in it.
        False when it could not be kept. Raises OSError."""
        directory = os.path.basename(maildir.path)
        place = f"{self.path}/{self._now(_HOURLY)}/{directory if directory.startswith('.') else INBOX}"
        target = f"{place}/{CUR}/{name}"
        try:
            try:
                os.rename(source, target)
            except FileNotFoundError:
                os.stat(source)  # raises when that is what is missing
                os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
                Maildir(place).make(folder=False)
                os.rename(source, target)
        except FileNotFoundError:
            raise
        except OSError:  # whatever it is: expunged it has to be
            os.unlink(source)
            return False
        if letters:
            _keep_letters(maildir.path, place)
        return True

    def _now(self, form: str) -> str:
        return time.strftime(form, time.gmtime(self._seconds()))

    def take_mailbox(self, path: str, directory: str) -> bool:
        """The Maildir at `path`, which was the mailbox of that directory, as a whole. False when it is not to
        be kept, or cannot be."""
        if not self.keep or is_tight(path):
            return False
        moment = f"{self.path}/{self._now(_EXACT)}"
        place, number = f"{moment}/{directory}", 1
        while os.path.lexists(place):
            number += 1
            place = f"{moment}-{number}/{directory}"
        try:
            os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
            os.rename(path, place)
        except OSError:
            return False
        self._octets = None
        return True

    # Letting go

    def sweep(self) -> bool:
        """Remove a slice of what is too old, or too much. True when there is more. Raises OSError."""
        now = self._seconds()
        most = self.most()
        full = most is not None and self._octets is not None and self._octets > most
        if not full and self._octets is not None and now - self._looked < LOOK:
            return False
        hours = sorted(_hours(self.path))
        left = SLICE
        for hour, path, _ in hours:
            if hour + _HOUR + self.keep < now:
                left -= _remove(path, left)
                if left <= 0:
                    return True
        self._looked = now
        self._octets = sum(_octets(path) for _, path, _ in hours) if most is not None else 0
        for _, path, _ in hours:
            if most is None or self._octets <= most:
                break
            left -= _remove(path, left)
            if left <= 0:
                self._octets = most + 1
                return True
            self._octets = sum(_octets(path) for _, path, _ in hours)
        return False


def make_room(root: str, report: Callable[[str], object]) -> None:
    """While the disk is nearly full, remove what the accounts below `root` have kept, the oldest first.
    Blocks, long when it is much; beside the accounts at work."""
    gone = 0.0
    try:
        if not os.path.isdir(root) or not is_nearly_full(root):
            return
        kept_by_all = (each for path in Path(root).glob(f"*/*/{DIRECTORY}") for each in _hours(str(path)))
        for hour, path, _ in sorted(kept_by_all):
            if not is_nearly_full(root):
                break
            shutil.rmtree(path, ignore_errors=True)
            gone = hour + _HOUR
    except OSError as error:
        report(f"{root}: no room can be made: {error}")
    if gone:
        until = time.strftime("%Y-%m-%d %H:%M", time.gmtime(gone))
        report(f"{root}: the disk is nearly full; what was deleted before {until} UTC cannot be brought back")


def kept(home: str) -> Iterator[Kept]:
    """What the account at `home` has deleted, the oldest first. Raises OSError."""
    for hour, path, gone in sorted(_hours(f"{home}/{DIRECTORY}")):
        for directory in sorted(os.listdir(path)):
            mailbox = INBOX if directory == INBOX else name_of(directory)
            if mailbox is not None and os.path.isdir(f"{path}/{directory}/{CUR}"):
                yield Kept(hour, mailbox, f"{path}/{directory}", gone)


def brought_back(each: Kept, names: set[str]) -> None:
    """The messages with these base names are in their mailbox again. Raises OSError."""
    maildir = Maildir(each.path)
    for name, place in maildir.list().items():
        if name in names:
            with suppress(FileNotFoundError):
                os.unlink(maildir.file(name, place))
    if maildir.list():
        return
    if each.gone is not None:
        shutil.rmtree(each.path, ignore_errors=True)
    else:
        try:
            for directory in (CUR, NEW, TMP):
                os.rmdir(f"{each.path}/{directory}")
            with suppress(FileNotFoundError):
                os.unlink(f"{each.path}/{KEYWORDS}")
            os.rmdir(each.path)
        except OSError:  # a server that runs has put more of this hour there meanwhile, and that stays
            maildir.make(folder=False)
            return
    with suppress(OSError):
        os.rmdir(os.path.dirname(each.path))


def _keep_letters(source: str, place: str) -> None:
    """The letters of keywords mean in `place` what they mean in the mailbox."""
    with suppress(OSError):
        found = os.stat(f"{source}/{KEYWORDS}")
        with suppress(FileNotFoundError):
            if os.stat(f"{place}/{KEYWORDS}").st_mtime_ns == found.st_mtime_ns:
                return
        shutil.copy2(f"{source}/{KEYWORDS}", f"{place}/{KEYWORDS}")


def _hours(path: str) -> Iterator[tuple[float, str, float | None]]:
    """The beginning of each, its directory, and the second in it of which that is."""
    with suppress(FileNotFoundError):
        for entry in os.scandir(path):
            match = _NAME.match(entry.name)
            if match:
                hour = float(timegm(time.strptime(match[1], _HOURLY)))
                exact = hour + 60 * int(match[2][:2]) + int(match[2][2:]) if match[2] else None
                yield hour, entry.path, exact


def _octets(path: str) -> int:
    total = 0
    for directory, _, files in os.walk(path):
        if os.path.basename(directory) in (CUR, NEW):
            for file in files:
                size = _SIZE.search(file)
                with suppress(OSError):
                    total += int(size[1]) if size else os.stat(f"{directory}/{file}").st_size
    return total


def _remove(path: str, most: int) -> int:
    """Up to so many files of an hour, and the hour itself when it is empty then; how many."""
    count = 0
    for directory, _, files in os.walk(path):
        for file in files:
            if count >= most:
                return count
            with suppress(FileNotFoundError):
                os.unlink(f"{directory}/{file}")
            count += 1
    shutil.rmtree(path, ignore_errors=True)
    return count
