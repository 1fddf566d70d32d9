"""What an import has found out about mailboxes and the index is to know: how `mta import` tells a running
server.

The index belongs to one process. While a server runs, that is the server: the command leaves a request, a
file in the directory `import` of the data directory, which the server does within a second or two and
removes. Without a server the command does it itself. A request outlives both.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

from twisted_mta.store.exchange.hierarchy_marks import HierarchyMarks

REQUESTS = "import"  # in the data directory

_UNFINISHED = "+unfinished"  # no account's name ends so when it is quoted


def ask(data: Path, account: str, marks: HierarchyMarks) -> Path:
    """Ask; the file, which is there until it is done. Raises OSError."""
    path = _path(data, account)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    unfinished = path.with_name(path.name + _UNFINISHED)
    unfinished.write_text(json.dumps(marks), encoding="utf-8")
    os.replace(unfinished, path)
    return path


def requested(data: Path) -> Sequence[str]:
    """The accounts for which there is a request. Raises OSError."""
    with suppress(FileNotFoundError):
        names = sorted(entry.name for entry in os.scandir(data / REQUESTS))
        return [unquote(name) for name in names if not name.endswith(_UNFINISHED)]
    return []


def read(data: Path, account: str) -> HierarchyMarks:
    """What is asked for. Raises OSError, ValueError."""
    subscribed, uses = json.loads(_path(data, account).read_text(encoding="utf-8"))
    return HierarchyMarks(subscribed, uses)


def done(data: Path, account: str) -> None:
    """It has been done, or cannot be. Raises OSError."""
    _path(data, account).unlink(missing_ok=True)


def _path(data: Path, account: str) -> Path:
    return data / REQUESTS / quote(account, safe="@")
