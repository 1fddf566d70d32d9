"""The server under load, and all that is around it: next hosts, names, a clock that can be set, every
load."""

from __future__ import annotations

import json
import random
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from access_loads import Collector, Imap, Owner, Watcher, Writer, everything
from accounting import Found, Ledger
from far_hosts import FarHosts, FarNames
from gate import Gate, Load, Refused
from office import PASSWORD, Office
from process import environment
from transfer_loads import DOMAIN, Agent, Stranger, Submitter
from watch import SPARE_DESCRIPTORS, Measure, descriptors, measure

READERS = ("alice", "bob", "carol", "sam")  # who reads with IMAP
SUBMITTERS = ("carol", "sam")
FETCHER = "pat"  # who fetches with POP3
PEOPLE = (*READERS, FETCHER)
QUIET = 400.0  # seconds until the queue must be empty when nothing disturbs it
SETTLING = 15.0  # seconds until connections that have ended are closed


class SoakedHouse:
    """One run. size: how many loads of each kind, in multiples of a few."""

    def __init__(self, directory: Path, rng: random.Random, size: int = 1) -> None:
        self.directory, self.rng = directory, rng
        self.ledger, self.gate = Ledger(), Gate()
        self.began = time.monotonic()
        self.hosts = FarHosts(self.ledger.arrived)
        self.names = FarNames()
        self.measures: list[Measure] = []
        self.starts: list[float] = []  # seconds of each
        self.stops: list[float] = []  # … from SIGTERM to the end
        self.queue_times: list[float] = []  # seconds until the queue was empty
        directory.mkdir(exist_ok=True)
        self._clock = directory / "clock"
        self.set_clock(0)
        self.office = Office(
            directory,
            auth={"allow_cleartext": True},
            relay={"port": self.hosts.port},
            dns={"nameservers": [self.names.address]},
            queue={"retry": ["1s", "2s", "5s"], "connection_idle": "1s"},
            submission={
                "messages_a_day": 0,
                "recipients_a_day": 0,
                "newcomers_a_day": 0,
                "sent_copy": True,
            },
            mailboxes={"keep_deleted": "1m"},
            limits={"connections_per_host": 1000},
        )
        for user in PEOPLE[2:]:
            self.office.process.add_account(f"{user}@{DOMAIN}", PASSWORD)
        done = self.office.process.mta(
            *("alias", "add", f"both@{DOMAIN}", *(f"{user}@{DOMAIN}" for user in PEOPLE[:2]))
        )
        assert done.returncode == 0, done.stderr
        self.loads = self._loads(size)

    def _loads(self, size: int) -> list[Load]:
        ports, gate, ledger = self.office.ports, self.gate, self.ledger
        most = 40 * size

        def chance() -> random.Random:
            return random.Random(self.rng.random())

        loads: list[Load] = [
            *(Owner(gate, ledger, ports["imap"], one, chance(), most) for one in READERS),
            Collector(gate, ledger, ports["pop3"], FETCHER, chance(), most),
            Writer(gate, ports["managesieve"], "bob"),
        ]
        for _ in range(size):
            loads += [Stranger(gate, ledger, ports["smtp"], PEOPLE, chance()) for _ in range(2)]
            loads += [Agent(gate, ledger, ports["lmtp"], PEOPLE, chance())]
            loads += [
                Submitter(gate, ledger, ports["submission"], PEOPLE, chance(), one) for one in SUBMITTERS
            ]
            loads += [Watcher(gate, ports["imap"], one) for one in READERS]
        return loads

    # The server's lives

    def start(self) -> None:
        """Raises NotReady."""
        began = time.monotonic()
        self.office.process.start(*self._with_clock())
        self.starts.append(time.monotonic() - began)

    def kill(self) -> None:
        """`kill -9`, and nothing else."""
        self.office.process.kill9()
        self._is_gone()

    def stop(self) -> None:
        """SIGTERM, and the end."""
        began = time.monotonic()
        self.office.process.terminate()
        self.stops.append(time.monotonic() - began)
        self._is_gone()

    def _is_gone(self) -> None:
        self.hosts.finish()
        self.ledger.life += 1

    # Its clock

    def _with_clock(self) -> tuple[str, ...]:
        """Python runs `settable_clock/sitecustomize.py` before anything else."""
        found = environment()
        return (
            *("env", f"SETTABLE_CLOCK={self._clock}"),
            f"PYTHONPATH={Path(__file__).parent / 'settable_clock'}:{found['PYTHONPATH']}",
        )

    def set_clock(self, seconds: float) -> None:
        """So much before or behind the true time, from now on."""
        with self._clock.open("r+b" if self._clock.exists() else "w+b") as file:
            file.write(struct.pack("d", seconds))

    # Quiet

    def quiet(self) -> None:
        """All sessions end, all mail comes to its end; then all is counted, and the server is measured."""
        self.gate.close()
        self._empty_queue()
        self.ledger.check({user: self._everything(user) for user in PEOPLE})
        for load in self.loads:
            for error in load.errors:
                self.ledger.complain(error)
            load.errors.clear()
        self.measures.append(self._measure())

    def _everything(self, user: str) -> list[Found]:
        """A server that is behind with its work sends clients away for a while."""
        until = time.monotonic() + QUIET
        while True:
            try:
                return list(everything(self.office.ports["imap"], user))
            except (OSError, Refused):
                if time.monotonic() > until:
                    raise
            with self.gate.news:
                self.gate.news.wait(0.1)

    def waiting(self) -> int:
        """Messages in the queue."""
        told = self.office.process.mta("queue", "stats", "--json")
        assert told.returncode == 0, told.stderr
        messages = json.loads(told.stdout)["messages"]
        assert isinstance(messages, int)
        return messages

    def _empty_queue(self) -> None:
        began = retried = time.monotonic()
        self.office.process.mta("queue", "retry")
        while self.waiting():
            now = time.monotonic()
            if now > began + QUIET:
                left = self.office.process.mta("queue", "list").stdout
                self.ledger.complain(f"the queue is not empty after {QUIET} seconds:\n{left[:5000]}")
                return
            if now > retried + 3:  # a destination that has failed rests for minutes
                retried = now
                self.office.process.mta("queue", "retry")
            with self.gate.news:
                self.gate.news.wait(0.1)
        self.queue_times.append(time.monotonic() - began)

    def _measure(self) -> Measure:
        pid, until = self.office.process.pid, time.monotonic() + SETTLING
        first = next((each for each in self.measures if each.life == self.ledger.life), None)
        while first and descriptors(pid) > first.descriptors + SPARE_DESCRIPTORS:
            if time.monotonic() > until:
                break
            with self.gate.news:
                self.gate.news.wait(0.1)
        return measure(pid, self.ledger.life, time.monotonic() - self.began)


@contextmanager
def soaked_house(directory: Path, rng: random.Random, size: int = 1) -> Iterator[SoakedHouse]:
    """Running, with loads that wait at the gate; stopped at the end."""
    house = SoakedHouse(directory, rng, size)
    house.start()
    try:
        for user in READERS:
            with Imap(house.office.ports["imap"], user) as imap:
                imap.ok("CREATE Work")
        for load in house.loads:
            load.start()
        yield house
    finally:
        house.gate.end()
        house.office.process.terminate()
        house.hosts.close()
        house.names.close()
        for load in house.loads:
            if load.ident is not None:
                load.join(60)
