"""The IMAP mix: whole sessions by many clients at a time.

A session logs in, lists, asks for a status, selects, fetches, stores, expunges, appends and logs out. Every
client has an account of its own with 100 messages. `--size` is the number of clients.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial

from benchmarks.imap_client import Client
from benchmarks.maildirs import office
from benchmarks.messages import Correspondence
from benchmarks.plan import Kind, Plan, compare
from benchmarks.readers import REUSING, readers
from benchmarks.results import Measured, Row
from benchmarks.servers import MailServer, rate, user, wait_until_idle

TITLE = "The IMAP mix: whole sessions of many clients (Dovecot)"
MESSAGE = next(Correspondence(seed=2).messages(1))


def session(server: MailServer, name: str) -> None:
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


def run(server: MailServer, clients: int, seconds: float) -> Measured:
    """Sessions for that long."""
    end = time.monotonic() + seconds
    done = [0] * clients

    def client(number: int) -> None:
        while time.monotonic() < end:
            session(server, user(number))
            done[number] += 1

    def work() -> int:
        threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(done)

    return rate(server, work)


def results(plan: Plan) -> Iterator[Row]:
    """One row for each peer."""
    clients, seconds = plan.sized(20, 10), plan.pick(5.0, 2.0)
    maildir = office(plan.directory() / "Maildir", 100)
    with readers(plan, maildir, users=clients, also={REUSING: {"reusing": True}}) as there:
        for server in there.servers.values():
            run(server, clients, 1.0)
            wait_until_idle(server)  # what is computed once has been computed
        runs = {name: partial(run, server, clients, seconds) for name, server in there.servers.items()}
        kind = Kind("imap_sessions", f"the IMAP mix, {clients} clients", "sessions/s")
        yield from compare(plan, kind, runs, plan.turns(), there.missing)


if __name__ == "__main__":
    from benchmarks.__main__ import alone

    alone("imap_sessions")
