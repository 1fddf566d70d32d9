"""Single operations on a large mailbox: the time until the tagged answer.

An operation that takes little is repeated within a round until a quarter of a second has passed. `--size` is
the number of messages.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

from benchmarks.imap_client import Client
from benchmarks.maildirs import office
from benchmarks.messages import Correspondence
from benchmarks.plan import Kind, Plan, Run, compare
from benchmarks.readers import readers
from benchmarks.results import Measured, Row
from benchmarks.servers import MailServer, cpu_seconds, timed, wait_until_idle

TITLE = "Single operations in a mailbox of 20,000 messages (Dovecot)"
MANY = "1:*"
ENOUGH, MOST = 0.25, 50  # seconds of one round, and repetitions in it
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


def results(plan: Plan) -> Iterator[Row]:
    """A row for each operation."""
    messages = plan.sized(20_000, 2_000)
    maildir = office(plan.directory() / "Maildir", messages)
    with readers(plan, maildir) as there:
        rounds = plan.turns(5, 2)
        for name, once in (
            ("SELECT, nothing known", _cold_select),
            ("ENVELOPE BODYSTRUCTURE, cold", _cold_fetch),
        ):
            cold: dict[str, Run] = {n: partial(once, server) for n, server in there.servers.items()}
            yield from compare(plan, _kind(name, messages), cold, min(rounds, 3), there.missing)
        for server in there.servers.values():
            settle(server)
        again: dict[str, Run] = {n: partial(_after_restart, server) for n, server in there.servers.items()}
        kind = _kind("SELECT after a restart", messages)
        yield from compare(plan, kind, again, min(rounds, 3), there.missing)
        clients = {name: selected(server) for name, server in there.servers.items()}
        for operation in OPERATIONS:
            runs: dict[str, Run] = {
                name: partial(repeated, server, clients[name], operation)
                for name, server in there.servers.items()
            }
            yield from compare(plan, _kind(operation[0], messages), runs, rounds, there.missing)


def _kind(name: str, messages: int) -> Kind:
    return Kind("imap_operations", f"{name} of {messages:,}", "ms", more_is_better=False)


def selected(server: MailServer) -> Client:
    """A client in the INBOX."""
    client = Client(server.port)
    client.command("SELECT INBOX")
    return client


def settle(server: MailServer) -> None:
    """Until what is computed once has been computed."""
    client = selected(server)
    client.command("SORT (SUBJECT) UTF-8 ALL")
    client.close()
    wait_until_idle(server)


def repeated(server: MailServer, client: Client, operation: Operation) -> Measured:
    """One round of it; what restores the state is not counted."""
    _, before, line = operation
    clock = cpu = 0.0
    times = 0
    while times < 1 or (clock < ENOUGH and times < MOST):
        if before:
            client.command(before)
        begun, start = cpu_seconds(server), time.perf_counter()
        client.command(line)
        clock += time.perf_counter() - start
        cpu += cpu_seconds(server) - begun
        times += 1
    return Measured(clock / times * 1000, cpu / times * 1000)


def _cold_select(server: MailServer) -> Measured:
    server.forget()
    return _select(server)


def _after_restart(server: MailServer) -> Measured:
    server.restart()
    return _select(server)


def _select(server: MailServer) -> Measured:
    client = Client(server.port)
    found = timed(server, lambda: client.command("SELECT INBOX"))
    client.close()
    return found


def _cold_fetch(server: MailServer) -> Measured:
    server.forget()
    client = selected(server)
    found = timed(server, lambda: client.command(f"FETCH {MANY} (ENVELOPE BODYSTRUCTURE)"))
    client.close()
    return found


if __name__ == "__main__":
    from benchmarks.__main__ import alone

    alone("imap_operations")
