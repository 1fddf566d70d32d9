"""Mail of another program as it is found: a Maildir, an mbox, or a tree of either.

Mailboxes get their names from where they are: `.a.b` in a Maildir++ and `a/b` below any directory, as
mbsync and Dovecot lay them out; for an mbox the path without `.mbox`, and without the `.sbd` of
Thunderbird's directories. Symbolic links are not followed.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from twisted_mta.store.errors import BadMailboxName
from twisted_mta.store.exchange.mbox import CHUNK, Marks, Mbox
from twisted_mta.store.flags import INFO, tail_bits
from twisted_mta.store.keyword_file import read_keywords
from twisted_mta.store.maildir import CUR, NEW, TMP, Maildir, Place
from twisted_mta.store.names import INBOX, SEPARATOR, canonical_name, decode_utf7, name_of

Format = Literal["maildir", "mbox"]

_DEPTH = 30  # of directories
_UNIQUE = re.compile(r"\d{1,11}\.[^/:,]{1,150}\.[^/:,]{1,90}\Z")


class NoMail(Exception):
    """What is at the path is not to be read as mail; the text is for the operator."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message. content: its octets, to be read once and before the next message; with `crlf` their line
    ends are the file's and no part of the message. capitals: letters of a Maildir that are no flags of ours.
    name: a base name that no other message has, or "". position: octets of the source up to here."""

    marks: Marks
    content: Iterator[bytes]
    position: int
    crlf: bool = False
    capitals: str = ""
    name: str = ""


class MaildirSource:
    """The Maildir at `path`. Raises OSError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._maildir = Maildir(path)
        self._places = self._maildir.list()
        self.size = len(self._places)
        self.unit = "messages"
        self.passed_over = 0

    def __iter__(self) -> Iterator[Incoming]:
        keywords = read_keywords(self.path)
        for position, (name, place) in enumerate(sorted(self._places.items()), 1):
            try:
                file = open_file(self._maildir.file(name, place))
            except FileNotFoundError:
                continue  # removed, or renamed by another program; importing once more finds it
            try:
                yield Incoming(
                    _marks(place, os.fstat(file).st_mtime, keywords),
                    chunks(file),
                    position,
                    capitals=capitals(place.tail),
                    name=name if _UNIQUE.match(name) else "",
                )
            finally:
                os.close(file)


def _marks(place: Place, date: float, keywords: dict[str, str]) -> Marks:
    letters = place.tail.partition(INFO)[2]
    words = frozenset(keywords[letter] for letter in letters if letter in keywords)
    return Marks(date, tail_bits(place.tail), words, place.directory == CUR)


class MboxSource:
    """The mbox at `path`. Raises OSError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = os.stat(path).st_size
        self.unit = "octets"
        self.passed_over = 0  # octets before the first message, once it has been read

    def __iter__(self) -> Iterator[Incoming]:
        with open(self.path, "rb", buffering=1 << 20) as file:
            otherwise = os.fstat(file.fileno()).st_mtime
            mbox = Mbox(file)
            for message in mbox:
                marks = message.marks
                if marks.date is None:
                    marks = marks._replace(date=otherwise)
                yield Incoming(marks, message.content(), file.tell(), message.crlf)
            self.passed_over = mbox.passed_over


Source = MaildirSource | MboxSource


def open_file(path: str) -> int:
    """A descriptor of a message's file. Raises OSError, FileNotFoundError for what is no regular file."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileNotFoundError(errno.ENOENT, "a symbolic link", path) from error
        raise
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    raise FileNotFoundError(errno.ENOENT, "not a regular file", path)


def chunks(file: int) -> Iterator[bytes]:
    """What there is to be read."""
    while data := os.read(file, CHUNK):
        yield data


def capitals(tail: str) -> str:
    """The capital letters at the end of a file name: those that mean the same in every Maildir."""
    return "".join(filter(str.isupper, tail.partition(INFO)[2]))


