"""Whole POP3 sessions by a few clients at a time.

A session logs in and asks for STAT, UIDL and every message of 4 KiB, one command after the other, then quits.
Every client is a process of its own with an account of its own. Told besides are what a session costs that is
logged in and says nothing, and STAT in a large mailbox that is warm. `--size` is the number of messages in
each mailbox.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from functools import partial

from benchmarks.maildirs import even, office
from benchmarks.plan import Kind, Plan, Run, compare
from benchmarks.pop3_client import Client
from benchmarks.readers import REUSING, readers
from benchmarks.results import Measured, Row
from benchmarks.servers import MailServer, memory, rate, timed, user, wait_until_idle

TITLE = "POP3 sessions (Dovecot)"
CLIENTS, OCTETS = 4, 4096
LOGINS = 10  # of a round in the large mailbox


def session(port: int, name: str, messages: int) -> None:
    """One session."""
    client = Client(port)
    client.log_in(name)
    client.say(b"STAT")
    client.ask(b"UIDL")
    for number in range(1, messages + 1):
        client.ask(b"RETR %d" % number)
    client.say(b"QUIT")
    client.close()


def work(port: int, name: str, messages: int, seconds: float, done: multiprocessing.SimpleQueue[int]) -> None:
    """Sessions one after the other, at least one."""
    end = time.monotonic() + seconds
    count = 0
    while not count or time.monotonic() < end:
        session(port, name, messages)
        count += 1
    done.put(count)


def run(server: MailServer, messages: int, seconds: float) -> Measured:
    """Sessions of all clients, for that long."""
    done: multiprocessing.SimpleQueue[int] = multiprocessing.SimpleQueue()

    def sessions() -> int:
        workers = [
            multiprocessing.Process(target=work, args=(server.port, user(number), messages, seconds, done))
            for number in range(CLIENTS)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sum(done.get() for _ in workers)

    return rate(server, sessions)


def idle_sessions(server: MailServer, count: int) -> Measured:
    """KiB that a session costs which is logged in and says nothing."""
    before = memory(server).proportional
    opened = []
    for number in range(count):
        client = Client(server.port)
        client.log_in(user(number % CLIENTS))
        opened.append(client)
    held = memory(server).proportional - before
    for client in opened:
        client.close()
    return Measured(held / count / 1024)


def stat(server: MailServer) -> Measured:
    """From the connection to the answer to STAT."""

    def logins() -> None:
        for _ in range(LOGINS):
            client = Client(server.port)
            client.log_in(user(0))
            client.say(b"STAT")
            client.say(b"QUIT")
            client.close()

    return timed(server, logins, LOGINS)


def results(plan: Plan) -> Iterator[Row]:
    """Rows for sessions, silence and a large mailbox."""
    messages, seconds = plan.sized(100, 50), plan.pick(4.0, 2.0)
    maildir = even(plan.directory() / "Maildir", messages, OCTETS)
    with readers(
        plan, maildir, service="pop3", users=CLIENTS, also=plan.pick({REUSING: {"reusing": True}}, {})
    ) as there:
        for server in there.servers.values():
            run(server, messages, 1.0)
            wait_until_idle(server)  # what is computed once has been computed
        runs: dict[str, Run] = {
            n: partial(run, server, messages, seconds) for n, server in there.servers.items()
        }
        kind = Kind("pop3_sessions", f"POP3 sessions of {messages} messages", "sessions/s")
        yield from compare(plan, kind, runs, plan.turns(), there.missing)
        idle: dict[str, Run] = {n: partial(idle_sessions, server, 200) for n, server in there.servers.items()}
        kind = Kind("pop3_sessions", "a POP3 session that says nothing", "KiB", more_is_better=False)
        yield from compare(plan, kind, idle, 1, there.missing)
    large = plan.pick(20_000, 2_000)
    kind = Kind("pop3_sessions", f"login and STAT in {large:,} messages", "ms", more_is_better=False)
    if not plan.wants(kind.name):
        return
    with readers(plan, office(plan.directory() / "Maildir", large), service="pop3") as there:
        for server in there.servers.values():
            stat(server)
            wait_until_idle(server)
        runs = {name: partial(stat, server) for name, server in there.servers.items()}
        yield from compare(plan, kind, runs, plan.turns(), there.missing)


if __name__ == "__main__":
    from benchmarks.__main__ import alone

    alone("pop3_sessions")
