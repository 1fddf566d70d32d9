"""The data directory: made for its owner alone, and used by one server at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Self

from twisted_mta.backup.draft import is_cut_short
from twisted_mta.service.options.complaint import ConfigError


def create(path: Path) -> None:
    """Make it (0700) when it is missing, and see that files made from now on are the owner's alone.
    Raises ConfigError."""
    os.umask(0o077)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise ConfigError(f"data_dir: cannot write to {path}: {error.strerror}") from error


def enter(path: Path) -> None:
    """For administration: make it when it is missing, and where root asks, become its owner, so that the
    files made here stay the server's. Raises ConfigError."""
    create(path)
    owner = path.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)


def server(path: Path) -> int | None:
    """The process that uses the directory; None when there is none."""
    try:
        descriptor = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or 0) or None
    finally:
        os.close(descriptor)
    return None


def require_restored(path: Path) -> None:
    """What is being restored is not all there until its last file is in place. Raises ConfigError."""
    if is_cut_short(str(path)):
        raise ConfigError(f"data_dir: a restore of {path} was cut short; first do once more: mta restore DIR")


class Lock:
    """Held while a server uses the directory; the system lets go of it when the process ends, however."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, path: Path) -> Self:
        """`path` is the data directory. Raises ConfigError when another server, or user, has the lock."""
        try:
            descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"data_dir: cannot write to {path / 'lock'}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise ConfigError(
                f"data_dir: another server (process {holder or 'unknown'}) is using {path}; "
                "stop it, or give this one a data_dir of its own"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Let the next server have it."""
        os.close(self._descriptor)


def without_server(data: Path, work: Callable[[], None]) -> bool:
    """Do the work while no server can begin; False when one is running."""
    try:
        lock = Lock.acquire(data)
    except ConfigError:
        return False
    try:
        work()
    finally:
        lock.release()
    return True
