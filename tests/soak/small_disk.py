"""A disk of its own for the server's data, small enough to be filled: a file with ext4 in it where the system
has loop devices, otherwise memory. Both need root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE = 768  # MiB


@contextmanager
def small_disk(place: Path, image: Path) -> Iterator[str]:
    """Mounted at `place`, which is made. What kind it is; "" when the system does not let us."""
    place.mkdir(parents=True)
    kind = "" if os.geteuid() else _ext4(place, image) or _memory(place)
    try:
        yield kind
    finally:
        if kind:
            subprocess.run(["umount", "-l", str(place)], check=True)
            image.unlink(missing_ok=True)


def _ext4(place: Path, image: Path) -> str:
    with image.open("wb") as file:
        file.truncate(SIZE << 20)
    made = shutil.which("mkfs.ext4") and _done("mkfs.ext4", "-q", "-m", "0", str(image))
    return "ext4 in a file" if made and _done("mount", "-o", "loop", str(image), str(place)) else ""


def _memory(place: Path) -> str:
    return "tmpfs" if _done("mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", str(place)) else ""


def _done(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def fill(file: Path) -> None:
    """Take all that is left of the disk, to the last octet."""
    with file.open("wb", buffering=0) as filler:
        free = shutil.disk_usage(file.parent).free
        try:
            os.posix_fallocate(filler.fileno(), 0, max(free - (1 << 20), 1))
            filler.seek(0, os.SEEK_END)
            while filler.write(bytes(4096)):
                pass
        except OSError:
            pass
