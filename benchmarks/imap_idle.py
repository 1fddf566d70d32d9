"""What sessions cost that do nothing: many clients, logged in, with a mailbox selected, in IDLE.

Told are the memory of the server for each of them and in all (acceptance 36: less than 250 MB for 10,000),
pages that processes share counted once, and how long a new client then takes to log in and select. Sessions
share a few accounts, as the devices of one user do. `--size` is the largest number of sessions. Needs as many
file descriptors as there are sessions, here and in the server (ulimit -n).
"""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.imap_client import Client
from benchmarks.maildirs import office
from benchmarks.plan import Kind, Plan, rows
from benchmarks.readers import readers
from benchmarks.results import OURS, Curve, Figure, Measured, Row
from benchmarks.servers import PASSWORD, MailServer, cpu_seconds, memory, user, wait_until_idle

TITLE = "Many sessions that do nothing, in IDLE: memory, and a new login beside them (Dovecot)"
AT_ONCE = 200  # sessions that are begun together
AT_FIRST = 4  # the same while no password has been checked yet: more from one address would be sent away
HIBERNATING = "Dovecot, hibernating"
MOST_PROCESSES = 1000  # sessions of a Dovecot that has a process for each: about a gigabyte
USERS = 20
SETTLE = 60.0  # most seconds until a server rests


class Idle(NamedTuple):
    """With so many sessions: KiB for each, MiB in all, milliseconds until a new client has selected, and the
    milliseconds of processor time that beginning a session took."""

    each: float
    whole: float
    login: float
    begin: float


def read_until(connection: socket.socket, wanted: bytes) -> None:
    """Raises RuntimeError when the server says something else, or hangs up."""
    received = b""
    while wanted not in received:
        piece = connection.recv(4096)
        if not piece or b"\r\n* BYE" in received or b"x NO" in received:
            raise RuntimeError(repr(received[-300:]))
        received += piece


def begin(server: MailServer, count: int, at_once: int = AT_ONCE) -> list[socket.socket]:
    """That many sessions, in IDLE."""
    sessions = []
    for start in range(0, count, at_once):
        some = [
            socket.create_connection(("127.0.0.1", server.port)) for _ in range(min(at_once, count - start))
        ]
        sessions += some
        for wanted, line in (
            (b"* OK", "x LOGIN {user} {password}\r\n"),
            (b"x OK", "x SELECT INBOX\r\n"),
            (b"x OK", "x IDLE\r\n"),
        ):
            for number, each in enumerate(some, start):
                read_until(each, wanted)
                each.sendall(line.format(user=user(number % USERS), password=PASSWORD).encode())
        for each in some:
            read_until(each, b"+ ")
    return sessions


def new_login(server: MailServer) -> float:
    """Seconds from the connection until a mailbox is selected."""
    start = time.perf_counter()
    client = Client(server.port)
    client.command("SELECT INBOX")
    seconds = time.perf_counter() - start
    client.close()
    return seconds


def measure(server: MailServer, counts: Sequence[int]) -> Iterator[tuple[int, Idle]]:
    """With more and more of them, until there are as many as the last of `counts`."""
    for session in begin(server, 2 * USERS, AT_FIRST):  # what is computed and loaded once
        session.close()
    new_login(server)
    wait_until_idle(server, SETTLE)
    before = memory(server).proportional
    sessions: list[socket.socket] = []
    try:
        for count in counts:
            more, cpu = count - len(sessions), cpu_seconds(server)
            sessions += begin(server, more)
            cpu = (cpu_seconds(server) - cpu) / more * 1000
            wait_until_idle(server, SETTLE)
            held = memory(server).proportional
            login = median(new_login(server) for _ in range(5)) * 1000
            yield count, Idle((held - before) / count / 2**10, held / 2**20, login, cpu)
    finally:
        for session in sessions:
            session.close()


def results(plan: Plan) -> Iterator[Row | Curve]:
    """Three rows for each of the larger numbers, and two curves."""
    most = plan.sized(10_000, 300)
    counts = [count for count in (10, 100, 1000, 10_000) if count < most] + [most]
    found: dict[str, dict[int, Idle]] = {}
    maildir = office(plan.directory() / "Maildir", plan.pick(1000, 200))
    gc.disable()
    with readers(
        plan, maildir, users=USERS, also=plan.pick({HIBERNATING: {"hibernating": True}}, {})
    ) as there:
        missing = dict(there.missing)
        for name, server in there.servers.items():
            found[name] = {}
            few = name not in (OURS, HIBERNATING)
            try:
                found[name] |= measure(
                    server, [count for count in counts if not few or count <= MOST_PROCESSES]
                )
            except (RuntimeError, OSError) as error:
                missing[name] = str(error)[:100]
    gc.enable()
    for count in (count for count in counts if count >= min(most, 1000)):
        figures = {name: idle[count] for name, idle in found.items() if count in idle}
        absent = {name: f"not measured with {count:,} processes" for name in found if name not in figures}
        yield from _rows(count, figures, absent | missing)
    for name, unit, which in (
        ("Memory with sessions in IDLE", "MiB in all", "whole"),
        ("A new login and SELECT beside sessions in IDLE", "ms", "login"),
    ):
        lines = {
            server: [(float(count), getattr(each, which)) for count, each in idle.items()]
            for server, idle in found.items()
        }
        yield Curve("imap_idle", name, "sessions", unit, lines)


def _rows(count: int, found: dict[str, Idle], missing: dict[str, str]) -> Iterator[Row]:
    for name, unit, which in (
        ("memory of one", "KiB", "each"),
        ("memory in all", "MiB", "whole"),
        ("a new login and SELECT", "ms", "login"),
    ):
        kind = Kind("imap_idle", f"{count:,} in IDLE: {name}", unit, more_is_better=False)
        figures = {
            server: Figure.of([Measured(getattr(idle, which), idle.begin if which == "each" else None)])
            for server, idle in found.items()
        }
        yield from rows(kind, figures.pop(OURS, None), figures, missing)


if __name__ == "__main__":
    from benchmarks.__main__ import alone

    alone("imap_idle")
