"""Single operations on a large mailbox, side by side with Dovecot, or with ourselves and another mailbox.

Both servers have a copy of the same Maildir. Each operation runs in turn on one and on the other, so that
noise of the machine meets both; told are the medians of the time until the tagged answer and of the processor
time. Needs Dovecot (apt-get install dovecot-imapd) and root, to run it as another user.

With `--beside 20000` there are two of our servers, and the second has a mailbox of that size: the last column
is how cost grows. Operations on a fixed number of messages (COPY 1,000; 2,000 bodies) should stay near 1.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from imap_client import Client
from messages import Correspondence
from servers import Dovecot, Mta, Server, cpu_seconds, wait_until_idle

MANY = "1:*"


def make_maildir(directory: Path, count: int) -> Path:
    """A Maildir with that many messages, all seen, and an empty folder."""
    for name in ("cur", "new", "tmp", ".Copies/cur", ".Copies/new", ".Copies/tmp"):
        (directory / name).mkdir(parents=True)
    (directory / ".Copies/maildirfolder").touch()
    for number, message in enumerate(Correspondence().messages(count), 1):
        file = directory / f"cur/{1_700_000_000 + number}.M{number}.bench:2,{'' if number % 10 else 'S'}"
        file.write_bytes(message.replace(b"\r\n", b"\n"))
        os.utime(file, (1_700_000_000 + number, 1_700_000_000 + number))
    return directory


Run = Callable[[Server], tuple[float, float]]
Operation = tuple[str, str, str]  # name, what restores the state (a command, or ""), the command

OPERATIONS: list[Operation] = [
    ("SELECT again", "UNSELECT", "SELECT INBOX"),
    ("FETCH (UID FLAGS)", "", f"FETCH {MANY} (UID FLAGS)"),
    ("FETCH (ENVELOPE BODYSTRUCTURE), warm", "", f"FETCH {MANY} (ENVELOPE BODYSTRUCTURE)"),
    ("FETCH header fields", "", f"FETCH {MANY} (BODY.PEEK[HEADER.FIELDS (SUBJECT FROM DATE MESSAGE-ID)])"),
    ("FETCH 2,000 bodies", "", "FETCH 1:2000 (BODY.PEEK[])"),
    ("SEARCH flag", "", "SEARCH SEEN"),
    ("SEARCH SUBJECT", "", "SEARCH SUBJECT lolo"),
    ("SEARCH BODY, rare word", "", f"SEARCH BODY {Correspondence.needle}"),
    ("SEARCH BODY, common word", "", "SEARCH BODY baba"),
    ("SORT (SUBJECT)", "", "SORT (SUBJECT) UTF-8 ALL"),
    ("SORT (DATE)", "", "SORT (REVERSE DATE) UTF-8 ALL"),
    ("THREAD REFERENCES", "", "THREAD REFERENCES UTF-8 ALL"),
    ("STORE +FLAGS", f"STORE {MANY} -FLAGS.SILENT (\\Flagged)", f"STORE {MANY} +FLAGS (\\Flagged)"),
    ("COPY 1,000", "", "COPY 1:1000 Copies"),
]


def measure(servers: list[Server], run: Run, rounds: int) -> list[tuple[float, float]]:
    """(median seconds, median processor seconds) for each server, in turns."""
    walls: list[list[float]] = [[] for _ in servers]
    cpus: list[list[float]] = [[] for _ in servers]
    for _ in range(rounds):
        for number, server in enumerate(servers):
            wall, cpu = run(server)
            walls[number].append(wall)
            cpus[number].append(cpu)
    return [(median(wall), median(cpu)) for wall, cpu in zip(walls, cpus, strict=True)]


def timed(server: Server, work: Callable[[], object]) -> tuple[float, float]:
    """Seconds and processor seconds of the server."""
    cpu, start = cpu_seconds(server), time.perf_counter()
    work()
    return time.perf_counter() - start, cpu_seconds(server) - cpu


def report(name: str, servers: list[Server], results: list[tuple[float, float]]) -> None:
    """One line of the table."""
    cells = [f"{wall * 1000:9.1f} {cpu * 1000:7.0f}" for wall, cpu in results]
    ratio = f"{results[0][0] / results[1][0]:7.2f}" if len(results) > 1 else ""
    print(f"{name:40} {' | '.join(cells)} | {ratio}", flush=True)


def main() -> None:
    """Make the mail, start the servers, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("messages", type=int, nargs="?", default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", action="store_true", help="without Dovecot")
    parser.add_argument("--beside", type=int, default=0, help="ourselves with so many, in place of Dovecot")
    parser.add_argument("--settle", type=float, default=120.0, help="most seconds for the indexer")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench.") as directory:
        base = Path(directory)
        base.chmod(0o755)
        maildir = make_maildir(base / "Maildir", options.messages)
        servers: list[Server] = [Mta(base / "mta", maildir)]
        if options.beside:
            servers[0].name = f"{options.messages} messages"
            servers.append(Mta(base / "beside", make_maildir(base / "Maildir.beside", options.beside)))
            servers[1].name = f"{options.beside} messages"
        elif not options.alone:
            servers.append(Dovecot(base / "dovecot", maildir))
        try:
            compare(servers, options.rounds, options.settle)
        finally:
            for server in servers:
                server.stop()


def compare(servers: list[Server], rounds: int, settle: float) -> None:
    """The whole table: milliseconds until the answer, of processor time, our share of theirs."""
    print(f"{'':40} " + " | ".join(f"{server.name:>17}" for server in servers) + " |   ratio")
    clients: dict[str, Client] = {}

    def connect(server: Server) -> Client:
        clients[server.name] = Client(server.port)
        return clients[server.name]

    def cold_select(server: Server) -> tuple[float, float]:
        server.forget()
        client = connect(server)
        return timed(server, lambda: client.command("SELECT INBOX"))

    def after_restart(server: Server) -> tuple[float, float]:
        server.restart()
        client = connect(server)
        return timed(server, lambda: client.command("SELECT INBOX"))

    def cold_structures(server: Server) -> tuple[float, float]:
        server.forget()
        client = connect(server)
        client.command("SELECT INBOX")
        return timed(server, lambda: client.command(f"FETCH {MANY} (ENVELOPE BODYSTRUCTURE)"))

    few = min(rounds, 3)
    report("SELECT, nothing known", servers, measure(servers, cold_select, few))
    report("FETCH (ENVELOPE BODYSTRUCTURE), cold", servers, measure(servers, cold_structures, few))
    for server in servers:
        clients[server.name].command("SORT (SUBJECT) UTF-8 ALL")
    for server in servers:
        wait_until_idle(server, settle)
    report("SELECT after a restart", servers, measure(servers, after_restart, few))
    for name, before, line in OPERATIONS:

        def operation(server: Server, before: str = before, line: str = line) -> tuple[float, float]:
            client = clients[server.name]
            if before:
                client.command(before)
            return timed(server, lambda: client.command(line))

        try:
            report(name, servers, measure(servers, operation, rounds))
        except RuntimeError as error:
            print(f"{name:40} {error}")


if __name__ == "__main__":
    main()
