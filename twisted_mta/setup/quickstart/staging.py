"""Files that appear all together or not at all, and never in the place of others.

They are written beside where they belong, and get their names when all of them are complete. What is there
already with other contents stays, and the new file is called FILE.new.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_MOST_NAMES = 100


@dataclass(slots=True)
class Placed:
    """`written`; `kept`, since they had these contents already; `beside`: (what is there, the new one)."""

    written: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    beside: list[tuple[Path, Path]] = field(default_factory=list)


def writable(path: Path) -> bool:
    """Whether it, or the nearest directory above it that exists, can be written to."""
    there = nearest(path)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK, effective_ids=True)


def nearest(path: Path) -> Path:
    """The directory itself, or the first one above that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def give(tree: Path, owner: tuple[int, int]) -> None:
    """The directory with all that is in it to the user and the group. Raises OSError."""
    for root, directories, files in os.walk(tree):
        for name in (".", *directories, *files):
            os.chown(os.path.join(root, name), *owner)


class Staging:
    """For the files of one directory, which is made when it is missing, and for one more directory. All
    methods raise OSError; leaving the block without `place` leaves nothing behind."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._temporary = Path(tempfile.mkdtemp(prefix=".quickstart-", dir=nearest(directory)))
        self._files: dict[str, Path] = {}
        self._tree: tuple[Path, Path] | None = None
        self._target: Path | None = None  # of the tree, once it is there
        self._made: list[Path] = []  # by us, to be taken away when something goes wrong

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for leftover in (self._temporary, *([self._tree[0]] if self._tree else [])):
            shutil.rmtree(leftover, ignore_errors=True)

    def add(self, name: str, text: str, mode: int = 0o644) -> Path:
        """Where it lies until it is placed; once more: instead of the one before."""
        path = self._temporary / name
        with path.open("w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self._files[name] = path
        return path

    def tree(self, target: Path) -> Path:
        """An empty directory that becomes `target`, which must not exist, with all that is in it then."""
        made = Path(tempfile.mkdtemp(prefix=f".{target.name}.quickstart-", dir=nearest(target)))
        self._tree = (made, target)
        return made

    def place(self, owner: tuple[int, int] | None = None) -> Placed:
        """Everything gets its name. `owner` (user, group): of the directory, and of files that only their
        owner may read."""
        placed = Placed()
        try:
            self._place_tree(owner)
            self._make(self._directory, 0o755)
            for name, path in self._files.items():
                if owner is not None and not path.stat().st_mode & 0o077:
                    os.chown(path, *owner)
                self._place_file(path, self._directory / name, placed)
        except BaseException:
            self._undo()
            raise
        return placed

    def _place_tree(self, owner: tuple[int, int] | None) -> None:
        if self._tree is None:
            return
        made, target = self._tree
        if owner is not None:
            give(made, owner)
        self._make(target.parent, 0o755)
        if target.exists():
            raise FileExistsError(17, "somebody else has just made it", str(target))
        os.rename(made, target)
        self._tree, self._target = None, target
        self._made.append(target)

    def _place_file(self, path: Path, target: Path, placed: Placed) -> None:
        text = path.read_bytes()
        for number in range(_MOST_NAMES):
            end = ("", ".new")[number] if number < 2 else f".new.{number}"
            place = target.with_name(target.name + end)
            try:
                os.link(path, place)
            except FileExistsError:
                if _is_same(place, text):
                    if number:
                        placed.beside.append((target, place))
                    else:
                        placed.kept.append(place)
                    return
                continue
            self._made.append(place)
            if number:
                placed.beside.append((target, place))
            else:
                placed.written.append(place)
            return
        raise FileExistsError(17, "remove some of the files beside it", str(target))

    def _make(self, directory: Path, mode: int) -> None:
        missing = [each for each in (directory, *directory.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir()
            each.chmod(mode)  # whatever the umask
            self._made.append(each)

    def _undo(self) -> None:
        for path in reversed(self._made):
            with suppress(OSError):
                if path == self._target:
                    shutil.rmtree(path)
                elif path.is_dir():
                    path.rmdir()
                else:
                    path.unlink()


def _is_same(path: Path, text: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(text) + 1) == text
    except OSError:
        return False
