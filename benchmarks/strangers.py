"""A crowd at port 25: `benchmarks/strangers.py [parallel|slow] [--messages 5000] [--sessions 100]
[--clients 1000] [--seconds 60]`.

parallel    `smtp-source` (Debian's postfix) with 100 sessions at the same time; every error of its counts
slow        1,000 clients that send an octet every ten seconds (acceptance item 37);
            meanwhile others deliver a message each, one after the other: what the slowest of a hundred waits,
            from connecting to the 250, before the crowd, with it, and when it has gone. With more clients
            than there are places (2,000) the others are told to come later for ten seconds, but no longer

Seconds of the others are by the clock on the wall and need a quiet machine; those of the processor do not.
"""

from __future__ import annotations

import argparse
import resource
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from servers import cpu_seconds

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from process import ServerProcess, free_port  # noqa: E402

INTERVAL = 10.0  # seconds between two octets of a slow client
ADDRESSES = 10  # that the slow clients come from, so that no limit of one address keeps them out
COMMANDS = (b"HELO b.test\r\n", b"MAIL FROM:<x@b.test>\r\n", b"RCPT TO:<alice@a.test>\r\n", b"DATA\r\n")
MESSAGE = b"Subject: hi\r\n\r\nhello\r\n.\r\n"


class House:
    """A server for a.test with one account."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.process = ServerProcess(
            {
                "hostname": "mx.a.test",
                "data_dir": "data",
                "domains": ["a.test"],
                "listen": {"smtp": [f"127.0.0.1:{self.port}"]},
                "dns": {"nameservers": ["127.0.0.1:1"]},
            },
            directory,
        )
        self.process.add_account("alice@a.test", "secret")
        self.process.start()

    def pids(self) -> list[int]:
        """The processes that work for it now."""
        return [self.process.pid]

    def cpu(self) -> float:
        """Seconds of the processor so far."""
        return cpu_seconds(self)


def parallel(house: House, *, messages: int, sessions: int) -> bool:
    """True when there was no error."""
    source = shutil.which("smtp-source", path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert source, "smtp-source is not installed: apt-get install postfix"
    before, start = house.cpu(), time.monotonic()
    command = [source, "-s", str(sessions), "-m", str(messages), "-l", "4096", "-f", "x@b.test"]
    done = subprocess.run(
        [*command, "-t", "alice@a.test", f"inet:127.0.0.1:{house.port}"], capture_output=True, text=True
    )
    seconds, cpu = time.monotonic() - start, house.cpu() - before
    taken = house.process.log_text().count(": accepted ")
    errors = len(done.stderr.splitlines()) + (messages - taken)
    print(
        f"parallel: {messages} messages in {sessions} sessions: {errors} errors, {messages / seconds:,.0f} "
        f"a second, {cpu / messages * 1000:.2f} ms of the processor each"
    )
    print(done.stderr, end="")
    return not errors and not done.returncode


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
        try:
            client.send(b"E")
        except OSError:
            pass

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


def others(house: House, name: str, seconds: float) -> bool:
    """Deliver for so long; tell how long it took. True when the 99th percentile is under a second."""
    before, end = house.cpu(), time.monotonic() + seconds
    times: list[float] = []
    refused = 0
    while time.monotonic() < end or len(times) + refused < 100:
        taken = deliver(house.port)
        if taken is None:
            refused += 1
        else:
            times.append(taken)
    slowest = statistics.quantiles(times, n=100)[98] if len(times) > 1 else float("inf")
    cpu = house.cpu() - before
    median, slow_ms, longest = (1000 * each for each in (statistics.median(times), slowest, max(times)))
    print(
        f"{name:<8} {len(times):6} delivered, {refused} refused; median {median:.1f} ms, 99th percentile "
        f"{slow_ms:.1f} ms, longest {longest:.0f} ms; {cpu / len(times) * 1000:.2f} ms of the processor each"
    )
    return slowest < 1.0 and not refused


def slow(house: House, *, clients: int, seconds: float) -> bool:
    """True when the others did not suffer."""
    fine = others(house, "before", seconds / 4)
    crowd = Crowd(house.port, clients)
    crowd.start()
    present = crowd.present
    fine &= others(house, "crowd", seconds)
    print(
        f"crowd: {present} came; {crowd.timed_out} were told that time is up, {crowd.sent_away} that there "
        f"are too many; {crowd.present} are there"
    )
    crowd.stop()
    return fine & others(house, "after", seconds / 4)


def main() -> int:
    """The command. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", nargs="?", choices=("parallel", "slow"))
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    fine = True
    with tempfile.TemporaryDirectory(prefix="strangers-") as directory:
        house = House(Path(directory))
        try:
            if options.kind != "slow":
                fine &= parallel(house, messages=options.messages, sessions=options.sessions)
            if options.kind != "parallel":
                fine &= slow(house, clients=options.clients, seconds=options.seconds)
        finally:
            house.process.terminate()
        fine &= "Traceback" not in house.process.log_text()
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
