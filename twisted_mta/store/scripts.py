"""An account's Sieve scripts, beside its mail: `sieve/NAME.sieve`, and the link `active` to one of them.

Plain blocking functions. A script is replaced in one step: whoever reads sees the old one or the new one.
Names are those of ManageSieve (RFC 5804 §1.6), percent-encoded where a file name could not hold them.
"""

from __future__ import annotations

import os
import tempfile
import unicodedata
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

from twisted_mta.durable import names_on_disk

DIRECTORY = "sieve"
_ACTIVE = "active"
_SUFFIX = ".sieve"
_MAX_FILE_NAME = 240  # octets
Stamp = tuple[int, int, int]  # of a script: its file, when that or its name was changed, its octets
_FORBIDDEN = frozenset(("Cc", "Cs", "Cn", "Zl", "Zp"))


class ScriptError(Exception):
    """What was asked for cannot be done."""


class BadScriptName(ScriptError):
    """No script may have this name."""


class NoSuchScript(ScriptError):
    """There is no script of this name."""


class ScriptExists(ScriptError):
    """There is a script of this name already."""


class ScriptIsActive(ScriptError):
    """The script is in use."""


class Scripts:
    """Those of the account whose home directory this is. All methods raise OSError, too."""

    def __init__(self, home: Path) -> None:
        self.directory = home / DIRECTORY

    def names(self) -> list[str]:
        """In order."""
        with suppress(FileNotFoundError):
            files = (entry.name for entry in os.scandir(self.directory) if entry.name.endswith(_SUFFIX))
            return sorted(unquote(name.removesuffix(_SUFFIX)) for name in files)
        return []

    def read(self, name: str) -> bytes:
        """The text of a script. Raises BadScriptName, NoSuchScript."""
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            raise NoSuchScript(name) from None

    def write(self, name: str, text: bytes) -> None:
        """Put a script there, in place of one of the same name. Raises BadScriptName."""
        path = self._path(name)
        self.directory.mkdir(mode=0o700, exist_ok=True)
        with names_on_disk(self.directory):
            descriptor, made = tempfile.mkstemp(dir=self.directory, prefix="tmp-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(made, path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(made)
                raise

    def rename(self, old: str, new: str) -> None:
        """Raises BadScriptName, NoSuchScript, ScriptExists."""
        source, target = self._path(old), self._path(new)
        if not source.exists():
            raise NoSuchScript(old)
        if target.exists():
            raise ScriptExists(new)
        was_active = self.active() == old
        with names_on_disk(self.directory):
            os.link(source, target)  # the link `active` leads somewhere at every moment
            if was_active:
                self._point_to(target.name)
            source.unlink()

    def delete(self, name: str) -> None:
        """Raises BadScriptName, NoSuchScript, ScriptIsActive."""
        if self.active() == name:
            raise ScriptIsActive(name)
        path = self._path(name)
        if not path.exists():
            raise NoSuchScript(name)
        with names_on_disk(self.directory):
            path.unlink(missing_ok=True)

    def activate(self, name: str) -> None:
        """Use this script from now on; "": none. Raises BadScriptName, NoSuchScript."""
        if not name:
            with suppress(FileNotFoundError), names_on_disk(self.directory):
                (self.directory / _ACTIVE).unlink()
            return
        path = self._path(name)
        if not path.exists():
            raise NoSuchScript(name)
        with names_on_disk(self.directory):
            self._point_to(path.name)

    def active(self) -> str:
        """The name of the script in use, "" when none is."""
        try:
            return unquote(os.readlink(self.directory / _ACTIVE).removesuffix(_SUFFIX))
        except OSError:
            return ""

    def stamp(self) -> Stamp | None:
        """What changes when another script is in use, or another text of it; None while none is. One stat."""
        try:
            found = os.stat(f"{self.directory}/{_ACTIVE}")
        except OSError:
            return None
        return found.st_ino, found.st_ctime_ns, found.st_size

    def _point_to(self, file_name: str) -> None:
        made = self.directory / f"tmp-{_ACTIVE}"
        with suppress(FileNotFoundError):
            made.unlink()
        made.symlink_to(file_name)
        os.replace(made, self.directory / _ACTIVE)

    def _path(self, name: str) -> Path:
        if not name or any(unicodedata.category(char) in _FORBIDDEN for char in name):
            raise BadScriptName(name)
        file_name = quote(name, safe=" !#$&'()+,;=@[]{}~") + _SUFFIX
        if len(file_name) > _MAX_FILE_NAME or file_name.startswith("."):
            raise BadScriptName(name)
        return self.directory / file_name
