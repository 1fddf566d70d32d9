"""How a directory that grows changes what a login costs: 10 accounts to 10,000.

A session logs in by IMAP, selects and logs out; the sessions are of some accounts all over the directory,
which have logged in before, so that no password hash is counted. Dovecot has its accounts in a `passwd` file.
`--size` is the largest number of accounts.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.imap_client import Client
from benchmarks.plan import Kind, Plan, Run, compare
from benchmarks.readers import readers
from benchmarks.results import OURS, Curve, Measured, Row
from benchmarks.servers import MailServer, timed, user, wait_until_idle

TITLE = "Growth of the directory, 10 to 10,000 accounts (Dovecot)"
SESSIONS = 200  # in a round


def results(plan: Plan) -> Iterator[Row | Curve]:
    """A row for each size, and a curve."""
    most, visited = plan.sized(10_000, 300), plan.pick(50, 5)
    lines: dict[str, list[tuple[float, float]]] = {}
    for size in [size for size in plan.pick((10, 100, 1_000), (10,)) if size < most] + [most]:
        kind = Kind(
            "accounts_growth", f"login, SELECT, logout: {size:,} accounts", "ms", more_is_better=False
        )
        if not plan.wants(kind.name):
            continue
        names = [user(number * size // visited) for number in range(min(visited, size))]
        with readers(plan, None, users=size, listed=True) as there:
            for server in there.servers.values():
                sessions(server, names, len(names))
                wait_until_idle(server)
            runs: dict[str, Run] = {
                n: partial(sessions, server, names) for n, server in there.servers.items()
            }
            for row in compare(plan, kind, runs, plan.turns(), there.missing):
                yield row
                for name, figure in ((OURS, row.ours), (row.peer, row.theirs)):
                    if figure is not None and figure.cpu is not None:
                        lines.setdefault(name, []).append((size, figure.cpu))
    yield Curve("accounts_growth", "A session beside many accounts", "accounts", "processor ms", lines)


def sessions(server: MailServer, names: list[str], count: int = SESSIONS) -> Measured:
    """Milliseconds of one."""

    def work() -> None:
        for number in range(count):
            client = Client(server.port, names[number % len(names)])
            client.command("SELECT INBOX")
            client.close()

    return timed(server, work, count)


if __name__ == "__main__":
    from benchmarks.__main__ import alone

    alone("accounts_growth")
