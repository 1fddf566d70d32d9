"""What a snapshot holds: for each section (the queue, an account, the rest) a file of JSON lines.

    {"path": "mail/a.test/bob/Maildir/cur/…", "size": 1234, "modified": 1763…, "mode": 384, "sha256": "…"}

Paths are relative to the data directory. A name that is not UTF-8 has surrogates in it (PEP 383), which JSON
can hold. A line that is not complete, the last of a file whose writer was killed, is passed over.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TextIO, get_args

Kind = Literal["file", "database", "link", "directory"]


class Entry(NamedTuple):
    """size: octets. modified: nanoseconds since the epoch. target: of a symbolic link. stamp: of a database,
    the times and sizes that its files had when they were copied; () when it may have changed since without
    another time."""

    path: str
    kind: Kind = "file"
    size: int = 0
    modified: int = 0
    mode: int = 0o600
    sha256: str = ""
    target: str = ""
    stamp: tuple[int, ...] = ()

    def line(self) -> str:
        """As it stands in the manifest."""
        told = {
            name: value for name, value in self._asdict().items() if value != self._field_defaults.get(name)
        }
        return json.dumps(told, separators=(",", ":")) + "\n"


def entry_of(line: str) -> Entry:
    """Raises ValueError for what is no line of a manifest."""
    try:
        told: dict[str, Any] = json.loads(line)
        entry = Entry(**{**told, "stamp": tuple(told.get("stamp", ()))})
        os.fsencode(entry.path + entry.target)
    except (TypeError, AttributeError, UnicodeEncodeError, RecursionError) as error:
        raise ValueError(f"not a line of a manifest: {line[:80]!r}") from error
    if not _is_sound(entry):
        raise ValueError(f"not a line of a manifest: {line[:80]!r}")
    if not is_inside(entry.path):
        raise ValueError(f"a path that leads out of the snapshot: {entry.path!r}")
    return entry


def _is_sound(entry: Entry) -> bool:
    """Everything is of the type that it is written with."""
    return (
        all(type(getattr(entry, name)) is type(usual) for name, usual in Entry._field_defaults.items())
        and entry.kind in get_args(Kind)
        and all(type(number) is int for number in entry.stamp)
    )


def is_inside(path: object) -> bool:
    """True for a relative path that stays below where it begins: what is restored is written there."""
    return (
        isinstance(path, str)
        and bool(path)
        and not path.startswith("/")
        and "\0" not in path
        and not {"", ".", ".."} & set(path.split("/"))
    )


def read(path: str) -> Iterator[Entry]:
    """The complete lines of a section's file. Raises OSError, ValueError."""
    with open(path, encoding="ascii") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield entry_of(line)


class Writer:
    """A section's file, made anew at `path`; `write` has every line on disk when it returns. Raises
    OSError."""

    def __init__(self, path: str) -> None:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self._file: TextIO = open(path, "x", encoding="ascii")  # noqa: SIM115

    def write(self, entries: list[Entry]) -> None:
        """Add lines."""
        self._file.writelines(entry.line() for entry in entries)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """No more lines."""
        self._file.close()


def mode_of(found: os.stat_result) -> int:
    """The permissions of a file, as far as they are its owner's: nobody else may read mail."""
    return stat.S_IMODE(found.st_mode) & 0o700
