"""Mail of another program into an account, as any program that delivers into a Maildir does it: a file in
`tmp`, synced, then renamed into `new` or `cur`. A running server notices it like everything else of that
kind.

To do it twice does no harm. A message from a Maildir keeps its base name; any other one gets a name that is
derived from its octets, and counted among its like. So what is there already is recognised, by its name and
its octets, and passed over. (A message of the mailbox that has come another way is not: from an mbox of
mail that is in the mailbox, everything comes a second time.)

What is complete stays when something goes wrong later; nothing partial is ever visible.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import blake2b
from typing import NamedTuple

from twisted_mta.durable import sync
from twisted_mta.store.errors import TooManyMailboxes
from twisted_mta.store.exchange.inventory import mailbox_directories
from twisted_mta.store.exchange.mail_source import Incoming, chunks, open_file
from twisted_mta.store.flags import INFO, is_keyword, tail_elsewhere
from twisted_mta.store.keyword_file import letters_of
from twisted_mta.store.maildir import (
    CUR,
    NEW,
    TMP,
    Maildir,
    NameSource,
    Place,
    TmpFile,
    sizes,
)
from twisted_mta.store.names import directory_of
from twisted_mta.store.quota import Room
from twisted_mta.store.space import require_space

BATCH = 100  # messages that are synced one right after the other, which is three times as fast
BATCH_OCTETS = 16 * 1024 * 1024  # after which a batch ends, too
_OURS = re.compile(r"\d+\.(I[0-9a-f]{32}N\d+)\.")
_LAST_SECOND = 10**11 - 1

Progress = Callable[[int], None]  # what has been read of the source, in its units
Kept = Callable[[list[tuple[Incoming, str]]], None]  # messages that are on the disk now; their base names


class Imported(NamedTuple):
    """How many messages are new, and how many were there already; keywords that could not be kept."""

    new: int
    known: int
    lost: frozenset[str]


class Importer:
    """Brings mail into the account whose Maildir is `root`. room: what still fits into the account; most: the
    mailboxes beyond which none are made."""

    def __init__(self, root: str, room: Room, names: NameSource, most: int | None = None) -> None:
        self._root = root
        self._room = room
        self._names = names
        self._most = most
        self.made: list[str] = []  # mailboxes that were not there
        self.new = 0  # messages that are in, of all sources

    def bring(
        self,
        source: Iterable[Incoming],
        mailbox: str,
        progress: Progress,
        kept: Kept = lambda messages: None,
    ) -> Imported:
        """All messages of the source, into the mailbox of that canonical name, which is made when it is
        missing. `kept` is told of messages that were there already, too.

        Raises OverQuota, TooManyMailboxes, BadMailboxName, OSError, and what the source raises; what came
        before is there then."""
        target = _Target(self.maildir(mailbox), self._room, self._names, kept)
        try:
            try:
                for message in source:
                    self._bring(message, target)
                    progress(message.position)
            finally:
                target.put()
        finally:
            self.new += target.new
        return Imported(target.new, target.known, frozenset(target.lost))

    def maildir(self, mailbox: str) -> Maildir:
        """The mailbox of that canonical name, which is made when it is missing.

        Raises TooManyMailboxes, BadMailboxName, OSError."""
        there = mailbox_directories(self._root)
        directory = there.get(mailbox)
        if directory is None:
            if self._most is not None and len(there) >= self._most:
                raise TooManyMailboxes(self._most)
            directory = directory_of(mailbox)
            self.made.append(mailbox)
            Maildir(f"{self._root}/{directory}").make(folder=True)
            sync(self._root)
        return Maildir(f"{self._root}/{directory}" if directory else self._root)

    def _bring(self, message: Incoming, target: _Target) -> None:
        tmp = TmpFile(f"{target.maildir.path}/{TMP}/{self._names.fresh()}", verbatim=not message.crlf)
        try:
            digest = blake2b(digest_size=16)
            octets = 0
            for data in message.content:
                require_space(tmp.path, len(data))
                tmp.write(data)
                digest.update(data)
                octets += len(data)
            name, known = target.name_for(message, digest.hexdigest())
        except BaseException:
            tmp.discard()
            raise
        if known:
            tmp.discard()
            target.recognise(message, name)
        else:
            target.add(_Arrival(tmp, name, message), octets)


def name_seconds(date: float | None) -> int:
    """What the base name of a message with that date begins with."""
    return int(min(max(date or 0, 0), _LAST_SECOND))


class _Arrival(NamedTuple):
    """A message that is all in `tmp`, but perhaps not yet on the disk; its base name."""

    tmp: TmpFile
    name: str
    message: Incoming


class _Target:
    """A mailbox that mail is brought into."""

    def __init__(self, maildir: Maildir, room: Room, names: NameSource, kept: Kept) -> None:
        self.maildir = maildir
        self._room = room
        self._kept = kept
        self._recognised: list[tuple[Incoming, str]] = []
        self.new = self.known = 0
        self.lost: set[str] = set()
        self._keywords: dict[str, str] = {}  # their letters
        self._hostname = names.hostname
        self._places = maildir.list()
        self._ours = {match[1] for name in self._places if (match := _OURS.match(name))}
        self._like: Counter[str] = Counter()  # messages met, by their octets
        self._arrivals: list[_Arrival] = []
        self._octets = 0  # of these

    def name_for(self, message: Incoming, digest: str) -> tuple[str, bool]:
        """The base name for a message with that digest, and whether it is here already."""
        if message.name:
            place = self._places.get(message.name)
            if place is None:
                return message.name, False
            if self._digest(message.name, place) == digest:
                return message.name, True
        self._like[digest] += 1
        unique = f"I{digest}N{self._like[digest]}"
        return f"{name_seconds(message.marks.date)}.{unique}.{self._hostname}", unique in self._ours

    def recognise(self, message: Incoming, name: str) -> None:
        """The message is here already. Raises as `put`."""
        self.known += 1
        self._recognised.append((message, name))
        if len(self._recognised) >= BATCH:
            self.put()

    def _digest(self, name: str, place: Place) -> str:
        """Of the message that has the name; "" when it is gone."""
        digest = blake2b(digest_size=16)
        try:
            file = open_file(self.maildir.file(name, place))
        except FileNotFoundError:  # renamed by whoever has changed its flags, or gone
            place = self.maildir.list().get(name, place)
            try:
                file = open_file(self.maildir.file(name, place))
            except FileNotFoundError:
                return ""
        try:
            for data in chunks(file):
                digest.update(data)
        finally:
            os.close(file)
        return digest.hexdigest()

    def add(self, arrival: _Arrival, octets: int) -> None:
        """The message, of so many octets, is all there. Raises as `put`."""
        self._arrivals.append(arrival)
        self._octets += octets
        if len(self._arrivals) >= BATCH or self._octets >= BATCH_OCTETS:
            self.put()

    def put(self) -> None:
        """Make what has arrived durable, and then visible. Raises OverQuota and OSError; what came before
        the message that they are about is there then."""
        arrivals, self._arrivals, self._octets = self._arrivals, [], 0
        recognised, self._recognised = self._recognised, []
        complete: list[tuple[str, str]] = []  # in tmp, and where they are to be
        try:
            for arrival in arrivals:
                complete.append(self._finish(arrival))
        finally:
            for arrival in arrivals[len(complete) :]:
                arrival.tmp.discard()
            for tmp, path in complete:
                os.rename(tmp, path)
                self.new += 1
            if complete:
                sync(f"{self.maildir.path}/{NEW}")
                sync(f"{self.maildir.path}/{CUR}")
            came = [(arrival.message, arrival.name) for arrival in arrivals[: len(complete)]]
            if came or recognised:
                self._kept(recognised + came)

    def _finish(self, arrival: _Arrival) -> tuple[str, str]:
        tmp, name, message = arrival
        written = tmp.finish()
        self._room.take(written.canonical)
        marks = message.marks
        if marks.date is not None:
            with suppress(OverflowError):  # a date that no file can have
                os.utime(written.path, (marks.date, marks.date))
        small = self._letters(marks.keywords)
        place = Place(NEW, sizes(written))
        if marks.old or marks.bits or small:
            place = Place(CUR, tail_elsewhere(place.tail + INFO + message.capitals, marks.bits, small))
        return written.path, self.maildir.file(name, place)

    def _letters(self, keywords: frozenset[str]) -> str:
        """What the keywords are in a file name."""
        new = keywords - self._keywords.keys() - self.lost
        if new:
            self._keywords |= letters_of(self.maildir.path, filter(is_keyword, new))
            self.lost |= new - self._keywords.keys()
        return "".join(self._keywords[keyword] for keyword in keywords if keyword in self._keywords)
