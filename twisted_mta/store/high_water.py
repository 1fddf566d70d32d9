"""How far the index of an account has come, in a file beside it.

    <account>/reached     a line of JSON: how often the index was opened or closed, and by mailbox the UIDs
                          reserved

An older index that is put back from a backup tells less, also one that was copied while in use. It then
goes on behind what is told here, as after a reboot: no UID is given a second time, and no mod-sequence goes
back. The file is not synced, since after power was lost every index goes on behind what it has reserved;
without it an index is believed.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from twisted_mta.store.index.index import Index
from twisted_mta.store.index.rows import is_full

_FILE = "reached"


class Reached(NamedTuple):
    """times that the index was opened or closed; reserved: by mailbox, the end of the UIDs that may have been
    given."""

    times: int
    reserved: Mapping[int, int]


def begin(index: Index, home: str, boot: str, *, fresh: bool) -> None:
    """An index has been opened: it may be a new one, one put back from a backup, or one that this `boot` has
    not seen. From now on what it reaches is kept. Raises sqlite3.Error."""
    times = _times(index)
    reached = None if fresh else read(home)
    put_back = reached is not None and _is_behind(index, reached)
    if fresh or put_back or index.fact("boot") != boot:
        index.begin_after_reboot(boot)
    if reached is not None and put_back:
        index.go_on_behind(reached.reserved)
        times = max(times, reached.times)
    _count(index, home, times + 1)


def end(index: Index, home: str) -> None:
    """The index is about to be closed. Without this a copy made since it was opened would look the same."""
    with suppress(sqlite3.Error):  # a broken one; it is believed the next time, if it can be read
        _count(index, home, _times(index) + 1)


def _times(index: Index) -> int:
    return int(index.fact("opened") or 0)


def _is_behind(index: Index, reached: Reached) -> bool:
    """True for an index other than the last one that was here."""
    reserved = index.reserved()
    beyond = any(end > reserved.get(number, end) for number, end in reached.reserved.items())
    return reached.times != _times(index) or beyond


def _count(index: Index, home: str, times: int) -> None:
    """From now on the file tells this. On a full disk all stays as it was."""
    try:
        with index.transaction():
            index.set_fact("opened", str(times))
    except sqlite3.OperationalError as error:
        if not is_full(error):
            raise
        return
    index.on_reserve = lambda reserved: write(home, Reached(times, reserved))
    index.on_reserve(index.reserved())


def read(home: str) -> Reached | None:
    """What the file tells; None when there is none of use."""
    try:
        with open(f"{home}/{_FILE}", "rb") as file:
            times, reserved = json.load(file)
            return Reached(int(times), {int(number): int(end) for number, end in reserved.items()})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def write(home: str, reached: Reached) -> None:
    """Keep it. On a full disk it stays as it was, and the next opening goes on behind it."""
    path = f"{home}/{_FILE}"
    with suppress(OSError):
        with open(f"{path}.new", "w", encoding="ascii") as file:
            json.dump(reached, file)
        os.replace(f"{path}.new", path)
