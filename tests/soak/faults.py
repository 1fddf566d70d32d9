"""What is done to the server while it works. A fault that lasts is a context; one that ends the server does
it, starts it again, and is over."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from small_disk import fill
from soaked_house import SoakedHouse

HOUR, DAY = 3600, 86400
FEW = 8  # descriptors
FILE_SIZE = 100_000  # octets, for files that may not grow
STOPPING = 30.0  # seconds that SIGTERM may take


@dataclass(frozen=True)
class Lasting:
    """hold: from the beginning of the fault to its end. survives_a_start: it is still there when the process
    has been started anew, and the server can start with it."""

    name: str
    hold: Callable[[SoakedHouse], AbstractContextManager[None]]
    survives_a_start: bool = True


@dataclass(frozen=True)
class Ending:
    """act: ends the server and starts it again, or does something else that is over at once; may be done
    several times in a phase."""

    name: str
    act: Callable[[SoakedHouse], None]


Fault = Lasting | Ending


def kill(house: SoakedHouse) -> None:
    house.kill()
    house.start()


def stop(house: SoakedHouse) -> None:
    house.stop()
    if house.stops[-1] > STOPPING:
        house.ledger.complain(f"SIGTERM took {house.stops[-1]:.1f} seconds")
    house.start()


def reload(house: SoakedHouse) -> None:
    done = house.office.process.mta("reload", "--json")
    if done.returncode:
        house.ledger.complain(f"reload: {done.stderr}")


@contextmanager
def files_that_may_not_grow(house: SoakedHouse) -> Iterator[None]:
    pid = house.office.process.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (FILE_SIZE, hard))
    try:
        yield
    finally:
        if house.office.process.running and house.office.process.pid == pid:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def full_disk(house: SoakedHouse) -> Iterator[None]:
    filler = house.directory / "data" / "filler"
    fill(filler)
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def few_descriptors(house: SoakedHouse) -> Iterator[None]:
    """A few more than are open when all is quiet, so not all sessions can be had."""
    pid = house.office.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (house.measures[-1].descriptors + FEW, before[1]))
    try:
        yield
    finally:
        if house.office.process.running and house.office.process.pid == pid:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def next_hosts(manner: str) -> Callable[[SoakedHouse], AbstractContextManager[None]]:
    @contextmanager
    def hold(house: SoakedHouse) -> Iterator[None]:
        house.hosts.behave(manner)
        try:
            yield
        finally:
            house.hosts.behave("serve")

    return hold


def names(manner: str) -> Callable[[SoakedHouse], AbstractContextManager[None]]:
    @contextmanager
    def hold(house: SoakedHouse) -> Iterator[None]:
        house.names.manner = manner
        try:
            yield
        finally:
            house.names.manner = "answer"

    return hold


def clock(seconds: int) -> Callable[[SoakedHouse], AbstractContextManager[None]]:
    @contextmanager
    def hold(house: SoakedHouse) -> Iterator[None]:
        house.set_clock(seconds)
        try:
            yield
        finally:
            house.set_clock(0)

    return hold


def suspend(house: SoakedHouse) -> None:
    """As a virtual machine that stands still for a while."""
    os.kill(house.office.process.pid, signal.SIGSTOP)
    try:
        time.sleep(2)
    finally:
        os.kill(house.office.process.pid, signal.SIGCONT)


KILL = Ending("kill -9", kill)
STOP = Ending("SIGTERM", stop)
RELOAD = Ending("reload", reload)
SUSPEND = Ending("SIGSTOP for 2 s", suspend)
FILES = Lasting("files may not grow", files_that_may_not_grow, False)
DISK = Lasting("disk full", full_disk)
DESCRIPTORS = Lasting("few descriptors", few_descriptors, False)
HOSTS = {
    manner: Lasting(f"next hosts {words}", next_hosts(manner))
    for manner, words in {
        "refuse": "refuse",
        "hang": "hang",
        "drop": "drop",
        "busy": "are busy",
    }.items()
}
NAMES = {
    "fail": Lasting("DNS fails", names("fail")),
    "silent": Lasting("DNS is silent", names("silent")),
}
CLOCKS = tuple(
    Lasting(f"clock {words}", clock(seconds))
    for words, seconds in (("+1 h", HOUR), ("-1 h", -HOUR), ("+1 day", DAY), ("-1 day", -DAY))
)


def lasting(with_disk: bool) -> list[Lasting]:
    """All that this system can do."""
    return [
        *(FILES, DESCRIPTORS, *HOSTS.values(), *NAMES.values()),
        *([DISK] if with_disk else ()),
        *CLOCKS,
    ]
