"""Spool files: the bodies that are too large for the database, one file a message, named by its queue id.

A file is synced, and so is the directory's entry for it, before the message is committed; it is removed
after the commit that removes the message. A crash between the two leaves an orphan, which the next
start removes. Plain blocking functions: the callers run them in threads.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from twisted_mta.durable import sync
from twisted_mta.queue.ids import decode, encode

_READ = 1 << 20  # octets at a time


class SpoolFile:
    """A body that is being received."""

    def __init__(self, path: Path) -> None:
        """Creates the file. Raises OSError."""
        self.path = path
        self.checksum = 0  # CRC-32 of what was written
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, pieces: Iterable[bytes]) -> None:
        """Append. Raises OSError."""
        data = b"".join(pieces)
        self.checksum = zlib.crc32(data, self.checksum)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def finish(self) -> None:
        """Close once everything is on disk, the directory's entry too. Raises OSError."""
        os.fsync(self._descriptor)
        self._close()
        sync(self.path.parent)

    def discard(self) -> None:
        """Close and remove."""
        self._close()
        self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class Spool:
    """The directory of spool files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, message: int) -> Path:
        """Where the body of this message is, or would be."""
        return self.directory / encode(message)

    def create(self, message: int) -> SpoolFile:
        """A new, empty file. Raises OSError."""
        return SpoolFile(self.path(message))

    def remove(self, messages: Iterable[int]) -> None:
        """Remove the files of these messages, where there are any. Raises OSError."""
        for message in messages:
            self.path(message).unlink(missing_ok=True)

    def set_aside(self, messages: Iterable[int], directory: Path) -> None:
        """Move the files of these messages to another directory of the same file system. Raises OSError."""
        for message in messages:
            self.path(message).rename(directory / encode(message))

    def messages(self) -> Iterator[int]:
        """The numbers of all messages that have a file; other files are passed over. Raises OSError."""
        with os.scandir(self.directory) as entries:
            for entry in entries:
                try:
                    yield decode(entry.name)
                except ValueError:
                    continue

    def is_sound(self, message: int, checksum: int) -> bool:
        """True when the file is there and holds what was received; reads all of it. Raises OSError when that
        cannot be found out now: a disk or a process in trouble says nothing about the message."""
        found = 0
        try:
            with self.path(message).open("rb") as file:
                while piece := file.read(_READ):
                    found = zlib.crc32(piece, found)
        except FileNotFoundError:
            return False
        return found == checksum
