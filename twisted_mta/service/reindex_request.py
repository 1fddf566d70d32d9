"""A request to reindex an account: how `mta mailbox reindex` asks a running server.

One process writes an account's full text. While a server runs, that is the server: the command leaves a
request, a file in the directory `reindex` of the data directory, in which the server writes how far it is,
and which it removes in the end. A request outlives both: a server that finds one at its start sees to it.

    (empty)             asked for
    DONE TOTAL          under way: numbers of emails
    failed SENTENCE     given up
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

REQUESTS = "reindex"  # in the data directory

_FAILED = "failed "
_UNFINISHED = "+unfinished"  # no account's name ends so when it is quoted


class Request:
    """The request for one account, as the command sees it. Blocks; raises OSError."""

    def __init__(self, data: Path, account: str) -> None:
        self._path = _path(data, account)

    def make(self) -> None:
        """Ask; what has been asked for already stays."""
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        if _is_given_up(str(self._path)):
            self._path.write_text("", encoding="utf-8")

    def withdraw(self) -> None:
        """Ask no more. Idempotent."""
        self._path.unlink(missing_ok=True)

    def progress(self) -> tuple[int, int] | None:
        """(Emails done, emails in all); None when all is done. Raises Failed."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        if text.startswith(_FAILED):
            raise Failed(text.removeprefix(_FAILED))
        done, _, total = text.partition(" ")
        return (int(done), int(total)) if total else (0, 0)


class Failed(Exception):
    """The server has given up; the text says why."""


# The server's side; all of it blocks and raises OSError


def requested(data: Path) -> list[str]:
    """The accounts for which there is a request that nobody has given up, in the order of their names."""
    found = []
    with suppress(FileNotFoundError):
        for entry in os.scandir(data / REQUESTS):
            if not entry.name.endswith(_UNFINISHED) and not _is_given_up(entry.path):
                found.append(unquote(entry.name))
    return sorted(found)


def tell(data: Path, account: str, done: int, total: int) -> None:
    """So many emails of all are done."""
    _write(data, account, f"{done} {total}")


def fail(data: Path, account: str, why: str) -> None:
    """The request is given up."""
    _write(data, account, _FAILED + why)


def _is_given_up(path: str) -> bool:
    """True for one that has failed, or is none."""
    with suppress(OSError, ValueError):
        return Path(path).read_text(encoding="utf-8").startswith(_FAILED)
    return True


def _write(data: Path, account: str, text: str) -> None:
    """Replace the request's text, unless it has been withdrawn."""
    path = _path(data, account)
    if path.exists():
        unfinished = path.with_name(path.name + _UNFINISHED)
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)


def _path(data: Path, account: str) -> Path:
    return data / REQUESTS / quote(account, safe="@")
