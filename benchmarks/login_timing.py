"""Does a login tell by its time whether a name exists? PLAIN and SCRAM with wrong passwords over a real
socket, known and unknown names in turn; the medians and their ratio.

    python benchmarks/login_timing.py [ATTEMPTS]      (of each kind; 1,000)

The server is a process of its own with the delay for failures off, so that what is left is the cost of the
check.
"""

from __future__ import annotations

import base64
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KNOWN, UNKNOWN = "alice@a.test", "nobod@a.test"


def serve(directory: Path) -> None:
    """Until it is killed. Prints the port."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from twisted_mta.access.pop3.session import Pop3Session, Pop3Settings
    from twisted_mta.directory.directory import Directory
    from twisted_mta.journey.bus import Journey
    from twisted_mta.store.store import MessageStore
    from twisted_mta.wire.listener import Listener
    from twisted_mta.wire.login import LoginLimits

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


def main() -> None:
    """Measure and print."""
    attempts = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        from twisted_mta.directory.administration import Administration
        from twisted_mta.directory.database import DirectoryDatabase

        Administration(DirectoryDatabase(directory / "directory.sqlite"), ["a.test"]).add_account(
            KNOWN, "correct horse battery"
        )
        server = subprocess.Popen(
            [sys.executable, __file__, "--serve", place], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            client = Client(int(server.stdout.readline()))
            for name in ("scram", "plain"):
                times: dict[str, list[float]] = {KNOWN: [], UNKNOWN: []}
                for number in range(attempts):
                    for login in (KNOWN, UNKNOWN) if number % 2 else (UNKNOWN, KNOWN):
                        times[login].append(getattr(client, name)(login))
                known, unknown = (statistics.median(times[login]) for login in (KNOWN, UNKNOWN))
                print(
                    f"{name:6} known {known * 1000:8.3f} ms   unknown {unknown * 1000:8.3f} ms   "
                    f"ratio {known / unknown:.3f}",
                    flush=True,
                )
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]))
    else:
        main()
