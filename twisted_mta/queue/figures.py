"""How much is in the queue, and how old it is: counted beside the writer's thread, over a connection of its
own that only reads, so that no 250 waits for it.

A message's number is the time of its arrival (`ids.py`): the rows of recipients alone say how old they are.
All of them are looked at; whoever asks often should ask for what was found before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from twisted_mta.queue.ids import number_at

AGES = (("5m", 300.0), ("1h", 3600.0), ("4h", 4 * 3600.0), ("1d", 86400.0))  # and what is older
OLDER = "older"
STATES = ("waiting", "deferred", "held")

# Ages are numbered from the youngest.
_COUNT = """
    SELECT CASE WHEN state = 'held' THEN 'held' WHEN attempts > 0 THEN 'deferred' ELSE 'waiting' END AS is_so,
           CASE {cases} ELSE {last} END AS age, count(*)
    FROM recipient WHERE state IN ('waiting', 'held') GROUP BY is_so, age
"""


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """`recipients` by state, one of STATES, and age, a name of AGES or OLDER; "deferred" is what was put off
    at least once. `oldest`: seconds since the arrival of the oldest message, 0 for an empty queue."""

    recipients: dict[tuple[str, str], int]
    oldest: float


def count(path: Path, now: float) -> QueueFigures:
    """Of the database at `path`. Blocks. Raises sqlite3.Error."""
    names = [name for name, _ in AGES] + [OLDER]
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as database:
        found = {(state, name): 0 for state in STATES for name in names}
        for state, age, recipients in database.execute(_statement(len(AGES)), _limits(now)):
            found[state, names[age]] = recipients
        first = database.execute("SELECT arrived FROM message ORDER BY number LIMIT 1").fetchone()
    return QueueFigures(found, 0.0 if first is None else max(0.0, now - first[0]))


def _statement(ages: int) -> str:
    cases = " ".join(f"WHEN message > ? THEN {place}" for place in range(ages))
    return _COUNT.format(cases=cases, last=ages)


def _limits(now: float) -> Sequence[int]:
    return [number_at(now - seconds) for _, seconds in AGES]
