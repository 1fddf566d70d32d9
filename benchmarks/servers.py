"""What every server that is measured can do, and what its processes have cost so far."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from benchmarks.results import Measured

USER, PASSWORD = "alice@a.test", "secret"
TICKS = os.sysconf("SC_CLK_TCK")


class Server(Protocol):
    """What is measured. `port` is that of the first service it was asked for."""

    name: str
    port: int

    def pids(self) -> list[int]:
        """The processes that work for it now."""

    def restart(self) -> None:
        """Stop and start, with nothing but the disk to remember by."""

    def stop(self) -> None:
        """The end."""


class MailServer(Server, Protocol):
    """One with mailboxes."""

    def forget(self) -> None:
        """Stop, remove everything that was computed from the mail, start."""


def cpu_seconds(server: Server) -> float:
    """Processor time of all its processes so far, and of those they have waited for."""
    total = 0
    for pid in server.pids():
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / TICKS


class Memory(NamedTuple):
    """Octets of all processes: what each of them has resident, and that with shared pages counted once."""

    resident: int
    proportional: int


def memory(server: Server) -> Memory:
    """What its processes hold now."""
    resident = proportional = 0
    for pid in server.pids():
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
            resident += sizes["Rss"] * 1024
            proportional += sizes["Pss"] * 1024
    return Memory(resident, proportional)


def descendants(pid: int) -> list[int]:
    """A process, its children, theirs, and so on."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def wait_until_idle(server: Server, limit: float = 120.0) -> None:
    """Until it has used hardly any processor time for a second, or the limit is reached."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        before = cpu_seconds(server)
        time.sleep(1.0)
        if cpu_seconds(server) - before < 0.05:
            return


def timed(server: Server, work: Callable[[], object], times: int = 1) -> Measured:
    """Milliseconds by the clock and of the server's processor for each of `times`, which `work` does
    together."""
    cpu, start = cpu_seconds(server), time.perf_counter()
    work()
    clock = time.perf_counter() - start
    return Measured(clock / times * 1000, (cpu_seconds(server) - cpu) / times * 1000)


def rate(server: Server, work: Callable[[], int]) -> Measured:
    """How many a second, and milliseconds of the server's processor for each; `work` returns how many."""
    cpu, start = cpu_seconds(server), time.perf_counter()
    count = work()
    clock = time.perf_counter() - start
    return Measured(count / clock, (cpu_seconds(server) - cpu) / count * 1000)


def answers(port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def same_mail(maildir: Path, home: Path) -> None:
    """A Maildir for one user, of the same files: servers rename them and remove them, nobody writes into
    them."""
    home.mkdir(parents=True)
    shutil.copytree(maildir, home / "Maildir", copy_function=os.link)


def user(number: int) -> str:
    """The login name of the user with that number."""
    return USER if not number else f"user{number}@a.test"
