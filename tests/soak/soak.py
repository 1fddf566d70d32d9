"""`make soak`: every protocol under load for some time, faults one by one and mixed, and an accounting.

    PYTHONPATH=.:tests python tests/soak/soak.py --minutes 60 [--seed N] [--directory DIR]

The first two thirds go in rounds: all faults that the process survives, in any order; some in pairs; then
what ends it, alone and with others. In the last third the process is not ended any more, so that its memory
and descriptors can be compared over a longer time. After each phase all loads pause, the queue becomes empty,
and every message is accounted for (`accounting.py`). Ends with status 1 when a promise was broken. The report
is printed, and saved as soak.json beside the server's log.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from faults import KILL, RELOAD, STOP, SUSPEND, Ending, Fault, Lasting, lasting
from phases import Phase, go_through
from small_disk import small_disk
from soak_report import Report
from soaked_house import SoakedHouse, soaked_house
from watch import grown, read_log

SIZE = 2
TRIES = 30  # of each protocol, in each phase
SHOWN = 5  # promises broken in a phase are shown at once
SECONDS = 8.0  # a phase, at least
KILLS = 4  # in a phase


def one_round(rng: random.Random, faults: Sequence[Lasting], endings: bool) -> Iterator[tuple[Fault, ...]]:
    """Its phases."""
    alone: list[Fault] = [*faults, RELOAD, SUSPEND]
    yield ()
    for fault in rng.sample(alone, len(alone)):
        yield (fault,)
    for _ in range(3):
        yield tuple(rng.sample(faults, 2))
    if endings:
        for ending in (KILL, STOP):
            yield (ending,)
            for fault in rng.sample(faults, 3):
                if fault.survives_a_start:
                    yield fault, ending


def soak(house: SoakedHouse, rng: random.Random, seconds: float, with_disk: bool) -> Iterator[Phase]:
    """The phases, as they are over."""
    faults = lasting(with_disk)
    while (elapsed := time.monotonic() - house.began) < seconds:
        for phase in one_round(rng, faults, endings=elapsed < seconds * 2 / 3):
            times = KILLS if KILL in phase else 2 if any(isinstance(one, Ending) for one in phase) else 1
            yield go_through(house, phase, tries=TRIES, seconds=SECONDS, times=times)
            if time.monotonic() - house.began > seconds:
                return


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--directory", type=Path, help="for data, log and report; default: a new one")
    options = parser.parse_args()
    directory: Path = options.directory or Path(tempfile.mkdtemp(prefix="soak-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and the disk is unmounted
    rng, phases = random.Random(options.seed), list[Phase]()
    print(f"seed {options.seed}, in {directory}", flush=True)
    with small_disk(directory / "data", directory / "disk") as kind:
        with soaked_house(directory, rng, SIZE) as house:
            try:
                for phase in soak(house, rng, options.minutes * 60, bool(kind)):
                    phases.append(phase)
                    measured, broken = house.measures[-1], len(house.ledger.broken)
                    print(
                        f"{measured.when:6.0f} s  {phase.name:<44}{phase.operations:>7} done"
                        f"{phase.refused:>7} refused{measured.memory:>7.0f} MiB"
                        f"{measured.descriptors:>5} descriptors{broken:>4} broken",
                        *house.ledger.broken[broken - phase.broken :][:SHOWN],
                        sep="\n    ",
                        flush=True,
                    )
            except Exception:
                house.ledger.complain(f"the soak itself came to its end:\n{traceback.format_exc()}")
            seconds = time.monotonic() - house.began
        for complaint in grown(house.measures, memory=True):
            house.ledger.complain(complaint)
        log = read_log(directory / "server.log")
        report = Report(
            house, phases, log, seed=options.seed, kind=kind or "a disk that is not filled", seconds=seconds
        )
        print(f"\n{report.table()}\n{directory}/soak.json, {directory}/server.log")
        report.save(directory / "soak.json")
    return 1 if house.ledger.broken or log.tracebacks else 0


if __name__ == "__main__":
    sys.exit(main())
