"""Files and names that are on the disk when one goes on, and whose secrets nobody else ever sees."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

UNFINISHED = ".new"  # behind the name of a file that `write_whole` writes


def sync(path: str | Path) -> None:
    """Have the file, or the names in the directory, on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the file at once: it is there whole or not at all, also after a crash. Blocks; raises OSError
    and leaves what was there."""
    draft = path.with_name(path.name + UNFINISHED)
    draft.unlink(missing_ok=True)
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    sync(path.parent)
