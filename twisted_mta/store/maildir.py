"""One Maildir on disk: `tmp`, `new`, `cur`, and what is done in them. Plain blocking calls; no index.

The rules are those of the Maildir specification (cr.yp.to/proto/maildir.html): a message is written in
`tmp`, synced, then renamed; its flags follow after ":2,". Files of the same tree may come, go and be
renamed by others at any time. What stays the same, and is called the base name here, ends before the
first field or ":". Fields are `,S=` (octets of the file) and `,W=` (octets with CRLF), as Dovecot and
Courier have them, and mbsync's `,U=`, which it adds to names that are there already.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from twisted_mta.durable import sync
from twisted_mta.store.lines import crlf_length

CUR, NEW, TMP = "cur", "new", "tmp"
FOLDER_MARK = "maildirfolder"  # Maildir++: an empty file that tells a folder from an INBOX

MAX_TMP_AGE = 36 * 3600.0  # seconds after which a file in tmp is no delivery under way (the specification)

_SIZES = re.compile(r",S=(\d{1,15})\b.*,W=(\d{1,15})\b")
# No O_EXCL: an attempt that a crash cut short may have left the same name in tmp.
_WRITE = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC


class Place(NamedTuple):
    """Where a message's file is: the directory, `new` or `cur`, and what follows the base name there."""

    directory: str
    tail: str


class Written(NamedTuple):
    """A complete, synced file in `tmp`: its path, its octets, the octets of its canonical form, its time."""

    path: str
    stored: int
    canonical: int
    modified: float


class NameSource:
    """Makes base names that no other delivery has ever used.

    hostname: this host, made fit for a file name. token: random, new at every start, so that neither a
    clock that is set back nor another process can lead to the same name again.
    """

    def __init__(self, hostname: str, token: str, seconds: Callable[[], float]) -> None:
        self.hostname = hostname.replace("/", "\\057").replace(":", "\\072").replace(",", "\\054")
        self.seconds = seconds
        self._token = token
        self._counter = itertools.count(1)

    def unique(self) -> str:
        """A part for a base name, never given before."""
        return f"{self._token}Q{next(self._counter)}"

    def name(self, unique: str, seconds: float) -> str:
        """The base name with that unique part."""
        return f"{int(seconds)}.{unique}.{self.hostname}"

    def fresh(self) -> str:
        """A base name for a message that has none yet."""
        return self.name(self.unique(), self.seconds())


def without_host(name: str) -> str:
    """What tells a base name of `NameSource` from all others; this host may have had another name then."""
    return ".".join(name.split(".", 2)[:2])


