"""What a benchmark gives: rows of the table and curves, as values that JSON keeps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from statistics import median
from typing import NamedTuple

import msgspec

OURS = "twisted_mta"


class Measured(NamedTuple):
    """One round: in the row's unit, and milliseconds of the server's processor time for one operation."""

    value: float
    cpu: float | None = None


class Figure(msgspec.Struct, frozen=True):
    """What one server did: the medians of its rounds, and the rounds."""

    value: float
    cpu: float | None
    rounds: list[float]

    @classmethod
    def of(cls, rounds: list[Measured]) -> Figure:
        """Raises statistics.StatisticsError without a round."""
        costs = [each.cpu for each in rounds if each.cpu is not None]
        value = median(each.value for each in rounds)
        return cls(value, median(costs) if costs else None, [each.value for each in rounds])


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was measured, of us and of one peer. `unit` is that of `value`; `peer` is a name, whose
    version stands among the facts of the machine; `remark` says why something is missing, or what must be
    known."""

    benchmark: str
    name: str
    unit: str
    more_is_better: bool
    ours: Figure | None = None
    peer: str = ""
    theirs: Figure | None = None
    remark: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better we do than the peer; below 1 we do worse."""
        if self.ours is None or self.theirs is None:
            return None
        ours, theirs = self.ours.value, self.theirs.value
        return _part(ours, theirs) if self.more_is_better else _part(theirs, ours)

    @property
    def cpu_ratio(self) -> float | None:
        """How many times as much processor time as we the peer needs."""
        if self.ours is None or self.theirs is None or self.ours.cpu is None or self.theirs.cpu is None:
            return None
        return _part(self.theirs.cpu, self.ours.cpu)


class Curve(msgspec.Struct, frozen=True):
    """How something grows: points (x, y) of each line, by the line's name."""

    benchmark: str
    name: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]]


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured; nothing that tells whose machine it is. `load`: of the minute before the
    start."""

    cores: int
    processor: str
    memory_gib: float
    system: str
    python: str
    load: float
    versions: dict[str, str]


class Report(msgspec.Struct, frozen=True):
    """A run: `date` as YYYY-MM-DD."""

    date: str
    quick: bool
    machine: Machine
    rows: list[Row]
    curves: list[Curve]

    def to_json(self) -> bytes:
        """Made for people, too."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def read(text: bytes) -> Report:
    """A report from its JSON. Raises msgspec.DecodeError for anything else."""
    return msgspec.json.decode(text, type=Report)


def merged(reports: Sequence[Report]) -> Report:
    """One of several of the same machine: of each benchmark what the last of them has."""
    rows: dict[str, list[Row]] = {}
    curves: dict[str, list[Curve]] = {}
    for report in reports:
        names = dict.fromkeys([row.benchmark for row in report.rows] + [c.benchmark for c in report.curves])
        rows |= {name: [row for row in report.rows if row.benchmark == name] for name in names}
        curves |= {name: [curve for curve in report.curves if curve.benchmark == name] for name in names}
    last = reports[-1]
    quick = any(report.quick for report in reports)
    return Report(last.date, quick, last.machine, [*chain(*rows.values())], [*chain(*curves.values())])


def _part(one: float, other: float) -> float | None:
    return one / other if one > 0 and other > 0 else None  # less than a tick of the clock says nothing