def find_sources(path: str, wanted: Format | None, into: str) -> dict[str, Source]:
    """What is at `path`, by the names of the mailboxes it is to go to, INBOX first. wanted: what to look for;
    None: whatever is there. into: the mailbox for what would go to INBOX, and the parent of the others.

    Raises NoMail, BadMailboxName, OSError."""
    path = path.rstrip("/") or "/"
    if os.path.isfile(path):
        if wanted == "maildir":
            raise NoMail(f"{path} is a file, not a Maildir; for an mbox: --format mbox")
        if os.path.getsize(path) and not _is_mbox(path):
            raise NoMail(
                f'{path} is not an mbox: no line in its beginning is such as "From a@b.test Mon Jan ..."'
            )
        return {canonical_name(into or INBOX): MboxSource(path)}
    os.listdir(path)  # who may not read it is told
    sources: dict[str, Source] = {}
    if wanted != "mbox":
        sources = _named(((name, MaildirSource(found)) for name, found in _maildirs(path, "", 0)), into)
    if not sources and wanted != "maildir":
        sources = _named(((name, MboxSource(found)) for name, found in _mboxes(path, "", 0)), into)
    if not sources:
        kind = {"maildir": "Maildir", "mbox": "mbox"}.get(wanted or "", "Maildir and no mbox")
        raise NoMail(f"there is no {kind} in {path}")
    return dict(sorted(sources.items(), key=lambda each: (each[0] != INBOX, each[0])))


def _named(found: Iterable[tuple[str, Source]], into: str) -> dict[str, Source]:
    sources: dict[str, Source] = {}
    for name, source in found:
        canonical = canonical_name(name)
        if into:
            canonical = canonical_name(into if canonical == INBOX else into + SEPARATOR + name)
        if canonical in sources:
            raise NoMail(
                f"{sources[canonical].path} and {source.path} would both go to {canonical};"
                " import them one by one"
            )
        sources[canonical] = source
    return sources


def _maildirs(path: str, name: str, depth: int) -> Iterator[tuple[str, str]]:
    """(Name, path) of every Maildir at `path` and below."""
    if os.path.isdir(f"{path}/{CUR}") and os.path.isdir(f"{path}/{NEW}"):
        yield name or INBOX, path
    for entry in _directories(path, depth):
        if entry in (CUR, NEW, TMP):
            continue
        level = name_of(entry) if entry.startswith(".") else _decoded(entry)
        if level is not None:
            yield from _maildirs(f"{path}/{entry}", f"{name}{SEPARATOR}{level}" if name else level, depth + 1)


def _mboxes(path: str, name: str, depth: int) -> Iterator[tuple[str, str]]:
    """(Name, path) of every mbox below `path`."""
    for entry in sorted(os.scandir(path), key=lambda each: each.name):
        if entry.is_file(follow_symlinks=False) and not entry.name.startswith("."):
            level = _unescaped(entry.name.removesuffix(".mbox"))
            empty = entry.name.endswith(".mbox") and not entry.stat().st_size
            if _fits(level) and (empty or _begins_as_mbox(entry.path)):
                yield f"{name}{SEPARATOR}{level}" if name else level, entry.path
    for directory in _directories(path, depth):
        level = _unescaped(directory.removesuffix(".sbd"))
        if not directory.startswith(".") and _fits(level):
            yield from _mboxes(
                f"{path}/{directory}", f"{name}{SEPARATOR}{level}" if name else level, depth + 1
            )


def _directories(path: str, depth: int) -> list[str]:
    if depth >= _DEPTH:
        return []
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False))


def _decoded(level: str) -> str | None:
    with suppress(ValueError):
        level = decode_utf7(level)
    return level if _fits(level) else None


def _fits(level: str) -> bool:
    """False for what is no name of a level, such as one in an unknown charset."""
    try:
        canonical_name(level)
    except BadMailboxName:
        return False
    return True


def _is_mbox(path: str) -> bool:
    """True when there is a message in its first octets."""
    with open(path, "rb") as file:
        return any(True for _ in Mbox(file))


def _begins_as_mbox(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(5) == b"From "


# Names of files for mboxes


def file_name(level: str) -> str:
    """What a level of a mailbox name is called as a file or directory beside others that end in `.mbox`."""
    escaped = level.replace("%", "%25")
    if escaped.startswith("."):
        escaped = "%2E" + escaped[1:]
    if escaped.endswith((".mbox", ".sbd")):
        escaped = "%2E".join(escaped.rsplit(".", 1))
    return escaped


def _unescaped(level: str) -> str:
    return level.replace("%2E", ".").replace("%25", "%")
