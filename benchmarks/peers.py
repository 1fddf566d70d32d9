"""The programs that we are measured beside: whether they are here, and which version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple


class Peer(NamedTuple):
    """`files`: what must be there; `ask`: tells its version; `known`: how the versions begin that the
    configurations here are written for."""

    name: str
    files: tuple[str, ...]
    package: str
    ask: tuple[str, ...]
    known: tuple[str, ...] = ("",)

    def missing(self) -> str:
        """Why it cannot be measured, in words for the table; "" when it can be."""
        if os.geteuid() != 0:
            return "not measured: needs root"
        if not all(map(_there, self.files)):
            return f"not measured: {self.package} is not installed"
        if not self.version().startswith(self.known):
            return f"not measured: version {self.version()}, known are {' and '.join(self.known)}"
        return ""

    def version(self) -> str:
        """For example "3.7.11"; "" where it is not installed."""
        return _version(self.ask) if all(map(_there, self.files)) else ""


class _Package(Peer):
    """One from PyPI."""

    def missing(self) -> str:
        return "" if self.version() else f"not measured: {self.package} is not installed"

    def version(self) -> str:
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            return ""


POSTFIX = Peer(
    "Postfix", ("postfix", "smtp-source", "smtp-sink"), "postfix", ("postconf", "-hd", "mail_version")
)
DOVECOT = Peer(
    "Dovecot", ("dovecot", "/usr/lib/dovecot/imap"), "dovecot-imapd", ("dovecot", "--version"), ("2.3",)
)
DOVECOT_POP3 = Peer(
    "Dovecot", ("dovecot", "/usr/lib/dovecot/pop3"), "dovecot-pop3d", ("dovecot", "--version"), ("2.3",)
)
AIOSMTPD = _Package("aiosmtpd", (), "aiosmtpd", ())
ALL = (POSTFIX, DOVECOT, AIOSMTPD)


def program(name: str) -> str | None:
    """Where it is; those of the system that are not in everybody's PATH, too."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _there(file: str) -> bool:
    return Path(file).exists() if file.startswith("/") else program(file) is not None


@cache
def _version(ask: tuple[str, ...]) -> str:
    found = program(ask[0])
    assert found is not None
    said = subprocess.run([found, *ask[1:]], capture_output=True, text=True, check=False).stdout
    number = re.search(r"\d+(\.\d+)+", said)
    return number.group() if number else "unknown"
