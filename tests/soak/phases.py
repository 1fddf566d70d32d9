"""One phase: faults, one or several at once, while all protocols are used; then quiet, and all is counted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from faults import Ending, Fault, Lasting
from soaked_house import SoakedHouse


@dataclass
class Phase:
    """What happened. operations, refused, lost: over all protocols; recovery: seconds from the end of the
    fault until all protocols worked again; queue: seconds until all mail had come to its end afterwards;
    broken: promises, by then."""

    name: str
    seconds: float
    operations: int
    refused: int
    lost: int
    recovery: float
    queue: float
    broken: int
    answers: Counter[str] = field(default_factory=Counter)


def go_through(
    house: SoakedHouse, faults: Sequence[Fault], *, tries: int, seconds: float = 0.0, times: int = 1
) -> Phase:
    """Each protocol tries at least so many things, and so much time goes by; what ends the server is done so
    many times, each time after that many tries and a part of the time."""
    began, before = time.monotonic(), _totals(house)
    answers = Counter[str]()
    for tally in house.gate.tallies.values():
        answers.subtract(tally.answers)
    house.gate.open()
    endings = [fault for fault in faults if isinstance(fault, Ending)]
    rounds = times if endings else 1
    with ExitStack() as stack:
        for fault in faults:
            if isinstance(fault, Lasting):
                stack.enter_context(fault.hold(house))
        for _ in range(rounds):
            house.gate.wait_for_tries(tries, seconds / rounds)
            for ending in endings:
                ending.act(house)
    recovery = house.gate.wait_for_operations()
    lasted, after = time.monotonic() - began, _totals(house)
    broken = len(house.ledger.broken)
    house.quiet()
    for tally in house.gate.tallies.values():
        answers.update(tally.answers)
    return Phase(
        " and ".join(fault.name for fault in faults) or "nothing",
        round(lasted, 1),
        *(now - then for now, then in zip(after, before, strict=True)),
        round(recovery, 1),
        round(house.queue_times[-1] if house.queue_times else 0.0, 1),
        len(house.ledger.broken) - broken,
        +answers,
    )


def _totals(house: SoakedHouse) -> tuple[int, int, int]:
    tallies = house.gate.tallies.values()
    return (
        sum(tally.operations for tally in tallies),
        sum(tally.refused for tally in tallies),
        sum(tally.lost for tally in tallies),
    )
