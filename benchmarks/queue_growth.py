"""What a long queue costs, 1,000 messages to 1,000,000: its start, a message in, a message out, memory.

Within one process, without the network: at each size fresh processes work by turns with the long queue and
with an empty one, so that both meet the same machine (`queue_work.py`). The cost in and out may not be more
than 1.5 times that of the empty queue. Then over SMTP, nothing being delivered, beside Postfix, which must be
filled over SMTP, too, and so stops at a smaller size. `--size` is the largest.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks import ROOT, smtp_load
from benchmarks.peers import POSTFIX
from benchmarks.plan import Kind, Plan, Run, compare
from benchmarks.postfix import Postfix
from benchmarks.queue_work import fill
from benchmarks.results import OURS, Curve, Figure, Measured, Row
from benchmarks.servers import Server, rate
from benchmarks.transfer import ALICE, receiver

TITLE = "Growth of the queue, 1,000 to 1,000,000 messages (Postfix)"
MOST_OF_POSTFIX = 50_000  # filling it further takes too long
WITHIN = (  # what is told of each size: in words, the unit, and what queue_work.py calls it
    ("start until the first page", "s", "start"),
    ("memory after the start", "MiB", "memory"),
    ("a message in", "ms", "in"),
    ("a message out", "ms", "out"),
)
Told = dict[str, float]  # what queue_work.py says
Lines = dict[str, list[tuple[float, float]]]


def results(plan: Plan) -> Iterator[Row | Curve]:
    """Rows and a curve from within, then the same over SMTP."""
    most = plan.sized(1_000_000, 5_000)
    sizes = [size for size in (1_000, 10_000, 100_000) if size < most] + [most]
    messages = plan.pick(1000, 200)  # in a round
    yield from _within(plan, sizes, messages)
    yield from _over_smtp(plan, sizes, messages)


def _within(plan: Plan, sizes: list[int], messages: int) -> Iterator[Row | Curve]:
    base = plan.directory()
    there = 0
    lines: Lines = {f"{OURS}: in": [], f"{OURS}: out": []}
    for size in sizes:
        if not any(plan.wants(_name(size, what)) for what, _, _ in WITHIN):
            continue
        fill(base / "long", size - there)
        there = size
        rounds = [
            (_in_a_process(base / "empty", messages), _in_a_process(base / "long", messages))
            for _ in range(plan.turns(5, 1))
        ]
        for what, unit, key in WITHIN:
            found = _row(_name(size, what), unit, key, rounds)
            yield found
            if (line := lines.get(f"{OURS}: {key}")) is not None:
                assert found.ours is not None and found.ours.cpu is not None
                line.append((size, found.ours.cpu))
    yield Curve("queue_growth", "A message into a long queue and out of it", "queued", "processor ms", lines)


def _name(size: int, what: str) -> str:
    return f"queue of {size:,}: {what}"


def _row(name: str, unit: str, key: str, rounds: list[tuple[Told, Told]]) -> Row:
    empty, ours = (
        Figure.of([Measured(each[place][key], each[place].get(f"{key} CPU")) for each in rounds])
        for place in (0, 1)
    )
    remark = f"empty: {empty.value:.3g} {unit}"
    if ours.cpu and empty.cpu:
        remark += f", processor ×{ours.cpu / empty.cpu:.2f} of its"
    return Row("queue_growth", name, unit, False, ours, remark=remark)


def _in_a_process(directory: Path, messages: int) -> Told:
    program = [sys.executable, str(ROOT / "benchmarks/queue_work.py"), str(directory), str(messages)]
    told = subprocess.run(program, stdout=subprocess.PIPE, check=True).stdout
    found: Told = json.loads(told)
    return found


def _over_smtp(plan: Plan, sizes: list[int], messages: int) -> Iterator[Row | Curve]:
    base = plan.directory()
    lines: Lines = {}
    ours = receiver(base / "ours", holds=True)
    servers: dict[str, Server] = {OURS: ours}
    absent = plan.absent(POSTFIX)
    try:
        if not absent:
            servers[POSTFIX.name] = Postfix(base / "postfix", holds=True)
        there = dict.fromkeys(servers, 0)  # how many wait in each queue
        for size in sizes:
            kind = Kind("queue_growth", _name(size, "intake by SMTP"), "messages/s")
            if not plan.wants(kind.name):
                continue
            ours.stop()
            fill(base / "ours/data/queue", size - there[OURS])
            ours.restart()
            missing = {POSTFIX.name: absent} if absent else {}
            if size > MOST_OF_POSTFIX and not absent:
                missing = {POSTFIX.name: f"not measured: filled to {there[POSTFIX.name]:,} only"}
            elif not absent:
                smtp_load.send(servers[POSTFIX.name].port, size - there[POSTFIX.name], ALICE)
            runs: dict[str, Run] = {
                name: partial(_accepted, server, messages)
                for name, server in servers.items()
                if name not in missing
            }
            rounds = plan.turns()
            for name in runs:
                there[name] = size + rounds * messages
            for row in compare(plan, kind, runs, rounds, missing):
                yield row
                for name, figure in ((OURS, row.ours), (row.peer, row.theirs)):
                    if figure is not None and figure.cpu is not None:
                        lines.setdefault(name, []).append((size, figure.cpu))
    finally:
        for server in servers.values():
            server.stop()
    yield Curve(
        "queue_growth", "A message accepted by SMTP into a long queue", "queued", "processor ms", lines
    )


def _accepted(server: Server, messages: int) -> Measured:
    def work() -> int:
        smtp_load.send(server.port, messages, ALICE)
        return messages

    return rate(server, work)


if __name__ == "__main__":
    from benchmarks.__main__ import alone

    alone("queue_growth")
