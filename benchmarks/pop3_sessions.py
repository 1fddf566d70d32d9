"""Whole POP3 sessions by a few clients at a time, side by side with Dovecot.

A session logs in and asks for STAT, UIDL and every message, one command after the other, then quits. Every
client is a process of its own with an account of its own. The servers take turns, in several rounds; told are
the medians of the sessions in a second, the processor time of the server for each, and what the server holds
in memory meanwhile and with many sessions that are logged in and say nothing. At the end STAT in a large
mailbox that is warm. Needs Dovecot with its pop3d and root, as imap_operations does.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import tempfile
import time
from pathlib import Path
from statistics import median

from imap_operations import make_maildir
from servers import PASSWORD, Dovecot, Mta, Server, cpu_seconds, memory, user, wait_until_idle

_READ = 64 * 1024


class Client:
    """One connection; answers are read whole."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._line()

    def _line(self) -> bytes:
        data = self._socket.recv(_READ)
        while not data.endswith(b"\r\n"):
            data += self._more()
        return data

    def _more(self) -> bytes:
        data = self._socket.recv(_READ)
        if not data:
            raise ConnectionError("the server has closed the connection")
        return data

    def say(self, command: bytes) -> bytes:
        """The one line that a command is answered with."""
        self._socket.sendall(command + b"\r\n")
        answer = self._line()
        if not answer.startswith(b"+OK"):
            raise RuntimeError(f"{command!r}: {answer!r}")
        return answer

    def ask(self, command: bytes) -> int:
        """The octets of a long answer."""
        self._socket.sendall(command + b"\r\n")
        data = self._line()
        total, end = len(data), data[-5:]
        while end != b"\r\n.\r\n":
            data = self._more()
            total, end = total + len(data), (end + data)[-5:]
        return total

    def log_in(self, name: str) -> None:
        """USER and PASS."""
        self.say(b"USER " + name.encode())
        self.say(b"PASS " + PASSWORD.encode())

    def close(self) -> None:
        """Without QUIT."""
        self._socket.close()


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
    """Sessions one after the other."""
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        session(port, name, messages)
        count += 1
    done.put(count)


def run(server: Server, clients: int, messages: int, seconds: float) -> tuple[float, float, float]:
    """(sessions a second, processor milliseconds a session, MiB in memory meanwhile)."""
    done: multiprocessing.SimpleQueue[int] = multiprocessing.SimpleQueue()
    workers = [
        multiprocessing.Process(target=work, args=(server.port, user(number), messages, seconds, done))
        for number in range(clients)
    ]
    cpu, start = cpu_seconds(server), time.perf_counter()
    for worker in workers:
        worker.start()
    time.sleep(seconds / 2)
    held = memory(server)
    for worker in workers:
        worker.join()
    count = sum(done.get() for _ in workers)
    passed = time.perf_counter() - start
    return count / passed, (cpu_seconds(server) - cpu) / count * 1000, held / 2**20


def idle_sessions(server: Server, count: int, clients: int) -> float:
    """KiB that a session costs which is logged in and says nothing."""
    before = memory(server)
    opened = []
    for number in range(count):
        client = Client(server.port)
        client.log_in(user(number % clients))
        opened.append(client)
    held = memory(server) - before
    for client in opened:
        client.close()
    return held / count / 1024


def stat_of_large(server: Server) -> float:
    """Milliseconds from PASS to the answer to STAT, the mailbox being warm."""
    times = []
    for _ in range(10):
        client = Client(server.port)
        client.say(b"USER " + user(0).encode())
        start = time.perf_counter()
        client.say(b"PASS " + PASSWORD.encode())
        client.say(b"STAT")
        times.append(time.perf_counter() - start)
        client.say(b"QUIT")
        client.close()
    return median(times) * 1000


def main() -> None:
    """Make the mail, start the servers, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--messages", type=int, default=100, help="in each mailbox")
    parser.add_argument("--octets", type=int, default=4096, help="of each message")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=int, default=200, help="sessions that say nothing; 0 for none")
    parser.add_argument("--large", type=int, default=0, help="messages of a large mailbox, such as 100000")
    parser.add_argument("--alone", action="store_true", help="without Dovecot")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench.") as directory:
        base = Path(directory)
        base.chmod(0o755)
        maildir = even_maildir(base / "Maildir", options.messages, options.octets)
        servers: list[Server] = [Mta(base / "mta", maildir, options.clients, "pop3")]
        if not options.alone:
            servers.append(Dovecot(base / "dovecot", maildir, options.clients, "pop3"))
        try:
            for server in servers:
                run(server, options.clients, options.messages, 1.0)
                wait_until_idle(server)  # what is computed once has been computed
            results: dict[str, list[tuple[float, float, float]]] = {server.name: [] for server in servers}
            for _ in range(options.rounds):
                for server in servers:
                    results[server.name].append(
                        run(server, options.clients, options.messages, options.seconds)
                    )
            for server in servers:
                rate, cpu, held = (median(column) for column in zip(*results[server.name], strict=True))
                idle = idle_sessions(server, options.idle, options.clients) if options.idle else 0.0
                print(
                    f"{server.name:12} {rate:7.1f} sessions/s   {cpu:6.2f} ms of processor time each   "
                    f"{held:6.1f} MiB meanwhile   {idle:7.1f} KiB for an idle session"
                )
        finally:
            for server in servers:
                server.stop()
        if options.large:
            large(base, options.large)


def large(base: Path, messages: int) -> None:
    """STAT in a mailbox with many messages."""
    server = Mta(base / "large", make_maildir(base / "LargeMaildir", messages), 1, "pop3")
    try:
        stat_of_large(server)
        wait_until_idle(server)
        print(f"{messages} messages: login and STAT {stat_of_large(server):.1f} ms")
    finally:
        server.stop()


def even_maildir(path: Path, messages: int, octets: int) -> Path:
    """A Maildir of messages that have the same size."""
    for name in ("cur", "new", "tmp"):
        (path / name).mkdir(parents=True)
    line = b"All work and no play makes Jack a dull boy, and mail a dull thing.\n"
    for number in range(messages):
        header = b"From: eve@far.test\nTo: alice@a.test\nSubject: message %d\nMessage-ID: <%d@far.test>\n\n"
        text = header % (number, number)
        text += (line * (octets // len(line) + 1))[: octets - len(text) - 1] + b"\n"
        (path / "cur" / f"1700000{number:06}.M{number}.far:2,S").write_bytes(text)
    return path


if __name__ == "__main__":
    main()
