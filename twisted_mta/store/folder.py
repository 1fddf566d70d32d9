"""One mailbox on disk: its Maildir and its rows in the index, kept in agreement.

Everything here runs in the account's lane. What is committed is told as a `Step`, in order.

Other programs work on the Maildir too. What they did is noticed by the modification times of `new` and
`cur`; only when these changed is the directory read (`scan`). The times after our own work are taken
over without reading. Two things could hide behind them: a change within the clock tick of the last
look, and a change by others during our work. So after either the folder counts as unsettled and is read
once more later, at most for a fiftieth of the time.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from twisted_mta.store.changes import Step
from twisted_mta.store.columns import Counts
from twisted_mta.store.flags import small_letters, tail_bits, tail_with_bits
from twisted_mta.store.index.index import Index
from twisted_mta.store.index.rows import MailboxRow, Marked, Message, is_full
from twisted_mta.store.keyword_letters import KeywordLetters
from twisted_mta.store.maildir import CUR, NEW, Maildir, NameSource, Place, canonical_size

SETTLING = (
    2.0  # seconds after which a directory's time can no longer hide a change (FAT has two-second times)
)
SCAN_SHARE = 50  # an unsettled directory is read again after this many times what reading it took

_UNKNOWN = (-1, -1)


class Folder:
    """The mailbox of `row`, inside the Maildir++ at `root`."""

    def __init__(
        self,
        row: MailboxRow,
        root: str,
        index: Index,
        names: NameSource,
        tell: Callable[[Step], None],
        report: Callable[[str], None],
    ) -> None:
        self.id = row.id
        self.name = row.name
        self.uid_validity = row.uid_validity
        self.object_id = row.object_id
        self.counted: tuple[int, Counts] | None = None  # at that mod-sequence
        self.discarding: Callable[[Folder], Callable[[Message], None]] = _removing  # what expunged files meet
        self.maildir = Maildir(f"{root}/{row.directory}" if row.directory else root, report)
        self.index = index
        self.names = names
        self.tell = tell
        self.report = report
        self._stamp = row.stamp
        self._settled = row.settled
        self._kept = row.stamp, row.settled  # the two as the index has them; it may be told later
        self._look_again = names.seconds() + SETTLING  # when an unsettled folder is due
        self._scan_cost = 0.0
        self._letters: KeywordLetters | None = None
        self._spellings: dict[str, str] | None = None  # keywords in use, by their lower case

    # Agreement of directory and index

    def refresh(self) -> bool:
        """Take over what others did, if anything. True when the folder is `undisturbed` since.

        Raises OSError, sqlite3.Error.

        On a full disk that waits until there is space: what the index has is of use meanwhile."""
        if not self.is_due():
            return True
        try:
            self.scan()
        except sqlite3.OperationalError as error:
            if not is_full(error):
                raise
            self.forget_stamp()
        return self.undisturbed()

    def is_due(self) -> bool:
        """True when others may have changed the directory since the last look. Raises OSError."""
        if self.maildir.stamp() != self._stamp:
            return True
        return not self._settled and self.names.seconds() >= self._look_again

    def scan(self) -> None:
        """Read the directory and take over what others did. Raises OSError, sqlite3.Error."""
        started = self.names.seconds()
        stamp = self.maildir.stamp()
        self._see_letters(self.letters.look)
        strange, moved, missing = self._compare()
        complete = self._adopt(strange)
        self._follow(moved, missing)
        now = self.names.seconds()
        self._scan_cost = now - started
        self._look_again = now + max(SETTLING, SCAN_SHARE * self._scan_cost)
        settled = complete and all(abs(started - nanoseconds / 1e9) > SETTLING for nanoseconds in stamp)
        self._stamp, self._settled = stamp, settled
        self.keep_stamp()

    def _compare(self) -> tuple[dict[str, Place], list[tuple[Message, Place]], list[Message]]:
        """Files without a row, messages whose file is somewhere else now, messages without a file.

        Almost all files are where the index has them: whole names are compared first, as sets."""
        files = self.maildir.files()
        rows = self.index.places(self.id)
        known: dict[str, dict[str, int]] = {directory: {} for directory in files}
        for uid, name, directory, tail in rows:
            known[directory][name + tail] = uid
        strange = self.maildir.places({each: files[each] - known[each].keys() for each in files})
        astray = [known[each][file] for each in files for file in known[each].keys() - files[each]]
        missing = self.index.messages(self.id, astray)
        moved = [(each, strange.pop(each.name)) for each in missing if each.name in strange]
        found = {message.uid for message, _ in moved}
        missing = [each for each in missing if each.uid not in found]
        if strange:
            moved += self._second_names(strange, rows)
        if missing:  # a file that is renamed while a directory is read may be left out: look twice
            again = self.maildir.list()
            moved += [(message, again[message.name]) for message in missing if message.name in again]
            missing = [message for message in missing if message.name not in again]
        return strange, moved, missing

    def _second_names(
        self, strange: dict[str, Place], rows: Sequence[tuple[int, str, str, str]]
    ) -> list[tuple[Message, Place]]:
        """Take files out of `strange` that bear the name of a message which is where it should be. One that
        stands in `cur` has been moved from `new` this very moment; any other is no message of its own."""
        moved = []
        for uid, name, directory, _ in rows:
            place = strange.pop(name, None)
            if place is not None and (directory, place.directory) == (NEW, CUR):
                moved += [(message, place) for message in self.index.messages(self.id, [uid])]
        return moved

    def _adopt(self, strange: dict[str, Place]) -> bool:
        """Files without a row: messages that others delivered, or that a crash left without one. False when
        one of them could not be read, and is to be tried again."""
        arrivals = []
        complete = True
        for name, place in strange.items():
            try:
                row = self._row_of(name, place)
            except FileNotFoundError:
                continue  # gone again
            except OSError:
                complete = False
                continue
            if row is not None:
                arrivals.append((_seconds_in(name, row.internal_date), name, row))
        if arrivals:
            self.index.reserve(self.id, len(arrivals))
            with self.index.transaction():
                added = self.number(row for _, _, row in sorted(arrivals))
            self.tell(Step(self.id, added[0].modseq, added=added))
        return complete

    def _row_of(self, name: str, place: Place) -> Message | None:
        """The row for a message file of others; None for what is no regular file. Raises OSError."""
        path = self.maildir.file(name, place)
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode):
            return None
        directory, tail = place
        size = canonical_size(tail, path, found.st_size)
        flags, keywords = tail_bits(tail), self._keywords_in(tail)
        saved = found.st_ctime  # its renaming into the mailbox, or the last one since
        return Message(0, name, directory, tail, flags, keywords, size, found.st_mtime, 0, 0, saved)

    def _follow(self, moved: list[tuple[Message, Place]], missing: list[Message]) -> None:
        """Renames and removals by others. Only the letters that they changed change flags here."""
        if not moved and not missing:
            return
        renamed, changed = [], []
        expunged = [message.uid for message in missing]
        with self.index.transaction():
            modseq = self.index.marks(self.id)[2] + 1
            for message, place in sorted(moved):
                flags, keywords = self._merged(message, place.tail)
                if (flags, keywords) == (message.flags, message.keywords):
                    renamed.append(replaced(message, *place, flags, keywords, message.modseq))
                else:
                    changed.append(replaced(message, *place, flags, keywords, modseq))
            self.index.update(self.id, renamed + changed)
            self.index.remove(self.id, expunged, modseq)
            if changed or expunged:
                self.index.next_modseq(self.id)
        if changed or expunged:
            self.tell(Step(self.id, modseq, changed=_by_flags(changed), expunged=expunged))

    def _merged(self, message: Message, tail: str) -> tuple[int, str]:
        """The flags and keywords of a message whose file has this tail now."""
        touched = tail_bits(message.tail) ^ tail_bits(tail)
        flags = message.flags & ~touched | tail_bits(tail) & touched
        small = small_letters(tail)
        keywords = message.keywords
        if touched_small := small_letters(message.tail) ^ small:
            gone = {self.letters.names.get(letter, "").lower() for letter in touched_small - small}
            words = {keyword for keyword in keywords.split() if keyword.lower() not in gone}
            new = (self.letters.names[each] for each in touched_small & small if each in self.letters.names)
            keywords = self.spelled({*words, *new})
        return flags, keywords

    # Keywords

    @property
    def letters(self) -> KeywordLetters:
        """The letters of keywords in file names, as of the last look."""
        if self._letters is None:
            self._letters = KeywordLetters(self.maildir.path, self.index.letters(self.id))
        return self._letters

    def give_letters(self, keywords: Iterable[str]) -> bool:
        """Keywords get letters if they can. True when any letter has another meaning now, which may have
        changed keywords of messages. Raises as `KeywordLetters.give`, sqlite3.Error."""
        before = self.letters.names
        if lacking := self.letters.lacking(keywords):
            self._see_letters(lambda: self.letters.give(lacking))
        return self.letters.names != before

    def _see_letters(self, look: Callable[[], None]) -> None:
        """Letters that mean something else now change the keywords of the messages that have them."""
        letters = self.letters
        before = letters.names
        look()
        if letters.names == before:
            return
        new = [each for each in letters.names if letters.names[each] != before.get(each)]
        marked = []
        try:
            with self.index.transaction():
                self.index.set_letters(self.id, letters.names)
                messages = self.index.with_letters(self.id, new)
                changed = [
                    message._replace(keywords=keywords)
                    for message in messages
                    if (keywords := self._renamed(message, before, new)) != message.keywords
                ]
                if changed:
                    modseq = self.index.next_modseq(self.id)
                    marked = _by_flags(changed)
                    for each in marked:
                        self.index.mark(self.id, each, modseq)
        except BaseException:
            self._letters = None
            raise
        if marked:
            self.tell(Step(self.id, modseq, changed=marked))

    def _renamed(self, message: Message, before: Mapping[str, str], new: Iterable[str]) -> str:
        """The keywords of a message when those letters have new meanings."""
        there = small_letters(message.tail) & set(new)
        words = set(message.keywords.split()) - {before.get(letter, "") for letter in there}
        return self.spelled(words | {self.letters.names[letter] for letter in there})

    def _keywords_in(self, tail: str) -> str:
        small = small_letters(tail)
        if not small:
            return ""
        return self.spelled({self.letters.names[each] for each in small if each in self.letters.names})

    def tail_for(self, message: Message) -> str:
        """How the message's file should end."""
        letters = self.letters
        return tail_with_bits(
            message.tail, message.flags, letters.of(message.keywords.split()), letters.names.keys()
        )

    def number(self, rows: Iterable[Message]) -> list[Message]:
        """Give rows their UIDs, and emails of their own unless they have some, and add them to the index,
        within a transaction."""
        rows = list(rows)
        first, modseq = self.index.take_uids(self.id, len(rows))
        new = sum(not row.email for row in rows)
        emails = itertools.count(self.index.emails.take(new) if new else 0)
        now = self.names.seconds()
        added = [
            _numbered(row, uid, modseq, row.email or next(emails), row.save_date or now)
            for uid, row in enumerate(rows, first)
        ]
        self.index.add(self.id, added)
        if any(row.keywords and self.letters.lacking(row.keywords.split()) for row in added):
            self.index.behind.add(self.id, first, first + len(added) - 1)
        return added

    def take_over(self, uids: Mapping[str, int], keywords: Mapping[str, frozenset[str]]) -> None:
        """Messages that have no row yet get these UIDs, by base name, and these keywords besides those that
        their letters tell. Raises OSError, sqlite3.Error."""
        self._see_letters(self.letters.look)
        rows = []
        for name, place in self.maildir.list().items():
            if name in uids:
                with suppress(OSError):  # a later scan finds it again, as a new message
                    row = self._row_of(name, place)
                    if row is not None:
                        words = self.spelled({*row.keywords.split(), *keywords.get(name, ())})
                        rows.append(row._replace(uid=uids[name], keywords=words))
        rows.sort()
        if not rows:
            return
        recent = min((row.uid for row in rows if row.directory == NEW), default=rows[-1].uid + 1)
        with self.index.transaction(durable=True):
            modseq = self.index.next_modseq(self.id)
            emails = itertools.count(self.index.emails.take(len(rows)))
            added = [row._replace(modseq=modseq, email=next(emails)) for row in rows]
            self.index.add(self.id, added)
            self.index.set_recent_from(self.id, recent)
            self.index.behind.add(self.id, added[0].uid, added[-1].uid)
        self.tell(Step(self.id, modseq, added=added))

    def spelled(self, keywords: Iterable[str]) -> str:
        """Keywords as the index holds them. They differ in more than case (RFC 9051 §2.3.2): the spelling
        that the mailbox has seen first wins."""
        wanted = sorted(keywords)
        if not wanted:
            return ""
        if self._spellings is None:
            known = self.index.spellings(self.id)
            self._spellings = {keyword.lower(): keyword for keyword in known}
        return " ".join(sorted({self._spellings.setdefault(each.lower(), each) for each in wanted}))

    # Our own work

    def undisturbed(self) -> bool:
        """True when nobody else has changed the directory since the last look; to be asked before work."""
        return self.maildir.stamp() == self._stamp

    @contextmanager
    def committing(self, undisturbed: bool) -> Iterator[None]:
        """A transaction that closes a piece of work on the directory, whose new times it takes over."""
        try:
            with self.index.transaction():
                yield
                self.take_stamp(undisturbed)
        except BaseException:
            self.forget_stamp()
            raise

    def take_stamp(self, undisturbed: bool) -> None:
        """Take the directory's times over after our own work, within the transaction that closes it. The
        index is told before it is closed: until then it has times that do not come again, so that after a
        crash the directory is read."""
        stamp = self.maildir.stamp()
        if undisturbed and stamp != self._stamp:
            if self._settled:
                self._look_again = self.names.seconds() + max(SETTLING, SCAN_SHARE * self._scan_cost)
            self._stamp, self._settled = stamp, False

    def keep_stamp(self) -> None:
        """Have the index know at which times it agrees with the directory. Raises sqlite3.Error."""
        stamp = self._stamp, self._settled
        if self._stamp != _UNKNOWN and stamp != self._kept:
            with self.index.transaction():
                self.index.set_stamp(self.id, *stamp)
            self._kept = stamp

    def file(self, message: Message) -> str:
        """The path of the message's file as last seen."""
        return f"{self.maildir.path}/{message.directory}/{message.name}{message.tail}"

    def rename(self, message: Message, tail: str) -> bool:
        """Move the message's file into `cur` with this tail. False when it is not where it was last seen."""
        if message.tail == tail and message.directory == CUR:
            return True
        try:
            os.rename(self.file(message), f"{self.maildir.path}/{CUR}/{message.name}{tail}")
        except FileNotFoundError:
            return False
        return True

    def discard(self, message: Message) -> None:
        """Take the message's file out of the mailbox, by whatever name another program has given it; one that
        is gone is gone. Its row is the caller's matter. Raises OSError."""
        discard = self.discarding(self)
        try:
            discard(message)
        except FileNotFoundError:
            place = self.maildir.list().get(message.name)
            if place is not None:
                discard(message._replace(directory=place.directory, tail=place.tail))

    def forget_stamp(self) -> None:
        """Something was left half done: read the directory at the next look."""
        self._stamp = _UNKNOWN

    def expunge(self, uids: Sequence[int]) -> list[int]:
        """Remove messages: first the files, then the rows, so that a crash between resurrects nothing, and
        a full disk has space again when the rows are to be written.

        Returns the UIDs that this call removed, ascending. Raises OSError, sqlite3.Error."""
        undisturbed = self.refresh()
        removed, astray = self._expunge(self.index.messages(self.id, uids), undisturbed)
        if astray:  # another program renamed them this very moment
            places = self.maildir.list()
            found = [
                message._replace(directory=places[message.name].directory, tail=places[message.name].tail)
                for message in astray
                if message.name in places
            ]
            removed = [
                *removed,
                *self._expunge(found, self.undisturbed())[0],
            ]  # the step that was told keeps its own
        return sorted(removed)

    def _expunge(self, messages: Sequence[Message], undisturbed: bool) -> tuple[list[int], list[Message]]:
        """Returns the UIDs that are removed, and the messages whose file is not where it was seen."""
        removed: list[int] = []
        astray: list[Message] = []
        failure: OSError | None = None
        discard = self.discarding(self)
        for message in messages:
            try:
                discard(message)
                removed.append(message.uid)
            except FileNotFoundError:
                astray.append(message)
            except OSError as error:
                failure = error
                break
        if removed:
            with self.committing(undisturbed):
                modseq = self.index.next_modseq(self.id)
                self.index.remove(self.id, removed, modseq)
            self.tell(Step(self.id, modseq, expunged=removed))
        if failure:
            raise failure
        return removed, astray