class Maildir:
    """The directory at `path`. `report` takes lines for the operator, from any thread."""

    __slots__ = ("_report", "_reported", "path")

    def __init__(self, path: str, report: Callable[[str], None] = lambda line: None) -> None:
        self.path = path
        self._report = report
        self._reported = False

    def make(self, *, folder: bool) -> None:
        """Create what is missing of it, and sync it. Raises OSError."""
        for path in (self.path, *(f"{self.path}/{name}" for name in (CUR, NEW, TMP))):
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)
        if folder:
            os.close(os.open(f"{self.path}/{FOLDER_MARK}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        sync(self.path)

    def file(self, name: str, place: Place) -> str:
        """The path of a message's file."""
        return f"{self.path}/{place.directory}/{name}{place.tail}"

    def stamp(self) -> tuple[int, int]:
        """The modification times of `new` and `cur` in nanoseconds. Raises OSError."""
        return os.stat(f"{self.path}/{NEW}").st_mtime_ns, os.stat(f"{self.path}/{CUR}").st_mtime_ns

    def list(self) -> dict[str, Place]:
        """Every message file: base name -> place. Raises OSError."""
        return self.places(self.files())

    def files(self) -> dict[str, set[str]]:
        """All that is in `new` and in `cur`. Raises OSError.

        `new` is read first: a message that another program moves meanwhile is then seen at least once."""
        return {directory: set(os.listdir(f"{self.path}/{directory}")) for directory in (NEW, CUR)}

    def places(self, files: Mapping[str, Iterable[str]]) -> dict[str, Place]:
        """Those of the files, by directory, that are messages: base name -> place.

        A name that is not UTF-8 is passed over, as the index has no way to hold it."""
        found: dict[str, Place] = {}
        for directory, names in files.items():
            for file in names:
                if file[0] == ".":
                    continue
                if not is_text(file):
                    self._pass_over(f"{directory}/{file}")
                    continue
                name = base_name(file)
                found[name] = Place(directory, file[len(name) :])
        return found

    def _pass_over(self, file: str) -> None:
        """Say it once: the directory is read again and again."""
        if not self._reported:
            self._reported = True
            self._report(f"{self.path}: passed over {os.fsencode(file)!r}, whose name is not UTF-8")

    def sweep(self, now: float) -> None:
        """Remove what deliveries that never ended have left in `tmp`."""
        for entry in os.scandir(f"{self.path}/{TMP}"):
            with suppress(OSError):
                begun = max(entry.stat(follow_symlinks=False).st_mtime, seconds_in(entry.name))
                if begun < now - MAX_TMP_AGE:
                    os.unlink(entry.path)


class TmpFile:
    """A message on its way into a file in `tmp`; a CRLF may be cut in two. `verbatim`: the octets are stored
    as they come, line ends and all. Raises OSError."""

    __slots__ = ("_canonical", "_file", "_held", "_last", "_stored", "_verbatim", "path")

    def __init__(self, path: str, *, verbatim: bool = False) -> None:
        self.path = path
        self._verbatim = verbatim
        self._file = os.open(path, _WRITE, 0o600)
        self._stored = self._canonical = 0
        self._held = self._last = b""

    def write(self, data: bytes) -> None:
        """Add octets with CRLF ends; they are stored with LF ends."""
        if self._verbatim:
            self._store(data)
            return
        if self._held:
            data = self._held + data
        self._held = data[-1:] if data.endswith(b"\r") else b""
        self._store(data[: len(data) - len(self._held)].replace(b"\r\n", b"\n"))

    def _store(self, data: bytes) -> None:
        write_all(self._file, data)
        self._stored += len(data)
        self._canonical += crlf_length(self._last + data) - crlf_length(self._last)
        self._last = data[-1:] or self._last

    def write_out(self) -> None:
        """Have the disk begin with what has been written, so that of several files that are finished one
        after the other, the first sync takes the others along. Never raises: the sync tells what is wrong."""
        with suppress(OSError):
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)  # drops only what is on disk already

    def finish(self) -> Written:
        """Sync and close."""
        if self._held:
            self._store(self._held)
        os.fsync(self._file)
        modified = os.fstat(self._file).st_mtime
        file, self._file = self._file, -1
        os.close(file)
        return Written(self.path, self._stored, self._canonical, modified)

    def discard(self) -> None:
        """Close and remove. Never raises."""
        with suppress(OSError):
            os.unlink(self.path)
        if self._file >= 0:
            with suppress(OSError):
                os.close(self._file)
            self._file = -1


def begin_message(path: str, chunks: Iterable[bytes]) -> TmpFile:
    """A whole message into a file in `tmp`, which is to be finished. Raises OSError and leaves nothing."""
    file = TmpFile(path)
    try:
        for chunk in chunks:
            file.write(chunk)
        return file
    except BaseException:
        file.discard()
        raise


def write_message(path: str, chunks: Iterable[bytes]) -> Written:
    """A whole message into a file in `tmp`. Raises OSError and leaves nothing."""
    file = begin_message(path, chunks)
    try:
        return file.finish()
    except BaseException:
        file.discard()
        raise


def is_text(name: str) -> bool:
    """False for a name from a directory that is not UTF-8; Python has surrogates in it (PEP 383)."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def base_name(file: str) -> str:
    """The part of a file's name that stays the same."""
    name = file.partition(":")[0]
    comma = name.find(",")
    return name[:comma] if comma > 0 and name[comma + 2 : comma + 3] == "=" else name


def seconds_in(name: str) -> int:
    """The time of delivery that a name begins with, or 0. A file's own time may be an older one: a second
    name for a message that was there already has that message's."""
    number, _, _ = name.partition(".")
    return int(number) if number.isdecimal() and len(number) < 12 else 0


def sizes(written: Written) -> str:
    """The fields that tell the sizes."""
    return f",S={written.stored},W={written.canonical}"


def write_all(file: int, data: bytes) -> None:
    """Write every octet. Raises OSError; a short write means that the disk is full, the next one says so."""
    written = os.write(file, data)
    while written < len(data):
        written += os.write(file, data[written:])


def read_file(path: str, size: int | None = None) -> bytes:
    """A file's octets as they are; `size`: how many they were at the last look. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if size is None:
            size = os.fstat(file).st_size
        data = os.read(file, size + 1)
        if len(data) == size:
            return data
        pieces = [data]
        while data := os.read(file, 1 << 20):
            pieces.append(data)
        return b"".join(pieces)
    finally:
        os.close(file)


def canonical_size(tail: str, path: str, stored: int) -> int:
    """The size of a file of others in canonical form, from its name when plausible. Raises OSError."""
    sizes = _SIZES.search(tail)
    if sizes and int(sizes[1]) == stored and stored <= int(sizes[2]) <= 2 * stored:
        return int(sizes[2])
    return crlf_length(read_file(path, stored))
