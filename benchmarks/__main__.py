"""`python -m benchmarks [NAME …] [--quick] [--json FILE]`: measure, print the one table, keep the figures.

Without names all those run that are measured beside peers, or show growth; the others go into more depth,
most of them without a peer, and run by their names. `--docs` renews the plots and the table of
docs/benchmarks.md from the figures.
"""

from __future__ import annotations

import argparse
import importlib
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, cast

from benchmarks import ROOT, machine, table
from benchmarks.documents import write_documents
from benchmarks.plan import Plan
from benchmarks.results import Curve, Report, Row, merged, read

BESIDE_PEERS = (
    "transfer",
    "imap_sessions",
    "imap_operations",
    "imap_idle",
    "pop3_sessions",
    "tls_handshakes",
    "mailbox_growth",
    "queue_growth",
    "accounts_growth",
)
IN_DEPTH = (
    "imap_latency",
    "login_timing",
    "strangers",
    "trust_lag",
    "dkim_cost",
    "sieve_cost",
    "journey_cost",
    "bayes_quality",
)


DESCRIPTORS = 20_000  # of this program and of the servers; sessions in IDLE need them


class Benchmark(Protocol):
    """What each of the modules is."""

    TITLE: str

    def results(self, plan: Plan) -> Iterator[Row | Curve]:
        """As soon as each is there."""


def benchmark(name: str) -> Benchmark:
    """The module of that name."""
    return cast(Benchmark, importlib.import_module(f"benchmarks.{name}"))


def measure(names: Sequence[str], plan: Plan) -> Report:
    """Run them in turn and print rows as they come."""
    facts = machine.facts()
    print(table.heading(), flush=True)
    rows: list[Row] = []
    curves: list[Curve] = []
    for result in _all(names, plan):
        if isinstance(result, Curve):
            curves.append(result)
        else:
            rows.append(result)
            print(table.text(result), flush=True)
    return Report(time.strftime("%Y-%m-%d"), plan.quick, facts, rows, curves)


def _all(names: Sequence[str], plan: Plan) -> Iterator[Row | Curve]:
    """What each gives, if it was asked for. What fails says so in a row, for an hour's other figures must not
    be lost; Ctrl-C ends all."""
    for name in names:
        try:
            for result in benchmark(name).results(plan):
                if _is_asked_for(result, plan):
                    yield result
        except KeyboardInterrupt:
            return
        except Exception as error:
            traceback.print_exc()
            yield Row(name, name, "", True, remark=f"failed: {type(error).__name__}")


def _is_asked_for(result: Row | Curve, plan: Plan) -> bool:
    """A row by its name, a curve if any of it was measured."""
    return plan.wants(result.name) if isinstance(result, Row) else any(result.lines.values())


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; none: all that have peers or grow")
    parser.add_argument("--quick", action="store_true", help="smaller, in less than five minutes")
    parser.add_argument("--list", action="store_true", help="what there is")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the figures")
    parser.add_argument("--docs", action="store_true", help="renew the plots and the table in docs/")
    parser.add_argument(
        "--show", type=Path, metavar="FILE", nargs="+", help="figures that were kept, together"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows whose name has this")
    parser.add_argument("--alone", "--ours", action="store_true", help="without the peers")
    parser.add_argument("--rounds", type=int, metavar="N", help="in place of each one's own number")
    parser.add_argument("--size", "--messages", type=int, metavar="N", help="in place of each one's own size")
    parser.add_argument("--directory", type=Path, help="on which disk; otherwise where temporary files are")
    found = parser.parse_args(arguments)
    if unknown := [name for name in found.names if name not in BESIDE_PEERS + IN_DEPTH]:
        parser.error(f"there is no {' '.join(unknown)}; there are {' '.join(BESIDE_PEERS + IN_DEPTH)}")
    if found.docs and (found.names or found.only) and not found.show:
        parser.error("--docs wants all of them; --show puts figures of several runs together")
    return found


def alone(name: str) -> None:
    """The benchmark of that name with the options of the command line: what each module does as a program."""
    main([name, *sys.argv[1:]])


def main(arguments: Sequence[str]) -> None:
    """What the command line says."""
    asked = _arguments(arguments)
    if asked.list:
        for name in BESIDE_PEERS + IN_DEPTH:
            print(f"{name:18} {benchmark(name).TITLE}")
        return
    if asked.show:
        report = merged([read(file.read_bytes()) for file in asked.show])
        print("\n".join([table.facts(report), "", table.heading(), *map(table.text, report.rows)]))
    else:
        report = _measured(asked)
        if asked.only and not report.rows:
            sys.exit(_none_has(asked.only))
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_bytes(report.to_json())
    if asked.docs:
        write_documents(report, ROOT / "docs")


def _none_has(text: str) -> int:
    """The exit code of wrong usage; what rows there are, only the benchmarks know, when they run."""
    print(f"--only: no row has {text!r} in its name; docs/benchmarks.md shows them all", file=sys.stderr)
    return 2


def _end(number: int, frame: object) -> None:
    """Like Ctrl-C, so that the servers that run are stopped."""
    raise KeyboardInterrupt


def _measured(asked: argparse.Namespace) -> Report:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, DESCRIPTORS), most))
    signal.signal(signal.SIGTERM, _end)
    with tempfile.TemporaryDirectory(prefix="bench.", dir=asked.directory) as directory:
        os.chmod(directory, 0o755)
        plan = Plan(Path(directory), asked.quick, asked.rounds, asked.size, asked.only, asked.alone)
        report = measure(asked.names or BESIDE_PEERS, plan)
    print(f"\n{table.facts(report)}")
    return report


if __name__ == "__main__":
    main(sys.argv[1:])
