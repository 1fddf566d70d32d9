"""A running server with several users: what they share, what they may keep, and `mta account` meanwhile."""

import imaplib
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest
from process import ServerProcess, free_port

SMTP, IMAP = free_port(), free_port()
CONFIG = {
    "hostname": "mx.a.test",
    "data_dir": "data",
    "domains": ["a.test"],
    "listen": {"smtp": [f"127.0.0.1:{SMTP}"], "imap": [f"127.0.0.1:{IMAP}"]},
    "auth": {"allow_cleartext": True},
    "quota": {"warnings": []},
}
WORK = "Other Users/alice@a.test/Work"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(CONFIG, tmp_path) as running:
        for name in ("alice", "bob"):
            running.add_account(f"{name}@a.test", "secret")
        yield running


def login(name: str) -> imaplib.IMAP4:
    client = imaplib.IMAP4("127.0.0.1", IMAP)
    client.login(f"{name}@a.test", "secret")
    return client


def test_a_limit_counts_at_once(server: ServerProcess) -> None:
    with smtplib.SMTP("127.0.0.1", SMTP) as client, login("alice") as alice:
        client.helo("b.test")

        def rcpt() -> tuple[int, bytes]:
            client.rset()
            client.mail("x@b.test")
            return client.rcpt("alice+detail@a.test")

        assert rcpt()[0] == 250
        server.mta("account", "quota", "alice@a.test", "--messages", "1")
        assert rcpt()[0] == 250
        assert alice.append("INBOX", "", "", b"a: b\r\n\r\n")[0] == "OK"
        shown = server.mta("account", "quota", "alice@a.test").stdout
        assert "messages: 1 messages used, limit 1 messages (its own)" in shown
        assert rcpt() == (452, b"4.2.2 <alice+detail@a.test> Mailbox is full")
        kind, said = alice.append("INBOX", "", "", b"a: b\r\n\r\n")
        assert kind == "NO" and said[0].startswith(b"[OVERQUOTA]")
        server.mta("account", "quota", "alice@a.test", "--messages", "default")
        assert rcpt()[0] == 250
        assert alice.append("INBOX", "", "", b"a: b\r\n\r\n")[0] == "OK"


def test_a_mailbox_is_shared_until_the_account_is_removed(server: ServerProcess) -> None:
    with login("alice") as alice, login("bob") as bob:
        alice.create("Work")
        alice.append("Work", "", "", b"a: b\r\n\r\nshared\r\n")
        assert bob.select(f'"{WORK}"')[0] == "NO"
        assert alice.setacl("Work", "bob@a.test", "lrs")[0] == "OK"
        assert bob.select(f'"{WORK}"') == ("OK", [b"1"])
        assert bob.fetch("1", "BODY[TEXT]")[1][0][1] == b"shared\r\n"
        assert bob.append(f'"{WORK}"', "", "", b"a: b\r\n\r\n")[1][0].startswith(b"[NOPERM]")
        server.mta("account", "remove", "bob@a.test")
        server.add_account("bob@a.test", "secret")
    with login("bob") as bob, login("alice") as alice:
        assert bob.select(f'"{WORK}"')[0] == "NO"
        assert bob.list('""', '"Other Users/*"') == ("OK", [None])
        assert b"bob" not in alice.getacl("Work")[1][0]
