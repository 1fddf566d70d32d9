"""The soak in short (`make soak` is the long one): every protocol at work, a few faults, and an accounting of
every message after each. Acceptance 1, 2, 6, 10, 12, 14 and 19, mixed. Nothing here depends on how fast
anything is: a phase is over when every protocol has tried so many things."""

from __future__ import annotations

import random
from pathlib import Path

from faults import CLOCKS, FILES, HOSTS, KILL, NAMES, RELOAD, Fault
from phases import go_through
from soaked_house import soaked_house
from watch import grown, read_log

TRIES = 12
PHASES: tuple[tuple[Fault, ...], ...] = (
    (),
    (FILES,),
    (HOSTS["refuse"], RELOAD),
    (NAMES["fail"], CLOCKS[-1]),
    (HOSTS["drop"], KILL),
)


def test_nothing_is_lost_and_nothing_doubled_whatever_happens(tmp_path: Path) -> None:
    with soaked_house(tmp_path, random.Random(9)) as house:
        for faults in PHASES:
            go_through(house, faults, tries=TRIES)
            assert house.ledger.broken == []
        assert grown(house.measures, memory=False) == []
        figures = house.ledger.figures()
        assert figures["next host: acknowledged"] and figures["removed"] and figures["kept"], figures
    assert read_log(tmp_path / "server.log").tracebacks == []
