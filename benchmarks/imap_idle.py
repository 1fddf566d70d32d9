"""What sessions cost that do nothing: many clients, logged in, with a mailbox selected, in IDLE.

Told are the memory of the server for each of them, as resident and as proportional set size, what it holds in
all (acceptance 36: less than 250 MB for 10,000), and how long a new client then takes to log in and select.
Sessions share a few accounts, as the devices of one user do. Needs as many file descriptors as there are
sessions, here and in the server (ulimit -n).
"""

from __future__ import annotations

import argparse
import gc
import resource
import socket
import tempfile
import time
from pathlib import Path
from statistics import median

from imap_client import Client
from imap_operations import make_maildir
from servers import PASSWORD, Dovecot, Mta, Server, user

AT_ONCE = 200  # sessions that are begun together
AT_FIRST = 4  # the same while no password has been checked yet: more from one address would be sent away
SETTLE = 2.0  # seconds from the last session to the look at the memory
SPARE = 200  # descriptors for everything else


def memory(server: Server) -> tuple[int, int]:
    """Octets: (resident, proportional) of all its processes."""
    resident = proportional = 0
    for pid in server.pids():
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
        resident += sizes["Rss"] * 1024
        proportional += sizes["Pss"] * 1024
    return resident, proportional


def read_until(connection: socket.socket, wanted: bytes) -> None:
    """Raises RuntimeError when the server says something else, or hangs up."""
    received = b""
    while wanted not in received:
        piece = connection.recv(4096)
        if not piece or b"\r\n* BYE" in received or b"x NO" in received:
            raise RuntimeError(repr(received[-300:]))
        received += piece


def begin(server: Server, count: int, users: int, at_once: int = AT_ONCE) -> list[socket.socket]:
    """That many sessions, in IDLE."""
    sessions = []
    for start in range(0, count, at_once):
        some = [
            socket.create_connection(("127.0.0.1", server.port)) for _ in range(min(at_once, count - start))
        ]
        sessions += some
        for wanted, line in (
            (b"* OK", "x LOGIN {user} {password}\r\n"),
            (b"x OK", "x SELECT INBOX\r\n"),
            (b"x OK", "x IDLE\r\n"),
        ):
            for number, each in enumerate(some, start):
                read_until(each, wanted)
                each.sendall(line.format(user=user(number % users), password=PASSWORD).encode())
        for each in some:
            read_until(each, b"+ ")
    return sessions


def new_login(server: Server) -> float:
    """Seconds from the connection until a mailbox is selected."""
    start = time.perf_counter()
    client = Client(server.port)
    client.command("SELECT INBOX")
    seconds = time.perf_counter() - start
    client.close()
    return seconds


def main() -> None:
    """Make the mail, start the server, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sessions", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--messages", type=int, default=1000, help="in each mailbox")
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--dovecot", action="store_true", help="measure Dovecot in our place")
    options = parser.parse_args()
    wanted = max(options.sessions) + SPARE
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(wanted, 1024), most), most))
    with tempfile.TemporaryDirectory(prefix="bench.") as directory:
        base = Path(directory)
        base.chmod(0o755)
        maildir = make_maildir(base / "Maildir", options.messages)
        server: Server = (Dovecot if options.dovecot else Mta)(base / "server", maildir, options.users)
        try:
            compare(server, options.sessions, options.users)
        finally:
            server.stop()


def compare(server: Server, counts: list[int], users: int) -> None:
    """The whole table; the server begins anew for each line."""
    print(
        f"{server.name:12} {'sessions':>8} {'KiB each':>9} {'(PSS)':>7} {'MiB in all':>11} {'s to begin':>11}"
        f" {'ms a login':>11}"
    )
    gc.disable()
    for count in counts:
        server.restart()
        for session in begin(server, 2 * users, users, AT_FIRST):  # what is computed and loaded once
            session.close()
        new_login(server)
        time.sleep(SETTLE)
        before = memory(server)
        start = time.perf_counter()
        sessions = begin(server, count, users)
        took = time.perf_counter() - start
        time.sleep(SETTLE)
        resident, proportional = (
            (now - then) / count / 1024 for now, then in zip(memory(server), before, strict=True)
        )
        login = median(new_login(server) for _ in range(5)) * 1000
        whole = memory(server)[0] / 2**20
        print(
            f"{'':12} {count:8} {resident:9.1f} {proportional:7.1f} {whole:11.1f} {took:11.1f} {login:11.1f}",
            flush=True,
        )
        for session in sessions:
            session.close()


if __name__ == "__main__":
    main()
