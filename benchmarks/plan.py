"""How much is to be measured, and the comparison that all benchmarks share: in turns, medians, a row for each
peer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from benchmarks import peers
from benchmarks.results import OURS, Figure, Measured, Row

_T = TypeVar("_T")
NOT_ASKED = "not asked for"


class Plan(NamedTuple):
    """What was asked for. `size`: in place of the size that a benchmark measures at; `only`: of the rows
    those whose name has this; `alone`: no peers. Directories are made below `room`."""

    room: Path
    quick: bool = False
    rounds: int | None = None
    size: int | None = None
    only: str = ""
    alone: bool = False

    def pick(self, full: _T, quick: _T) -> _T:
        """What belongs to the form that was asked for."""
        return quick if self.quick else full

    def sized(self, full: int, quick: int) -> int:
        """The size, unless another one was asked for."""
        return self.size or self.pick(full, quick)

    def turns(self, full: int = 3, quick: int = 1) -> int:
        """How many rounds."""
        return self.rounds or self.pick(full, quick)

    def wants(self, name: str) -> bool:
        """Whether this row was asked for."""
        return self.only.casefold() in name.casefold()

    def absent(self, peer: peers.Peer) -> str:
        """Why a peer is not measured; "" where it can be."""
        return NOT_ASKED if self.alone else peer.missing()

    def directory(self) -> Path:
        """A new one, that servers under other accounts may enter."""
        made = Path(tempfile.mkdtemp(dir=self.room))
        made.chmod(0o755)
        return made


class Kind(NamedTuple):
    """What the rows of a comparison have in common."""

    benchmark: str
    name: str
    unit: str
    more_is_better: bool = True


Run = Callable[[], Measured]


def compare(
    plan: Plan, kind: Kind, runs: Mapping[str, Run], rounds: int, missing: Mapping[str, str] | None = None
) -> Iterator[Row]:
    """Each run in turn, so that noise of the machine meets all; then a row for each of the peers; nothing if
    nobody has asked for it. `runs` are by the server's name, ours among them; `missing`: why a peer has none.
    A run may raise RuntimeError: the row says it."""
    if not plan.wants(kind.name):
        return
    found: dict[str, list[Measured]] = {name: [] for name in runs}
    failed: dict[str, str] = dict(missing or {})
    for _ in range(rounds):
        for name, run in runs.items():
            if name in failed:
                continue
            try:
                found[name].append(run())
            except RuntimeError as error:
                failed[name] = str(error)[:100]
    ours = None if OURS in failed else Figure.of(found[OURS])
    yield from rows(
        kind, ours, {n: Figure.of(r) for n, r in found.items() if n not in failed and n != OURS}, failed
    )


def rows(
    kind: Kind, ours: Figure | None, theirs: Mapping[str, Figure], missing: Mapping[str, str]
) -> Iterator[Row]:
    """A row for each peer, measured or missing; without any, or without being asked for them, one of ours."""
    remark = missing.get(OURS, "")
    others = [
        name for name, why in missing.items() if name != OURS and name not in theirs and why != NOT_ASKED
    ]
    for name, figure in theirs.items():
        yield Row(*kind, ours, name, figure, remark)
    for name in others:
        yield Row(*kind, ours, name, None, missing[name])
    if not theirs and not others:
        yield Row(*kind, ours, "", None, remark)
