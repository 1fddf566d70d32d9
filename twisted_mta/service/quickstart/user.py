"""The system user that the server runs as."""

from __future__ import annotations

import pwd
import shutil
import stat
import subprocess
from pathlib import Path

from twisted_mta.service.commands.refused import Refused

_PATIENCE = 30.0  # seconds


def owner_of(user: str) -> tuple[int, int] | None:
    """The numbers of the user and its group; None when there is none of that name."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def closed_directory(programs: Path) -> Path | None:
    """The one on the way to our programs that is closed to other users than root; None when there is none."""
    ways = (programs, (programs / "python3").resolve().parent)
    for directory in (above for way in ways for above in (*reversed(way.parents), way)):
        if not directory.stat().st_mode & stat.S_IXOTH:
            return directory
    return None


def making(user: str, home: Path) -> list[str]:
    """The command that makes it."""
    shell = shutil.which("nologin", path="/usr/sbin:/sbin") or "/bin/false"
    return ["useradd", "--system", "--no-create-home", "--home-dir", str(home), "--shell", shell, user]


def make(user: str, home: Path) -> None:
    """Raises Refused."""
    command = making(user, home)
    program = shutil.which(command[0], path="/usr/sbin:/sbin:/usr/bin:/bin")
    try:
        done = subprocess.run(
            [program or command[0], *command[1:]],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(f"the user {user} could not be made: {error}; nothing was written") from error
    if done.returncode:
        raise Refused(f"the user {user} could not be made: {done.stderr.strip()}; nothing was written")
