"""What one session's work costs another: how long a NOOP takes while somebody else works on a large mailbox.

One client works, over and over; another one, logged in as another user, says NOOP all the while and measures
each answer. Told are the median, the 99th percentile and the longest. The second client is a process of its
own, so that what is measured is the server and not the interpreter of this program. The rows "nothing" tell
what the machine itself adds. `--size` is the number of messages.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from typing import NamedTuple

from benchmarks.imap_client import Client
from benchmarks.imap_operations import MANY
from benchmarks.maildirs import office
from benchmarks.messages import Correspondence
from benchmarks.plan import Kind, Plan, rows
from benchmarks.readers import readers
from benchmarks.results import OURS, Figure, Measured, Row
from benchmarks.servers import MailServer, user

TITLE = "What the work of one IMAP session costs another (Dovecot)"


class Work(NamedTuple):
    """Commands that are done again and again; {number} in them counts. With `cold` once, and nothing is known
    before; unless `selects`, the mailbox is selected already."""

    name: str
    commands: tuple[str, ...]
    cold: bool = False
    selects: bool = False


FIELDS = "BODY.PEEK[HEADER.FIELDS (SUBJECT FROM DATE MESSAGE-ID)]"
WORK = [
    Work("nothing", ()),
    Work("SELECT, nothing known", ("SELECT INBOX",), cold=True, selects=True),
    Work("FETCH (ENVELOPE BODYSTRUCTURE), cold", (f"FETCH {MANY} (ENVELOPE BODYSTRUCTURE)",), cold=True),
    Work("FETCH (ENVELOPE BODYSTRUCTURE), warm", (f"FETCH {MANY} (ENVELOPE BODYSTRUCTURE)",)),
    Work("FETCH (UID FLAGS)", (f"FETCH {MANY} (UID FLAGS)",)),
    Work(
        "FETCH header fields, always other ones", (f"FETCH {MANY} (BODY.PEEK[HEADER.FIELDS (X-{{number}})])",)
    ),
    Work("FETCH header fields", (f"FETCH {MANY} ({FIELDS})",)),
    Work("FETCH all bodies", (f"FETCH {MANY} (BODY.PEEK[])",)),
    Work("STORE +FLAGS", (f"STORE {MANY} +FLAGS (\\Flagged)", f"STORE {MANY} -FLAGS.SILENT (\\Flagged)")),
    Work("SEARCH SUBJECT", ("SEARCH SUBJECT lolo",)),
    Work("SEARCH BODY, rare word", (f"SEARCH BODY {Correspondence.needle}",)),
    Work("SEARCH BODY, common word", ("SEARCH BODY baba",)),
    Work("SORT (SUBJECT)", ("SORT (SUBJECT) UTF-8 ALL",)),
    Work("THREAD REFERENCES", ("THREAD REFERENCES UTF-8 ALL",)),
    Work("COPY 1,000", ("COPY 1:1000 Copies",)),
]


def say_noop(port: int, name: str, end: Connection) -> None:
    """Say NOOP until something arrives; then send the seconds of each."""
    client = Client(port, name)
    client.command("SELECT INBOX")
    answers: list[float] = []
    end.send(None)
    while not end.poll(0.001):
        start = time.perf_counter()
        client.command("NOOP")
        answers.append(time.perf_counter() - start)
    end.send(answers)
    client.close()


def measure(server: MailServer, work: Callable[[], int]) -> tuple[list[float], int]:
    """The seconds of every NOOP, ascending, while `work` is done, and what it returned."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=say_noop, args=(server.port, user(1), theirs))
    process.start()
    ours.recv()
    times = work()
    ours.send(None)
    answers = sorted(ours.recv())
    process.join()
    return answers, times


def repeat(client: Client, commands: tuple[str, ...], seconds: float) -> int:
    """Carry the commands out again and again, for that long; how many times."""
    times, end = 0, time.monotonic() + seconds
    while not times or time.monotonic() < end:
        for line in commands:
            client.command(line.format(number=times))
        if not commands:
            time.sleep(seconds)
        times += 1
    return times


def results(plan: Plan) -> Iterator[Row]:
    """Three rows for each work."""
    messages, seconds = plan.sized(20_000, 2_000), plan.pick(3.0, 0.5)
    with readers(plan, office(plan.directory() / "Maildir", messages), users=2) as there:
        for work in WORK:
            kinds = {
                part: Kind("imap_latency", f"{which} of NOOP beside {work.name}", "ms", more_is_better=False)
                for which, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
            }
            if not any(plan.wants(kind.name) for kind in kinds.values()):
                continue
            found: dict[str, list[float]] = {}
            missing = dict(there.missing)
            for name, server in there.servers.items():
                try:
                    found[name] = noops(server, work, seconds)
                except RuntimeError as error:
                    missing[name] = str(error)[:100]
            for part, kind in kinds.items():
                figures = {name: Figure.of([Measured(_at(times, part))]) for name, times in found.items()}
                yield from rows(kind, figures.pop(OURS, None), figures, missing)


def noops(server: MailServer, work: Work, seconds: float) -> list[float]:
    """The milliseconds of each NOOP while the work is done, ascending."""
    if work.cold:
        server.forget()
    other = Client(server.port, user(1))
    other.command("SELECT INBOX")
    client = Client(server.port)
    if not work.selects:
        client.command("SELECT INBOX")
    answers, _ = measure(server, partial(repeat, client, work.commands, 0 if work.cold else seconds))
    client.close()
    other.close()
    return [each * 1000 for each in answers]


def _at(ascending: list[float], part: float) -> float:
    return ascending[min(int(len(ascending) * part), len(ascending) - 1)]


if __name__ == "__main__":
    from benchmarks.__main__ import alone

    alone("imap_latency")
