"""How a mailbox that grows changes what a client's visit costs: 1,000 messages to 200,000.

A visit selects, looks at the newest 50, sets a flag, appends a message, removes it again and unselects:
nothing in it asks for more when there are more messages. Everything has been computed before; what that takes
is told once for each size, from a server that starts with nothing but the files. `--size` is the largest
mailbox.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

from benchmarks.imap_client import Client
from benchmarks.imap_operations import settle
from benchmarks.imap_sessions import MESSAGE
from benchmarks.maildirs import office
from benchmarks.plan import Kind, Plan, Run, compare
from benchmarks.readers import readers
from benchmarks.results import OURS, Curve, Measured, Row
from benchmarks.servers import MailServer, cpu_seconds, user

TITLE = "Growth of a mailbox, 1,000 to 200,000 messages (Dovecot)"
VISITS, ENOUGH = 20, 5.0  # in a round: so many, or for so many seconds
Lines = dict[str, list[tuple[float, float]]]


def visit(client: Client) -> None:
    """One."""
    selected = client.command("SELECT INBOX")
    there = int(selected.partition(b" EXISTS")[0].rpartition(b" ")[2])
    client.command(f"FETCH {max(1, there - 49)}:* (UID FLAGS ENVELOPE)")
    client.command(f"STORE {there} +FLAGS (\\Flagged)")
    client.command(f"STORE {there} -FLAGS (\\Flagged)")
    client.command(f"APPEND INBOX () {{{len(MESSAGE)}+}}", MESSAGE, b"\r\n")
    client.command("STORE * +FLAGS.SILENT (\\Deleted)")
    client.command("EXPUNGE")
    client.command("UNSELECT")


def visits(server: MailServer) -> Measured:
    """Milliseconds of one."""
    client = Client(server.port)
    cpu, start = cpu_seconds(server), time.perf_counter()
    done = 0
    while not done or (done < VISITS and time.perf_counter() - start < ENOUGH):
        visit(client)
        done += 1
    clock = time.perf_counter() - start
    client.close()
    return Measured(clock / done * 1000, (cpu_seconds(server) - cpu) / done * 1000)


def first_visit(server: MailServer) -> Measured:
    """Milliseconds from SELECT to its answer, with nothing known; the processor time that all of it took."""
    server.forget()
    client = Client(server.port, user(0))
    cpu, start = cpu_seconds(server), time.perf_counter()
    client.command("SELECT INBOX")
    clock = time.perf_counter() - start
    client.close()
    return Measured(clock * 1000, (cpu_seconds(server) - cpu) * 1000)


def results(plan: Plan) -> Iterator[Row | Curve]:
    """Two rows for each size, and three curves."""
    most = plan.sized(200_000, 3_000)
    lines: dict[str, Lines] = {"visit": {}, "cpu": {}, "first": {}}
    sizes = [size for size in (1_000, 10_000, 50_000) if size < most] + [most]
    for size in sizes:
        first = Kind("mailbox_growth", f"SELECT, nothing known of {size:,}", "ms", more_is_better=False)
        warm = Kind("mailbox_growth", f"a visit to a mailbox of {size:,}", "ms", more_is_better=False)
        if not (plan.wants(first.name) or plan.wants(warm.name)):
            continue
        with readers(plan, office(plan.directory() / "Maildir", size)) as there:
            once: dict[str, Run] = {
                name: partial(first_visit, server) for name, server in there.servers.items()
            }
            for row in compare(plan, first, once, 1, there.missing):
                yield row
                _add(lines["first"], size, row, cpu=False)
            for server in there.servers.values():
                settle(server)
                visits(server)
            runs: dict[str, Run] = {name: partial(visits, server) for name, server in there.servers.items()}
            for row in compare(plan, warm, runs, plan.turns(), there.missing):
                yield row
                _add(lines["visit"], size, row, cpu=False)
                _add(lines["cpu"], size, row, cpu=True)
    for which, name, unit in (
        ("visit", "A visit to a mailbox", "ms"),
        ("cpu", "Processor time of a visit to a mailbox", "ms"),
        ("first", "The first SELECT of a mailbox", "ms"),
    ):
        yield Curve("mailbox_growth", name, "messages", unit, lines[which])


def _add(lines: Lines, size: int, row: Row, *, cpu: bool) -> None:
    for name, figure in ((OURS, row.ours), (row.peer, row.theirs)):
        value = None if figure is None else figure.cpu if cpu else figure.value
        if value is not None and (size, value) not in lines.setdefault(name, []):
            lines[name].append((size, value))


if __name__ == "__main__":
    from benchmarks.__main__ import alone

    alone("mailbox_growth")
