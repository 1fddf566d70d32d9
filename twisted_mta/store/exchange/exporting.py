"""An account's mail as files for other programs: a Maildir++, or a tree of mboxes.

Only files are read, and the index as far as it knows more than they do (keywords, flags on their way to a
file name); a server at work is not disturbed. What comes or goes meanwhile may be in the result or not.

A Maildir++ has keywords as Dovecot has them, the first 26 of each mailbox. mboxes are `INBOX.mbox`,
`Archive.mbox`, `Archive/2024.mbox`; one that is not complete yet ends in `.partial`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from twisted_mta.store.exchange.inventory import Inventory, Item
from twisted_mta.store.exchange.mail_source import Format, chunks, file_name, open_file
from twisted_mta.store.exchange.mbox import NOBODY, Marks, write_mbox
from twisted_mta.store.flags import INFO, tail_elsewhere
from twisted_mta.store.keyword_file import LETTERS, write_keywords
from twisted_mta.store.maildir import CUR, NEW, Maildir, Place
from twisted_mta.store.names import SEPARATOR, directory_of

Progress = Callable[[int], None]  # messages written since the last call

_RETURN_PATH = re.compile(rb"^Return-Path:[ \t]*<([!-;=?-~]{1,320})>", re.IGNORECASE | re.MULTILINE)
_BODY = re.compile(rb"\n\r?\n")


def export(inventory: Inventory, name: str, to: str, wanted: Format, progress: Progress) -> int:
    """Write one mailbox below the directory `to`; how many messages it has. Raises OSError."""
    write = _write_mbox if wanted == "mbox" else _write_maildir
    return write(_opened(inventory, name), name, to, progress)


Opened = Iterable[tuple[Item, int]]


def _opened(inventory: Inventory, name: str) -> Iterator[tuple[Item, int]]:
    """Every message of the mailbox with its file, which is open until the next one."""
    maildir = inventory.maildir(name)
    for item in inventory.items(name):
        try:
            file = open_file(maildir.file(item.name, item.place))
        except FileNotFoundError:  # it has other flags now, or has been expunged
            place = maildir.list().get(item.name)
            if place is None:
                continue
            item = item._replace(place=place)
            try:
                file = open_file(maildir.file(item.name, place))
            except FileNotFoundError:
                continue
        try:
            yield item, file
        finally:
            os.close(file)


def _write_maildir(messages: Opened, name: str, to: str, progress: Progress) -> int:
    directory = directory_of(name)
    target = Maildir(f"{to}/{directory}" if directory else to)
    target.make(folder=bool(directory))
    letters: dict[str, str] = {}
    count = 0
    for item, file in messages:
        with open(target.file(item.name, _place(item, letters)), "xb") as copy:
            for data in chunks(file):
                copy.write(data)
            copy.flush()
            with suppress(OverflowError):  # a date that no file can have
                os.utime(copy.fileno(), ns=_times(item, file))
        count += 1
        progress(1)
    if letters:
        write_keywords(target.path, letters)
    return count


def _place(item: Item, letters: dict[str, str]) -> Place:
    """The message's place in a Maildir; its keywords get letters as long as there are some."""
    for keyword in sorted(item.keywords - letters.keys())[: len(LETTERS) - len(letters)]:
        letters[keyword] = LETTERS[len(letters)]
    small = "".join(letters[keyword] for keyword in item.keywords if keyword in letters)
    tail = tail_elsewhere(item.place.tail, item.bits, small)
    if item.place.directory == CUR or item.bits or small:
        return Place(CUR, tail)
    return Place(NEW, tail.partition(INFO)[0])


def _times(item: Item, file: int) -> tuple[int, int]:
    """The internal date as a file's times, in nanoseconds."""
    modified = os.fstat(file).st_mtime_ns
    if item.row is not None and abs(item.row.internal_date - modified / 1e9) > 1e-3:
        modified = int(item.row.internal_date * 1e9)
    return modified, modified


def _write_mbox(messages: Opened, name: str, to: str, progress: Progress) -> int:
    path = "/".join([to, *map(file_name, name.split(SEPARATOR))]) + ".mbox"
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    count = 0
    with open(f"{path}.partial", "xb", buffering=1 << 20) as mbox:
        for item, file in messages:
            content = chunks(file)
            first = next(content, b"")
            date = _times(item, file)[0] / 1e9
            marks = Marks(date, item.bits, item.keywords, item.place.directory == CUR)
            write_mbox(mbox, marks, _sender(first), _joined(first, content))
            count += 1
            progress(1)
    os.rename(f"{path}.partial", path)
    return count


def _joined(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _sender(beginning: bytes) -> str:
    """The sender of the envelope, as the final delivery has noted it (RFC 5321 §4.4)."""
    body = _BODY.search(beginning)
    found = _RETURN_PATH.search(beginning, 0, body.start() + 1 if body else len(beginning))
    return found[1].decode("ascii") if found else NOBODY
