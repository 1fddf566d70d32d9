"""What a soak has found: one table for people, one JSON object for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from phases import Phase
from soaked_house import SoakedHouse
from watch import SPARE_DESCRIPTORS, SPARE_MEMORY, LogFacts, lives


class Report:
    """Of one run. kind: the disk that its data was on."""

    def __init__(
        self,
        house: SoakedHouse,
        phases: Sequence[Phase],
        log: LogFacts,
        *,
        seed: int,
        kind: str,
        seconds: float,
    ) -> None:
        self.house, self.phases, self.log = house, phases, log
        self.seed, self.kind, self.seconds = seed, kind, seconds

    def table(self) -> str:
        """All of it."""
        parts = (
            self._head(),
            self._protocols(),
            self._faults(),
            self._accounting(),
            self._lives(),
            self._log(),
        )
        return "\n\n".join("\n".join(part) for part in parts) + "\n"

    def save(self, path: Path) -> None:
        """As JSON."""
        tallies = self.house.gate.tallies
        found = {
            "benchmark": "soak",
            "seconds": round(self.seconds, 1),
            "seed": self.seed,
            "disk": self.kind,
            "protocols": {name: vars(tally) for name, tally in tallies.items()},
            "phases": [vars(phase) for phase in self.phases],
            "accounting": self.house.ledger.figures(),
            "broken": self.house.ledger.broken,
            "starts": [round(each, 2) for each in self.house.starts],
            "stops": [round(each, 2) for each in self.house.stops],
            "measures": [vars(each) for each in self.house.measures],
            "log": vars(self.log),
        }
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    def _head(self) -> Iterable[str]:
        starts = self.house.starts
        yield f"Soak of {self.seconds / 60:.1f} minutes on {self.kind}, seed {self.seed}"
        yield (
            f"{self.house.ledger.life + 1} lives of the server, ready after {median(starts):.1f} s (median), "
            f"{max(starts):.1f} s (most)"
        )
        if stops := self.house.stops:
            yield f"SIGTERM to the end: {median(stops):.1f} s (median), {max(stops):.1f} s (most)"

    def _protocols(self) -> Iterable[str]:
        yield f"{'protocol':<24}{'sessions':>10}{'operations':>12}{'refused':>10}{'lost':>8}"
        for name, tally in sorted(self.house.gate.tallies.items()):
            yield f"{name:<24}{tally.sessions:>10}{tally.operations:>12}{tally.refused:>10}{tally.lost:>8}"

    def _faults(self) -> Iterable[str]:
        yield (
            f"{'fault':<44}{'times':>6}{'seconds':>9}{'done':>9}{'refused':>9}{'lost':>7}"
            f"{'works after':>13}{'queue after':>13}{'broken':>8}"
        )
        by_name: dict[str, list[Phase]] = {}
        for phase in self.phases:
            by_name.setdefault(phase.name, []).append(phase)
        for name, phases in by_name.items():
            yield (
                f"{name:<44}{len(phases):>6}{sum(p.seconds for p in phases):>9.0f}"
                f"{sum(p.operations for p in phases):>9}{sum(p.refused for p in phases):>9}"
                f"{sum(p.lost for p in phases):>7}{max(p.recovery for p in phases):>11.1f} s"
                f"{max(p.queue for p in phases):>11.1f} s{sum(p.broken for p in phases):>8}"
            )
            answers = sum((phase.answers for phase in phases), Counter[str]())
            for answer, count in answers.most_common(3):
                yield f"    {count:>6} × {answer}"

    def _accounting(self) -> Iterable[str]:
        yield "copies: where they belong, and what their senders were told"
        for name, number in self.house.ledger.figures().items():
            yield f"{name:<44}{number:>10}"
        yield from self.house.ledger.broken[:50]

    def _lives(self) -> Iterable[str]:
        yield (
            f"{'life':<6}{'measures':>9}{'from':>8}{'to':>8}{'processor':>11}"
            f"{'memory: first':>15}{'last':>7}{'most':>7}{'descriptors: first':>20}{'last':>6}{'most':>6}"
        )
        for life, measures in lives(self.house.measures).items():
            first, last = measures[0], measures[-1]
            yield (
                f"{life:<6}{len(measures):>9}{first.when:>6.0f} s{last.when:>6.0f} s{last.processor:>9.0f} s"
                f"{first.memory:>11.0f} MiB{last.memory:>7.0f}{max(m.memory for m in measures):>7.0f}"
                f"{first.descriptors:>20}{last.descriptors:>6}{max(m.descriptors for m in measures):>6}"
            )
        yield f"allowed beyond the first: {SPARE_MEMORY:.0f} MiB, {SPARE_DESCRIPTORS} descriptors"

    def _log(self) -> Iterable[str]:
        yield f"log: {self.log.lines} lines, {len(self.log.tracebacks)} tracebacks"
        for words, count in self.log.warnings.most_common(20):
            yield f"    {count:>6} × {words}"
        yield from self.log.tracebacks[:5]
