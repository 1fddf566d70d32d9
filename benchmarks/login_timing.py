"""Does a login tell by its time whether a name exists? PLAIN and SCRAM with wrong passwords over a real
socket, known and unknown names in turn: a row for each, whose "peer" is the unknown name, so the ratio should
be 1.

The server is a process of its own with the delay for failures off, so that what is left is the cost of the
check. `--size` is the number of attempts of each kind.
"""

from __future__ import annotations

import base64
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import ROOT
from benchmarks.plan import Plan
from benchmarks.results import Figure, Measured, Row

TITLE = "Whether the time of a failed login tells if a name exists, ours alone"
KNOWN, UNKNOWN = "alice@a.test", "nobod@a.test"


def serve(directory: Path) -> None:
    """Until it is killed. Prints the port."""
    from twisted.internet import reactor as installed
    from twisted.internet.defer import Deferred

    from twisted_mta.access.pop3.session import Pop3Session, Pop3Settings
    from twisted_mta.directory.directory import Directory
    from twisted_mta.journey.bus import Journey
    from twisted_mta.store.store import MessageStore
    from twisted_mta.wire.listener import Listener
    from twisted_mta.wire.login import LoginLimits

    reactor: Any = installed
    house = Directory(directory / "directory.sqlite", ["a.test"], reactor=reactor, scram="always")
    store = MessageStore(directory / "mail", reactor=reactor, hostname="mx.a.test")
    settings = Pop3Settings(
        hostname="mx.a.test", allow_cleartext=True, login=LoginLimits(delay=0.0, failures=10**9)
    )
    listener = Listener(
        lambda: Pop3Session(settings, directory=house, store=store, journey=Journey(), reactor=reactor),
        reactor=reactor,
    )

    async def begin() -> None:
        await house.start()
        await store.start()
        port = reactor.listenTCP(0, listener, interface="127.0.0.1")
        print(port.getHost().port, flush=True)

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(begin()))
    reactor.run()


class Client:
    """One connection after another would measure connections: there is one."""

    def __init__(self, port: int) -> None:
        self._file = socket.create_connection(("127.0.0.1", port)).makefile("rwb", 0)
        self._file.readline()

    def say(self, line: bytes) -> bytes:
        self._file.write(line + b"\r\n")
        return self._file.readline()

    def plain(self, login: str) -> float:
        response = base64.b64encode(f"\0{login}\0wrong".encode())
        began = time.perf_counter()
        assert self.say(b"AUTH PLAIN " + response).startswith(b"-ERR [AUTH]")
        return time.perf_counter() - began

    def scram(self, login: str) -> float:
        """With a proof that costs the client nothing and is wrong."""
        first = base64.b64encode(f"n,,n={login},r=abc".encode())
        began = time.perf_counter()
        challenge = base64.b64decode(self.say(b"AUTH SCRAM-SHA-256 " + first)[2:])
        nonce = challenge.split(b",")[0]
        final = b"c=biws," + nonce + b",p=" + base64.b64encode(bytes(32))
        assert self.say(base64.b64encode(final)).startswith(b"-ERR [AUTH]")
        return time.perf_counter() - began


def results(plan: Plan) -> Iterator[Row]:
    """A row for each mechanism."""
    from twisted_mta.directory.administration import Administration
    from twisted_mta.directory.database import DirectoryDatabase

    attempts = plan.sized(1000, 20)
    directory = plan.directory()
    database = DirectoryDatabase(directory / "directory.sqlite")
    Administration(database, ["a.test"]).add_account(KNOWN, "correct horse battery")
    command = [sys.executable, "-m", "benchmarks.login_timing", "--serve", str(directory)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert server.stdout is not None
        client = Client(int(server.stdout.readline()))
        for name, attempt in (("SCRAM-SHA-256", client.scram), ("PLAIN", client.plain)):
            times: dict[str, list[Measured]] = {KNOWN: [], UNKNOWN: []}
            for number in range(attempts):
                for login in (KNOWN, UNKNOWN) if number % 2 else (UNKNOWN, KNOWN):
                    times[login].append(Measured(attempt(login) * 1000))
            known, unknown = Figure.of(times[KNOWN]), Figure.of(times[UNKNOWN])
            yield Row(
                "login_timing", f"{name}, a wrong password", "ms", False, known, "an unknown name", unknown
            )
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]))
    else:
        from benchmarks.__main__ import alone

        alone("login_timing")
