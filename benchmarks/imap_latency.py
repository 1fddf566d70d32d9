"""What one session's work costs another: how long a NOOP takes while somebody else works on a large mailbox.

One client works, over and over; another one, logged in as another user, says NOOP all the while and measures
each answer. Told are the median, the 99th percentile and the longest in milliseconds, how many there were,
and how often the work was done meanwhile. The second client is a process of its own, so that what is measured
is the server and not the interpreter of this program. The line `nothing` tells what the machine itself adds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from imap_client import Client
from imap_operations import MANY, make_maildir
from messages import Correspondence
from servers import Dovecot, Mta, Server, user


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


def measure(server: Server, work: Callable[[], int]) -> tuple[list[float], int]:
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


def main() -> None:
    """Make the mail, start the server, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("messages", type=int, nargs="?", default=20_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each kind of work")
    parser.add_argument("--dovecot", action="store_true", help="measure Dovecot in our place")
    parser.add_argument("--only", default="", help="the work whose name has this in it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench.") as directory:
        base = Path(directory)
        base.chmod(0o755)
        maildir = make_maildir(base / "Maildir", options.messages)
        server: Server = (Dovecot if options.dovecot else Mta)(base / "server", maildir, 2)
        try:
            report(server, [work for work in WORK if options.only in work.name], options.seconds)
        finally:
            server.stop()


def report(server: Server, works: list[Work], seconds: float) -> None:
    """The whole table."""
    print(f"{server.name:40} {'p50':>8} {'p99':>8} {'max':>8} {'NOOPs':>7} {'times':>7}")
    for work in works:
        if work.cold:
            server.forget()
        other = Client(server.port, user(1))
        other.command("SELECT INBOX")
        client = Client(server.port)
        if not work.selects:
            client.command("SELECT INBOX")
        answers, times = measure(server, partial(repeat, client, work.commands, 0 if work.cold else seconds))
        client.close()
        other.close()
        figures = answers[len(answers) // 2], answers[len(answers) * 99 // 100], answers[-1]
        cells = " ".join(f"{each * 1000:8.2f}" for each in figures)
        print(f"{work.name:40} {cells} {len(answers):7} {times:7}", flush=True)


if __name__ == "__main__":
    main()
