"""The server's process as the system sees it: memory, descriptors, processor time; and what is in its log."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SPARE_DESCRIPTORS = 64  # more than at the first measure of a life: databases that were not yet open then
SPARE_MEMORY = 64.0  # MiB more than at the first measure of a life: caches that were not yet full then
TWISTEDS_OWN = "Could not reserve EMFILE recovery file descriptor"  # it says so, and goes on
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measure:
    """Taken when all was quiet. life: how often the server had ended before; when: seconds since the
    beginning; memory: MiB that are resident; processor: seconds, of this life."""

    life: int
    when: float
    memory: float
    descriptors: int
    threads: int
    processor: float


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def measure(pid: int, life: int, when: float) -> Measure:
    status = Path(f"/proc/{pid}/status").read_text()
    figures = {name: int(number) for name, number in re.findall(r"(VmRSS|Threads):\s+(\d+)", status)}
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Measure(
        life,
        round(when, 1),
        round(figures["VmRSS"] / 1024, 1),
        descriptors(pid),
        figures["Threads"],
        (int(ticks[11]) + int(ticks[12])) / _TICKS,
    )


def lives(measures: Sequence[Measure]) -> dict[int, list[Measure]]:
    """By life."""
    found: dict[int, list[Measure]] = {}
    for each in measures:
        found.setdefault(each.life, []).append(each)
    return found


def grown(measures: Sequence[Measure], memory: bool) -> list[str]:
    """Where a life needed more descriptors than at its first measure and may be, or `memory`."""
    found = []
    for life, own in lives(measures).items():
        first = own[0]
        for later in own[1:]:
            if later.descriptors > first.descriptors + SPARE_DESCRIPTORS:
                found.append(f"life {life}: {first.descriptors} descriptors became {later.descriptors}")
            if memory and later.memory > first.memory + SPARE_MEMORY:
                found.append(f"life {life}: {first.memory} MiB became {later.memory}")
    return found


@dataclass
class LogFacts:
    """warnings: how many, by their first words."""

    lines: int
    tracebacks: list[str]
    warnings: Counter[str]


def read_log(path: Path) -> LogFacts:
    """Of all lives. A traceback is told with the lines around it."""
    facts, around = LogFacts(0, [], Counter()), 0
    with path.open(encoding="utf-8", errors="replace") as log:
        before = ""
        for line in log:
            facts.lines += 1
            if "Traceback" in line and TWISTEDS_OWN not in before:
                facts.tracebacks.append(before)
                around = 40
            if around:
                facts.tracebacks[-1] += line
                around -= 1
            if found := re.match(r"\S+ (WARNING|ERROR|CRITICAL) \S+ (\D{1,50})", line):
                facts.warnings[f"{found[1]} {found[2].strip()}"] += 1
            before = line
    return facts
