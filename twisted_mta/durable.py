"""Files and names that are on the disk when one goes on, and whose secrets nobody else ever sees."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNFINISHED = ".new"  # behind the name of a file that `write_whole` writes


def sync(path: str | Path) -> None:
    """Have the file, or the names in the directory, on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def names_on_disk(directory: str | Path) -> Iterator[None]:
    """Have on disk what is done within to the names in a directory. It is opened first: where that fails,
    for want of descriptors, nothing has been done yet. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the file at once: it is there whole or not at all, also after a crash. Blocks; raises OSError
    and leaves what was there."""
    draft = path.with_name(path.name + UNFINISHED)
    draft.unlink(missing_ok=True)
    try:
        with names_on_disk(path.parent):
            _write_new(draft, data, mode)
            draft.rename(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write_new(path: Path, data: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
