"""Whole sessions by many clients at a time, side by side with Dovecot.

A session logs in, lists, asks for a status, selects, fetches, stores, expunges, appends and logs out. Every
client has an account of its own with some mail. The servers take turns, in several rounds; told are the
medians of the sessions in a second, and the processor time of the server for each. Needs Dovecot and root, as
imap_operations does.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

from imap_client import Client
from imap_operations import make_maildir
from messages import Correspondence
from servers import Dovecot, Mta, Server, cpu_seconds, user, wait_until_idle

MESSAGE = next(Correspondence(seed=2).messages(1))


def session(server: Server, name: str) -> None:
    """One session."""
    client = Client(server.port, name)
    client.command('LIST "" *')
    client.command("STATUS INBOX (MESSAGES UNSEEN UIDNEXT UIDVALIDITY)")
    client.command("SELECT INBOX")
    client.command("FETCH 1:20 (UID FLAGS ENVELOPE RFC822.SIZE)")
    client.command("FETCH 1 BODY.PEEK[]")
    client.command("STORE 1:5 +FLAGS.SILENT (\\Seen)")
    client.command(f"APPEND INBOX (\\Seen) {{{len(MESSAGE)}+}}", MESSAGE, b"\r\n")
    client.command("STORE * +FLAGS.SILENT (\\Deleted)")
    client.command("EXPUNGE")
    client.close()


def run(server: Server, clients: int, seconds: float) -> tuple[float, float]:
    """(sessions a second, processor seconds a session)."""
    end = time.monotonic() + seconds
    done = [0] * clients

    def client(number: int) -> None:
        while time.monotonic() < end:
            session(server, user(number))
            done[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    cpu, start = cpu_seconds(server), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - start), (cpu_seconds(server) - cpu) / sum(done)


def main() -> None:
    """Make the mail, start the servers, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=100, help="in each mailbox")
    parser.add_argument("--alone", action="store_true", help="without Dovecot")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench.") as directory:
        base = Path(directory)
        base.chmod(0o755)
        maildir = make_maildir(base / "Maildir", options.messages)
        servers: list[Server] = [Mta(base / "mta", maildir, options.clients)]
        if not options.alone:
            servers.append(Dovecot(base / "dovecot", maildir, options.clients))
        try:
            for server in servers:
                run(server, options.clients, 1.0)
                wait_until_idle(server)  # what is computed once has been computed
            results: dict[str, list[tuple[float, float]]] = {server.name: [] for server in servers}
            for _ in range(options.rounds):
                for server in servers:
                    results[server.name].append(run(server, options.clients, options.seconds))
            for name, rounds in results.items():
                rate, cpu = (median(column) for column in zip(*rounds, strict=True))
                print(f"{name:12} {rate:7.1f} sessions/s   {cpu * 1000:6.2f} ms of processor time each")
        finally:
            for server in servers:
                server.stop()


if __name__ == "__main__":
    main()
