"""Facts of the machine that figures must be read with."""

from __future__ import annotations

import os
import platform
import sqlite3
import ssl
from importlib import metadata
from pathlib import Path

from benchmarks import peers
from benchmarks.results import Machine


def facts() -> Machine:
    """Those of this one, now."""
    versions = {peer.name: peer.version() for peer in peers.ALL if peer.version()}
    versions |= {"Twisted": metadata.version("twisted"), "SQLite": sqlite3.sqlite_version}
    versions["OpenSSL"] = ssl.OPENSSL_VERSION.split()[1]
    return Machine(
        cores=os.cpu_count() or 1,
        processor=_processor(),
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        system=f"{_distribution()}, {platform.system()} {platform.release().partition('-')[0]}",
        python=platform.python_version(),
        load=os.getloadavg()[0],
        versions=versions,
    )


def _processor() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _distribution() -> str:
    for line in _lines("/etc/os-release"):
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "an unknown system"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
