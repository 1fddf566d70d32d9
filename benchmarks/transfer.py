"""Mail in and out, beside Postfix and aiosmtpd: 10 sessions, messages of 4 KiB, all of them durable.

Every round has a server of its own, on the same disk, with an empty queue. Delivery and relay are measured
until the last message is there. What a round leaves is removed at the end: for some minutes ext4 passes over
the inodes of removed files one by one, and would charge that to the next round. `--size` is the number of
messages.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks import ROOT, smtp_load
from benchmarks.aiosmtpd_peer import Aiosmtpd
from benchmarks.ours import Mta
from benchmarks.peers import AIOSMTPD, POSTFIX, program
from benchmarks.plan import Kind, Plan, Run, compare
from benchmarks.postfix import Postfix, Sink
from benchmarks.results import OURS, Measured, Row
from benchmarks.servers import Server, rate

TITLE = "Mail in and out: intake, delivery, relay (Postfix, aiosmtpd)"
PATIENCE = 300.0  # seconds for one round
ALICE, FAR = "alice@a.test", "bob@far.test"


class Work(NamedTuple):
    """What is measured. `holds`: nothing is delivered. `delivers`, `relays`: what is waited for."""

    name: str
    to: str = ALICE
    kept: bool = True
    holds: bool = False
    delivers: bool = False
    relays: bool = False


KINDS = (
    Work("durable intake, kept connections", holds=True),
    Work("durable intake, a connection a message", holds=True, kept=False),
    Work("intake to mailbox", delivers=True),
    Work("relay to a sink", to=FAR, relays=True),
)
# `env` sets what the interpreter imports before anything else.
_WITHOUT_DISPATCHER = ("env", f"PYTHONPATH={ROOT}:{ROOT / 'benchmarks/without_dispatcher'}")


def receiver(directory: Path, *, holds: bool = False, sink: int = 9) -> Mta:
    """Ours. Where nothing is to be delivered its dispatcher is not started."""
    relay = {"smarthost": f"127.0.0.1:{sink}", "allow_networks": ["127.0.0.0/8"]}
    return Mta(directory, ["smtp"], more={"relay": relay}, wrapper=_WITHOUT_DISPATCHER if holds else ())


def results(plan: Plan) -> Iterator[Row]:
    """A row for each kind of work and each peer."""
    messages = plan.sized(5000, 500)
    for work in KINDS:
        kind = Kind("transfer", work.name, "messages/s")
        missing = {peer.name: absent for peer in (POSTFIX, AIOSMTPD) if (absent := plan.absent(peer))}
        if work.relays:
            missing.pop(AIOSMTPD.name, None)  # it has no queue, and relays nothing
            if program("smtp-sink") is None:
                yield Row(*kind, remark="not measured: needs smtp-sink, which comes with Postfix")
                continue
        runs: dict[str, Run] = {OURS: partial(_round, plan, work, messages, _ours)}
        if POSTFIX.name not in missing:
            runs[POSTFIX.name] = partial(_round, plan, work, messages, _postfix)
        if AIOSMTPD.name not in missing and not work.relays:
            runs[AIOSMTPD.name] = partial(_round, plan, work, messages, _aiosmtpd)
        yield from compare(plan, kind, runs, plan.turns(), missing)


def _ours(directory: Path, work: Work, sink: int) -> tuple[Server, Path]:
    mta = receiver(directory, holds=work.holds, sink=sink)
    return mta, mta.home / "Maildir/new"


def _postfix(directory: Path, work: Work, sink: int) -> tuple[Server, Path]:
    postfix = Postfix(directory, holds=work.holds, sink=sink)
    return postfix, postfix.maildir


def _aiosmtpd(directory: Path, work: Work, sink: int) -> tuple[Server, Path]:
    aiosmtpd = Aiosmtpd(directory)
    return aiosmtpd, aiosmtpd.maildir


def _round(
    plan: Plan, work: Work, messages: int, make: Callable[[Path, Work, int], tuple[Server, Path]]
) -> Measured:
    directory = plan.directory()
    sink = Sink(directory) if work.relays else None
    try:
        server, maildir = make(directory / "server", work, sink.port if sink else 9)
        try:
            time.sleep(0.5)  # what a start leaves to do

            def arrived() -> int:
                return sink.messages if sink else _files(maildir) if work.delivers else messages

            def do() -> int:
                smtp_load.send(server.port, messages, work.to, kept=work.kept)
                _wait_for(arrived, messages)
                return messages

            return rate(server, do)
        finally:
            server.stop()
    finally:
        if sink:
            sink.stop()


def _files(directory: Path) -> int:
    return len(os.listdir(directory)) if directory.exists() else 0


def _wait_for(arrived: Callable[[], int], messages: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while (so_far := arrived()) < messages:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{so_far} of {messages} messages arrived")
        time.sleep(0.02)


if __name__ == "__main__":
    from benchmarks.__main__ import alone

    alone("transfer")
