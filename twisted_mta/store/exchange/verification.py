"""Does an account's index agree with its Maildir, and is everything in it sound?

Read from outside, without disturbing a server that is at work. What a server may be about to do looks like
a fault for a moment (an expunged file whose row is still there), so what looks wrong is looked at again,
and only counts when it stays. What the server will put right by itself is told, but is no fault.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from twisted_mta.store.exchange.inventory import Inventory
from twisted_mta.store.folder import SETTLING
from twisted_mta.store.fulltext import FULLTEXT, find_text
from twisted_mta.store.home import INDEX
from twisted_mta.store.index.survey import IndexedMessage, IndexSurvey, MailboxMarks, Unreadable, faults_of
from twisted_mta.store.maildir import CUR, Maildir, base_name, canonical_size, is_text

LOOKS = 3  # at what seems wrong

Progress = Callable[[int], None]  # messages looked at since the last call

ANEW = (
    "stop the server and restore {index} from a backup; or move it away: the server then builds it anew from"
    " the mail, with a new UIDVALIDITY and without keywords, and mail programs load everything again"
)


class Finding(NamedTuple):
    """Something that was found. mailbox: its name, "" for the account. what: one line. remedy: what to do, or
    what the server does. fault: it is wrong, and stays so."""

    mailbox: str
    what: str
    remedy: str
    fault: bool = True


def verify(
    path: str, pause: Callable[[], None], progress: Progress = lambda count: None
) -> Iterator[Finding]:
    """Everything that is to be said of the account whose directory is `path`. `pause` waits a moment until
    another look. Raises OSError when the Maildir cannot be read."""
    anew = ANEW.format(index=f"{path}/{INDEX}")
    if not os.path.isdir(f"{path}/Maildir"):
        if os.path.exists(f"{path}/{INDEX}"):
            yield Finding(
                "",
                f"{path}/Maildir is missing",
                f"restore it from a backup; or, to begin without mail, remove {path}/{INDEX}",
            )
        return
    with Inventory(path) as inventory:
        if "INBOX" not in inventory.directories:
            yield Finding("", f"{path}/Maildir/{CUR} is missing", f"make it: mkdir {path}/Maildir/{CUR}")
        yield from _index(inventory, anew)
        if inventory.index is not None:
            yield from _hierarchy(inventory)
        for name in inventory.directories:
            yield from _mailbox(inventory, name, anew, pause, progress)
        if inventory.index is not None:
            yield from _knowledge(inventory.index, path)


def _index(inventory: Inventory, anew: str) -> Iterator[Finding]:
    """The database as such."""
    if inventory.index is None:
        if inventory.trouble is None:
            yield Finding("", "there is no index yet", "the server makes it when the account is used", False)
        else:
            trouble = inventory.trouble
            remedy = anew if trouble.damaged else "only the files were looked at; verify once more later"
            yield Finding("", f"{INDEX}: {trouble}", remedy, not trouble.harmless)
        return
    try:
        for fault in inventory.index.faults():
            yield Finding("", f"{INDEX} is damaged: {fault}", anew)
        counted, real = inventory.index.usage()
    except Unreadable as error:
        inventory.give_up(error)
        yield Finding("", f"{INDEX} is damaged: {error}", anew)
        return
    if counted != real:
        what = "{:,} octets in {:,} messages"
        yield Finding(
            "", f"the quota counts {what.format(*counted)}, but there are {what.format(*real)}", anew
        )


def _hierarchy(inventory: Inventory) -> Iterator[Finding]:
    """Mailboxes in the index and directories on the disk."""
    marks = inventory.marks()
    for name in marks.keys() - inventory.directories.keys():
        yield Finding(
            name,
            f"its directory {inventory.root}/{marks[name].directory} is gone",
            "the server forgets the mailbox at its next look: restore the directory from a backup before,"
            " unless it was removed on purpose",
        )
    for name in inventory.directories.keys() - marks.keys():
        yield Finding(name, "not in the index yet", "the server takes it over at its next look", False)
    for directory in sorted(os.listdir(inventory.root)):
        strange = directory.startswith(".") and directory not in inventory.directories.values()
        if strange and os.path.isdir(f"{inventory.root}/{directory}/{CUR}"):
            yield Finding(
                "",
                f"the directory {os.fsencode(directory)!r} is no mailbox: its name cannot be read, or is that"
                " of another one",
                "the server passes it over; rename it",
            )


def _mailbox(
    inventory: Inventory, name: str, anew: str, pause: Callable[[], None], progress: Progress
) -> Iterator[Finding]:
    """One mailbox: its numbers, its files."""
    marks = inventory.marks().get(name)
    maildir = inventory.maildir(name)
    suspects: set[str] | None = None  # base names; None: all
    for look in range(LOOKS):
        rows = inventory.rows(name)
        findings, suspects = _compare(
            maildir, marks, rows, suspects, progress if look == 0 else lambda count: None
        )
        if not suspects or look == LOOKS - 1:
            break
        pause()
    yield from (Finding(name, *each) for each in findings)
    if marks is not None:
        yield from (Finding(name, what, anew) for what in _numbers(marks, rows))


Said = tuple[str, str, bool]


def _compare(
    maildir: Maildir,
    marks: MailboxMarks | None,
    rows: Iterable[IndexedMessage],
    among: set[str] | None,
    progress: Progress,
) -> tuple[list[Said], set[str]]:
    """What is to be said of rows and files, and the base names of the messages with which something seems
    wrong. among: only these are looked at closely, as the others have been found right."""
    said: list[Said] = []
    suspects: set[str] = set()
    files = maildir.files()
    places = maildir.places(files)
    for row in rows:
        place = places.pop(row.name, None)
        if among is None or row.name in among:
            if place is None:
                what, remedy = f"UID {row.uid}: its file {row.name} is gone", GONE
            else:
                what, remedy = _size(maildir.file(row.name, place), place.tail, row), CHANGED
            if what:
                said.append((what, remedy, True))
                suspects.add(row.name)
        progress(1)
    if places and marks is not None:
        said.append(_unnoticed(maildir, marks, places))
    said += _names(files)
    return said, suspects


GONE = (
    "the server takes the message for expunged at its next look: restore the file from a backup before,"
    " unless it was removed on purpose"
)
CHANGED = (
    "another program has changed the file in place: restore it from a backup; or move it into `new` of its"
    " mailbox under another name, and it becomes a message of its own"
)


def _size(path: str, tail: str, row: IndexedMessage) -> str:
    """What is wrong with the file of a message, or ""."""
    try:
        found = os.lstat(path).st_size
        size = canonical_size(tail, path, found)
    except FileNotFoundError:
        return f"UID {row.uid}: its file {row.name} is gone"
    except OSError as error:
        return f"UID {row.uid}: {path} cannot be read: {error.strerror}"
    if size == row.size:
        return ""
    return f"UID {row.uid}: {path} has {size:,} octets (with CRLF), the index says {row.size:,}"


def _unnoticed(maildir: Maildir, marks: MailboxMarks, places: Iterable[str]) -> Said:
    """Files without a row."""
    names = sorted(places)
    are = "file is" if len(names) == 1 else "files are"
    what = f"{len(names):,} {are} not in the index, the first {names[0]}"
    if marks.settled and maildir.stamp() == marks.stamp:
        return what, f"the server does not know of them; have it look again: touch {maildir.path}/{CUR}", True
    return what, f"the server takes them in at its next look, {SETTLING:g} seconds later at most", False


def _names(files: dict[str, set[str]]) -> Iterator[Said]:
    """Names that no message should have."""
    names = [file for some in files.values() for file in some if not file.startswith(".")]
    strange = [file for file in names if not is_text(file)]
    if strange:
        first = os.fsencode(strange[0])
        yield (
            f"{len(strange):,} files have names that are not UTF-8, the first {first!r}",
            "the server passes them over; rename them",
            True,
        )
    for base, count in Counter(map(base_name, filter(is_text, names))).items():
        if count > 1:
            yield (
                f"{count} files have the base name {base}",
                "one is taken for the message; remove the others, or rename them to be messages of their own",
                True,
            )


def _numbers(marks: MailboxMarks, rows: Iterable[IndexedMessage]) -> Iterator[str]:
    """What is wrong with UIDs."""
    last = 0
    for row in rows:
        if row.uid <= last:
            yield f"UID {row.uid} follows UID {last}"
        last = row.uid
    if last >= marks.uid_next:
        yield f"there is a UID {last}, but the next one to be given is {marks.uid_next}"
    if marks.uid_next > marks.uid_reserved:
        yield f"the next UID, {marks.uid_next}, is not reserved"


def _knowledge(index: IndexSurvey, path: str) -> Iterator[Finding]:
    """What is known of contents, and the full text."""
    later = "the server does it in the background; to wait for it: mta mailbox reindex"
    text = f"{path}/{FULLTEXT}"
    faults = faults_of(text)
    for fault in faults:
        yield Finding("", f"{FULLTEXT} is damaged: {fault}", "have it made anew: mta mailbox reindex")
    try:
        emails, unread = index.emails()
        epoch = index.epoch()
    except Unreadable:
        return  # said already
    if unread:
        yield Finding("", f"{unread:,} messages have not been looked into yet", later, False)
    if not faults:
        missing = len(emails) - len(find_text(text, epoch, emails, "body", "").emails)
        if missing:
            yield Finding("", f"{missing:,} messages are not in the full text yet", later, False)
