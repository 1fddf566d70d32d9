"""A crowd at port 25, and what it costs the others (acceptance 37).

100 sessions at the same time bring messages (`smtp-source` of Debian's postfix); every error of its counts.
Then 1,000 clients (`--size`) send an octet every ten seconds; meanwhile others deliver a message each, one
after the other: what they wait, from connecting to the 250, before the crowd, with it, and when it has gone.
The full form stays with the crowd for 330 seconds: until it has been timed out.
"""

from __future__ import annotations

import selectors
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from benchmarks.ours import Mta
from benchmarks.peers import program
from benchmarks.plan import Plan
from benchmarks.results import Figure, Measured, Row
from benchmarks.servers import cpu_seconds

TITLE = "A crowd of slow clients at port 25, and what the others wait, ours alone"
SESSIONS = 100
INTERVAL = 10.0  # seconds between two octets of a slow client
ADDRESSES = 10  # that the slow clients come from, so that no limit of one address keeps them out
COMMANDS = (b"HELO b.test\r\n", b"MAIL FROM:<x@b.test>\r\n", b"RCPT TO:<alice@a.test>\r\n", b"DATA\r\n")
MESSAGE = b"Subject: hi\r\n\r\nhello\r\n.\r\n"


class Crowd(threading.Thread):
    """The slow clients. `sent_away`: those that the server has closed."""

    def __init__(self, port: int, clients: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._stopping = threading.Event()
        self.sent_away = self.timed_out = 0
        self._clients = [self._enter(number) for number in range(clients)]

    def _enter(self, number: int) -> socket.socket:
        client = socket.socket()
        client.bind((f"127.0.1.{1 + number % ADDRESSES}", 0))
        client.connect(("127.0.0.1", self._port))
        client.setblocking(False)
        self._selector.register(client, selectors.EVENT_READ)
        return client

    def run(self) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            for key, _ in self._selector.select(0.2):
                self._listen(key.fileobj)  # type: ignore[arg-type]
            if time.monotonic() >= due:
                due += INTERVAL
                for client in self._clients:
                    if client.fileno() >= 0:
                        self._drip(client)

    def _listen(self, client: socket.socket) -> None:
        try:
            data = client.recv(4096)
        except OSError:
            data = b""
        if b"421 4.4.2" in data:
            self.timed_out += 1
        elif data.startswith(b"421"):
            self.sent_away += 1
        if not data:
            self._selector.unregister(client)
            client.close()

    def _drip(self, client: socket.socket) -> None:
        with suppress(OSError):
            client.send(b"E")

    @property
    def present(self) -> int:
        """Clients that are connected."""
        return sum(client.fileno() >= 0 for client in self._clients)

    def stop(self) -> None:
        """All of them leave."""
        self._stopping.set()
        self.join()
        for client in self._clients:
            client.close()


def deliver(port: int) -> float | None:
    """Seconds for one message; None when it was refused."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 30) as client, client.makefile("rwb") as lines:
        for line in (b"", *COMMANDS, MESSAGE):
            lines.write(line)
            lines.flush()
            if not lines.readline().startswith((b"2", b"3")):
                return None
    return time.monotonic() - start


def results(plan: Plan) -> Iterator[Row]:
    """Rows for the parallel sessions, for the others, and for what became of the crowd."""
    clients, messages, seconds = plan.sized(1000, 200), plan.pick(5000, 500), plan.pick(330.0, 10.0)
    unlimited = {"limits": {}, "dns": {"nameservers": ["127.0.0.1:1"]}}  # the limits that it comes with
    mta = Mta(plan.directory() / "ours", ["smtp"], more=unlimited)
    try:
        yield from _parallel(mta, messages)
        yield from _others(mta, "before the crowd", seconds / 4)
        crowd = Crowd(mta.port, clients)
        crowd.start()
        yield from _others(mta, f"beside {clients:,} slow clients", seconds)
        yield _count("slow clients told that time is up", crowd.timed_out)
        yield _count("slow clients told that there are too many", crowd.sent_away)
        yield _count("slow clients still there", crowd.present)
        crowd.stop()
        yield from _others(mta, "after the crowd", seconds / 4)
    finally:
        mta.stop()
    yield _count("tracebacks in the log", mta.process.log_text().count("Traceback"))


def _parallel(mta: Mta, messages: int) -> Iterator[Row]:
    name = f"intake in {SESSIONS} sessions"
    source = program("smtp-source")
    if source is None:
        yield Row("strangers", name, "messages/s", True, remark="not measured: needs smtp-source (postfix)")
        return
    cpu, start = cpu_seconds(mta), time.monotonic()
    command = [source, "-s", str(SESSIONS), "-m", str(messages), "-l", "4096", "-f", "x@b.test"]
    done = subprocess.run(
        [*command, "-t", "alice@a.test", f"inet:127.0.0.1:{mta.port}"],
        capture_output=True,
        text=True,
        check=False,
    )
    seconds, cpu = time.monotonic() - start, (cpu_seconds(mta) - cpu) / messages * 1000
    taken = mta.process.log_text().count(": accepted ")
    yield Row("strangers", name, "messages/s", True, Figure.of([Measured(messages / seconds, cpu)]))
    yield _count(f"errors in {SESSIONS} sessions", len(done.stderr.splitlines()) + messages - taken)


def _others(mta: Mta, when: str, seconds: float) -> Iterator[Row]:
    """Deliver for so long."""
    cpu, end = cpu_seconds(mta), time.monotonic() + seconds
    times: list[float] = []
    refused = 0
    while time.monotonic() < end or len(times) + refused < 100:
        taken = deliver(mta.port)
        if taken is None:
            refused += 1
        else:
            times.append(taken * 1000)
    cpu = (cpu_seconds(mta) - cpu) / max(len(times), 1) * 1000
    if len(times) > 1:
        slow = statistics.quantiles(times, n=100)[98]
        for which, value in (
            ("median", statistics.median(times)),
            ("99th percentile", slow),
            ("longest", max(times)),
        ):
            yield Row(
                "strangers", f"a message {when}: {which}", "ms", False, Figure.of([Measured(value, cpu)])
            )
    yield _count(f"messages refused {when}", refused)


def _count(name: str, number: int) -> Row:
    return Row("strangers", name, "", False, Figure.of([Measured(number)]))


if __name__ == "__main__":
    from benchmarks.__main__ import alone

    alone("strangers")