def _removing(folder: Folder) -> Callable[[Message], None]:
    """Nothing is kept of what is expunged."""
    return lambda message: os.unlink(folder.file(message))


def replaced(message: Message, directory: str, tail: str, flags: int, keywords: str, modseq: int) -> Message:
    """The message with other flags at another place."""
    uid, name, _, _, _, _, size, date, _, email, saved = message
    return Message(uid, name, directory, tail, flags, keywords, size, date, modseq, email, saved)


def _numbered(row: Message, uid: int, modseq: int, email: int, saved: float) -> Message:
    """The row of a new message with its numbers. (`_replace` would take three times as long.)"""
    _, name, directory, tail, flags, keywords, size, date, _, _, _ = row
    return Message(uid, name, directory, tail, flags, keywords, size, date, modseq, email, saved)


def _by_flags(messages: Iterable[Message]) -> list[Marked]:
    found: dict[tuple[int, str], list[int]] = {}
    for message in sorted(messages):
        found.setdefault((message.flags, message.keywords), []).append(message.uid)
    return [Marked(*combination, uids) for combination, uids in found.items()]


def _seconds_in(name: str, modified: float) -> int:
    """The time of delivery by which messages of others are put in order: the number in the name."""
    number, _, _ = name.partition(".")
    return int(number) if number.isdecimal() and len(number) < 12 else int(modified)
