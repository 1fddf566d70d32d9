"""A whole server and strangers who guess at a password, from addresses that a proxy names."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from failing_dns import failing_dns
from process import ServerProcess, free_port

from twisted_mta.service.commands.cli import main

GUESSER, OWNER = "192.0.2.1", "198.51.100.1"
PATIENCE = 20.0


class House:
    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.process = ServerProcess(
            {
                "hostname": "mx.a.test",
                "data_dir": "data",
                "domains": ["a.test"],
                "listen": {"imap": [f"127.0.0.1:{self.port}"]},
                "auth": {"allow_cleartext": True},
                "dns": {"nameservers": [failing_dns()]},
                "proxy": {"networks": ["127.0.0.1"], "services": ["imap"]},
                "bans": {"failures": 4},
            },
            directory,
        )
        self.process.add_account("alice@a.test", "secret")

    def imap(self, host: str) -> socket.socket:
        """A connection that comes from `host`, as far as the server knows."""
        client = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        client.sendall(f"PROXY TCP4 {host} 192.0.2.200 40000 143\r\n".encode())
        return client

    def is_served(self, host: str) -> bool:
        with self.imap(host) as client:
            try:
                return client.recv(100).startswith(b"* OK")
            except ConnectionError:
                return False


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("strangers"))
    house.process.start()
    try:
        yield house
    finally:
        house.process.terminate()
    assert "Traceback" not in house.process.log_text()


def test_who_guesses_is_shut_out_until_lifted(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    with house.imap(OWNER) as client:
        client.recv(1000)
        client.sendall(b"a LOGIN alice@a.test secret\r\n")
        assert b"a OK" in client.recv(1000)
    assert house.is_served(GUESSER)
    guesses = [house.imap(GUESSER) for _ in range(4)]
    for client in guesses:
        client.recv(1000)
        client.sendall(b"a LOGIN alice@a.test guess\r\n")
    for client in guesses:
        assert b"a NO" in client.recv(1000)
        client.close()
    line = house.process.wait_for("banned range=192.0.2.1/32")
    assert "seconds=300 grade=1 service=imap" in line
    assert re.search(r"login-failed service=imap peer=192\.0\.2\.1 login=alice", house.process.log_text())
    assert not house.is_served(GUESSER) and house.is_served(OWNER)

    def mta(*arguments: str) -> str:
        main(["--config", str(house.process.config), "bans", *arguments])
        return "".join(capsys.readouterr())

    assert re.fullmatch(
        r"192\.0\.2\.1/32  until .*: failed logins at imap\n", eventually(lambda: mta("list"), GUESSER)
    )
    assert mta("lift", GUESSER) == "192.0.2.1/32 is banned no longer\n"
    assert eventually(lambda: house.is_served(GUESSER), True)
    assert mta("add", "198.51.100.0/24", "--for", "1h", "--reason", "spite") == "198.51.100.0/24 is banned\n"
    assert not eventually(lambda: house.is_served(OWNER), False)
    assert mta("lift", OWNER) == "198.51.100.0/24 is banned no longer\n"
    assert mta("lift", OWNER) == f"mta: {OWNER} is not banned; see: bans list\n"
    assert mta("list") == "nobody is banned\n"
    assert "never banned" in mta("add", "127.0.0.1")
    assert "neither an address nor a network" in mta("add", "192.0.2.1/24")
    assert "such as" in mta("add", "192.0.2.0/24", "--for", "ever")


def eventually(look: Callable[[], Any], wanted: Any) -> Any:
    """What `look` sees once it sees what is wanted, be it as a part, or in the end."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        seen = look()
        if seen == wanted or (isinstance(seen, str) and wanted in seen):
            break
    return seen
