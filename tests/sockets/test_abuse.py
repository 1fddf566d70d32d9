"""A running server against abuse, with a real DNS server: greylisting, lists, traps, refused mail that is
rescued, senders by hand. The strangers' addresses are said by the PROXY protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from line_client import LineClient
from nameserver import Nameserver
from office import Office, running_office
from programs import program

from twisted_mta.service.commands.cli import main

PATIENCE = 30.0
ZONE = """$TTL 300
@ IN SOA ns.test. hostmaster.test. 1 3600 600 86400 300
@ IN NS ns
ns IN A 127.0.0.1
far IN A 192.0.2.1
spam IN A 192.0.2.1
66.2.0.192.bl IN A 127.0.0.2
66.2.0.192.bl IN TXT "seen at a trap"
2.0.0.127.bl IN A 127.0.0.2
test.names IN A 127.0.0.2
spam.test.names IN A 127.0.0.2
3.100.51.198.public IN A 127.255.255.254
"""
REVERSE = """$TTL 300
@ IN SOA ns.test. hostmaster.test. 1 3600 600 86400 300
@ IN NS ns.test.
1 IN PTR far.test.
"""
NAMELESS = REVERSE.partition("1 IN PTR")[0]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    directory = tmp_path_factory.mktemp("abuse")
    program("nsd")
    zones = {"test": ZONE, "2.0.192.in-addr.arpa": REVERSE, "113.0.203.in-addr.arpa": NAMELESS}
    nameserver = Nameserver(zones, directory)
    try:
        with running_office(
            directory / "office",
            dns={"nameservers": [f"127.0.0.1:{nameserver.port}"]},
            proxy={"networks": ["127.0.0.1"], "services": ["smtp"]},
            reception={"greeting_delay": 0, "tarpit": 0},
            trust={"reject_score": 7.0},
            abuse={
                "greylist": {"delay": "1s"},
                "dnsbl": {
                    "reject": 4.0,
                    "lists": {"bl.test": {"score": 4.0}, "names.test": {"kind": "domain", "score": 3.5}},
                },
                "rejects": {"keep": "14d"},
                "traps": {"addresses": ["old@a.test"]},
            },
        ) as office:
            yield office
    finally:
        nameserver.stop()


@contextmanager
def client(office: Office, host: str, sender: str = "ann@far.test") -> Iterator[LineClient]:
    with LineClient(office.ports["smtp"]) as client:
        client.send(f"PROXY TCP4 {host} 192.0.2.200 40000 25\r\n".encode())
        assert client.reply().startswith(b"220")
        client.say(b"HELO out.far.test")
        assert client.say(f"MAIL FROM:<{sender}>".encode()).startswith(b"250")
        yield client


def rcpt(office: Office, host: str, to: str = "alice@a.test", sender: str = "ann@far.test") -> str:
    with client(office, host, sender) as talk:
        return talk.say(f"RCPT TO:<{to}>".encode()).decode()


def send(office: Office, host: str, author: str, sender: str = "ann@far.test") -> str:
    with client(office, host, sender) as talk:
        assert talk.say(b"RCPT TO:<alice@a.test>").startswith(b"250")
        talk.say(b"DATA")
        return talk.say(f"From: <{author}>\r\nSubject: casino\r\n\r\nwin\r\n.".encode()).decode()


def until(office: Office, host: str, code: str, **more: str) -> str:
    """What is said to a recipient, once it begins so."""
    over = time.monotonic() + PATIENCE
    while not (said := rcpt(office, host, **more)).startswith(code):
        assert time.monotonic() < over, said
        time.sleep(0.2)  # there are rates to be kept to
    return said


def mta(office: Office, *arguments: str, config: Path | None = None) -> int:
    return main(["--config", str(config or office.process.config), *arguments])


def test_an_odd_stranger_comes_back_and_is_known(office: Office) -> None:
    said = rcpt(office, "203.0.113.7")
    assert said.startswith("451 4.7.1 We have not had mail from 203.0.113.0/24 before: try again in a minute")
    assert rcpt(office, "192.0.2.1").startswith("250")  # it has a name that leads back
    until(office, "203.0.113.7", "250")
    assert rcpt(office, "203.0.113.99", "bob@a.test").startswith("250")


def test_listed(office: Office) -> None:
    assert rcpt(office, "192.0.2.66") == "550 5.7.1 192.0.2.66 is listed by bl.test: seen at a trap"


def test_a_trap(office: Office) -> None:
    assert rcpt(office, "198.51.100.9", "old@a.test").startswith("550 5.7.1 Nobody has this address")
    assert rcpt(office, "198.51.100.77").startswith("450 4.7.1 198.51.100.0/24 has written to an address")


def test_refused_put_by_and_rescued(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    assert send(office, "192.0.2.1", "eve@spam.test").startswith("250")  # 3.5 points are not enough
    until(office, "192.0.2.1", "250", sender="eve@spam.test")  # greylisted, as it is on a list
    said = send(office, "192.0.2.1", "eve@spam.test", sender="eve@spam.test")
    assert said.startswith("550 5.7.1 Refused: 7.0 points speak against it: spam.test is listed by"), said
    with office.reader("alice", "Rejects") as reader:
        kept = reader.fetch(1)
        assert b'\tx-refused=fail reason="Refused: 7.0 points speak against it: ' in kept
        assert reader.imap.uid("MOVE", "1", "Archive")[0] == "OK"
    office.process.wait_for("junk-learned account=alice@a.test")
    assert mta(office, "senders", "learned", "alice@a.test", "--json") == 0
    learned = json.loads(capsys.readouterr().out)
    assert (learned["junk"], learned["good"]) == (0, 1)


def test_senders_by_hand(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    assert mta(office, "senders", "deny", "203.0.113.0/24", "--note", "pest") == 0
    until(office, "203.0.113.200", "550 5.7.1 Mail from 203.0.113.0/24 is not wanted here")
    assert mta(office, "senders", "remove", "203.0.113.0/24") == 0
    until(office, "203.0.113.200", "250")
    assert mta(office, "senders", "deny", "Far.Test", "--account", "bob@a.test") == 0
    assert mta(office, "senders", "list", "--all") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == [
        "203.0.113.0/24 is denied",
        "203.0.113.0/24 is neither allowed nor denied any longer",
        "far.test is denied by bob@a.test",
    ]
    assert said[3].startswith("denied   far.test  by bob@a.test  since ")
    assert mta(office, "senders", "list") == 0
    assert "nobody is on a list" in capsys.readouterr().out
    for wrong, why in (
        (("allow", "203.0.113.0/24", "--account", "bob@a.test"), "networks are the server's"),
        (("allow", "far.test", "--account", "eve@a.test"), "there is no account eve@a.test"),
        (("deny", "test"), "too much of the world"),
        (("remove", "near.test"), "near.test is not on the list"),
    ):
        assert mta(office, "senders", *wrong) == 1
        assert why in capsys.readouterr().err


def test_what_mta_check_says_of_the_lists(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    assert mta(office, "check") == 0
    assert "dnsbl" not in capsys.readouterr().out
    wrong = office.process.directory / "wrong.toml"
    wrong.write_text(office.process.config.read_text().replace('"bl.test"', '"public.test"'))
    assert mta(office, "check", config=wrong) == 0
    said = capsys.readouterr().out
    assert 'abuse.dnsbl.lists."public.test": it does not list 2.0.0.127' in said
