"""The data directory: made for its owner alone, and used by one server at a time, which may be a process for
each role."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from twisted_mta.backup.draft import is_cut_short
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.roles import BOTH, Role

LOCK = "lock"
_COMMAND = "command"  # behind the number in the lock of one that is no server, and does not heed SIGHUP


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


def server(path: Path, role: Role | None = None) -> int | None:
    """A process that uses the directory, in that role when one is named; None when there is none."""
    found = servers(path)
    return next((each for name, each in found.items() if role in (None, name)), None)


def servers(path: Path) -> dict[Role, int | None]:
    """The server's process in each role that it has, one for both perhaps; None: its number is not known. Who
    keeps servers away for a while is none."""
    return {role: holder.process for role, holder in _holders(path).items() if holder.is_server}


class _Holder(NamedTuple):
    process: int | None
    is_server: bool


def _holders(path: Path) -> dict[Role, _Holder]:
    """Whoever has each role that is taken."""
    if _is_held(path / LOCK):
        return dict.fromkeys(BOTH, _holder(path / LOCK))
    return {role: _holder(path / own) for role in BOTH if _is_held(path / (own := f"{LOCK}.{role}"))}


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _holder(path: Path) -> _Holder:
    number, _, what = path.read_text("ascii", "replace")[:40].strip().partition(" ")
    try:
        return _Holder(int(number or 0) or None, what != _COMMAND)
    except ValueError:
        return _Holder(None, what != _COMMAND)


def require_free(path: Path, roles: Sequence[Role] = BOTH) -> None:
    """Only a look, and not at the lock of another role, which its process may want at this moment. Raises
    ConfigError when a server, or user, has one of these roles."""
    with suppress(OSError):  # what cannot be looked at cannot be locked either, and that is told then
        if any(_is_held(path / name) for name in (LOCK, *(f"{LOCK}.{role}" for role in roles))):
            raise ConfigError(_taken(path, roles))


def require_restored(path: Path) -> None:
    """What is being restored is not all there until its last file is in place. Raises ConfigError."""
    if is_cut_short(str(path)):
        raise ConfigError(f"data_dir: a restore of {path} was cut short; first do once more: mta restore DIR")


class Lock:
    """Held while a server uses the directory, or a command keeps servers away; the system lets go of it when
    the process ends, however.

    A process with both roles, or whoever wants to be alone, has `lock` for itself. One with one role shares
    `lock` and has `lock.ROLE` for itself."""

    def __init__(self, descriptors: list[int]) -> None:
        self._descriptors = descriptors

    @classmethod
    def acquire(cls, path: Path, roles: Sequence[Role] = BOTH, *, is_server: bool = True) -> Self:
        """`path` is the data directory. Raises ConfigError when another server, or user, has the lock."""
        (role, *others) = set(roles)
        lock = cls([])
        try:
            if others:
                lock._take(path / LOCK, fcntl.LOCK_EX)
            else:
                lock._take(path / LOCK, fcntl.LOCK_SH)
                lock._take(path / f"{LOCK}.{role}", fcntl.LOCK_EX)
        except BlockingIOError:
            lock.release()
            raise ConfigError(_taken(path, roles)) from None
        except OSError as error:
            lock.release()
            raise ConfigError(f"data_dir: cannot write to {error.filename}: {error.strerror}") from error
        os.ftruncate(lock._descriptors[-1], 0)
        holder = f"{os.getpid()}\n" if is_server else f"{os.getpid()} {_COMMAND}\n"
        os.pwrite(lock._descriptors[-1], holder.encode(), 0)
        return lock

    def _take(self, path: Path, how: int) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._descriptors.append(descriptor)
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)

    def release(self) -> None:
        """Let the next server have it."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def _taken(path: Path, roles: Sequence[Role]) -> str:
    found = _holders(path)
    taken = [role for role in BOTH if role in roles and role in found]
    holder = next((found[role] for role in taken), _Holder(None, is_server=True))
    process = holder.process or "unknown"
    if not holder.is_server:
        return f"data_dir: a command (process {process}) is at work in {path}; wait for its end"
    if len(roles) > 1 or _is_held(path / LOCK):
        return (
            f"data_dir: another server (process {process}) is using {path}; "
            "stop it, or give this one a data_dir of its own"
        )
    return (
        f"data_dir: another server (process {process}) is using {path} in the role {roles[0]}; "
        "stop it, or start this one in another role"
    )


def without_server(data: Path, work: Callable[[], None], roles: Sequence[Role] = BOTH) -> bool:
    """Do the work while no server can begin in one of these roles; False when one is running."""
    try:
        lock = Lock.acquire(data, roles, is_server=False)
    except ConfigError:
        return False
    try:
        work()
    finally:
        lock.release()
    return True
