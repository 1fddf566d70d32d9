"""Is a snapshot what was written? Every file against the size and the SHA-256 in its manifest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from twisted_mta.backup import manifest
from twisted_mta.backup.manifest import Entry
from twisted_mta.backup.snapshots import BackupError, Snapshot, digest_of

Progress = Callable[[int], None]  # files that were read since the last call


def check(
    snapshot: Snapshot, progress: Progress = lambda count: None, sound: set[tuple[int, int]] | None = None
) -> Iterator[str]:
    """What is wrong with it, a line each. sound: files (device, inode) that were found right in another
    snapshot, and need not be read again; those of this one are added."""
    for section in snapshot.sections:
        try:
            entries = entries_of(snapshot, section)
        except BackupError as error:
            yield str(error)
            continue
        for entry in entries:
            fault = fault_of(snapshot, entry, sound)
            if fault:
                yield f"{snapshot.file(entry.path)} {fault}"
            progress(1)


def entries_of(snapshot: Snapshot, section: str) -> list[Entry]:
    """What the section holds. Raises BackupError when its manifest is not what was written."""
    path = snapshot.manifest(section)
    try:
        if digest_of(path) != snapshot.sections[section].sha256:
            raise BackupError(f"{path} is damaged: its SHA-256 is another one than {snapshot.name} tells")
        return list(manifest.read(path))
    except (OSError, ValueError) as error:
        raise BackupError(f"{path} is damaged: {error}") from error


def fault_of(snapshot: Snapshot, entry: Entry, sound: set[tuple[int, int]] | None = None) -> str:
    """What is wrong with one entry, or ""."""
    path = snapshot.file(entry.path)
    try:
        if entry.kind == "link":
            return "" if os.readlink(path) == entry.target else "leads elsewhere"
        if entry.kind == "directory":
            return "" if os.path.isdir(path) else "is missing"
        found = os.lstat(path)
        if found.st_size != entry.size:
            return f"has {found.st_size:,} octets, and had {entry.size:,}"
        inode = found.st_dev, found.st_ino
        if sound is not None and inode in sound:
            return ""
        if digest_of(path) != entry.sha256:
            return "has other octets than were written"
        if sound is not None:
            sound.add(inode)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""
