"""Mail as it leaves a running server: signed by the author's domain, sealed when it is sent on; verified by
dkimpy with the records that are to be published."""

from __future__ import annotations

import queue
import smtplib
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from failing_dns import failing_dns
from line_client import LineClient
from mail_reader import MailReader, untrusting
from process import ServerProcess, free_port
from quick_passwords import quick_hash
from signing_house import chain, verified

from twisted_mta.directory.database import DirectoryDatabase
from twisted_mta.service.commands.cli import main
from twisted_mta.trust.dkim.keyring import Keyring

PASSWORD = "correct horse battery"


class Sink(socketserver.StreamRequestHandler):
    """The smarthost; it does not know nobody@far.test."""

    server: Smarthost

    def handle(self) -> None:
        self.wfile.write(b"220 sink\r\n")
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                content = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.taken.put(content)
            refused = b"nobody@" in line
            self.wfile.write(b"550 5.1.1 no such user\r\n" if refused else b"250 ok\r\n")
            if verb == b"QUIT":
                return


class Smarthost(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Sink)
        self.taken: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class House:
    def __init__(self, ports: dict[str, int], smarthost: Smarthost, records: dict[str, list[str]]) -> None:
        self.ports = ports
        self.smarthost = smarthost
        self.records = records

    def submit(self, to: str, message: bytes) -> None:
        with smtplib.SMTP("127.0.0.1", self.ports["submission"], timeout=60) as client:
            client.starttls(context=untrusting())
            client.login("alice@a.test", PASSWORD)
            client.sendmail("alice@a.test", [to], message, mail_options=["BODY=8BITMIME"])

    def sent(self) -> bytes:
        """The next message at the smarthost."""
        return self.smarthost.taken.get(timeout=60)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory: Path = tmp_path_factory.mktemp("signed")
    pytest.importorskip("dkim", reason="dkimpy is not installed: pip install dkimpy pynacl")
    with Smarthost() as smarthost:
        ports = {service: free_port() for service in ("smtp", "submission", "imaps")}
        process = ServerProcess(
            {
                "hostname": "mx.a.test",
                "data_dir": "data",
                "domains": ["a.test"],
                "listen": {service: [f"127.0.0.1:{port}"] for service, port in ports.items()},
                "tls": {"self_signed": True},
                "dns": {"nameservers": [failing_dns()]},
                "relay": {"smarthost": f"127.0.0.1:{smarthost.server_address[1]}"},
                "proxy": {"networks": ["127.0.0.1"], "services": ["smtp"]},
                "reception": {"greeting_delay": 0, "tarpit": 0},
                "trust": {"dns": "1s"},
                "dkim": {"check_dns": False},
            },
            directory,
        )

        def mta(*arguments: str) -> None:
            assert main(["--config", str(process.config), *arguments]) == 0

        mta("dkim", "create", "a.test")
        mta("dkim", "rotate", "a.test", "--now")
        mta("alias", "add", "out@a.test", "eve@far.test")
        database = DirectoryDatabase(directory / "data" / "directory.sqlite")
        database.add_account("alice@a.test", quick_hash(PASSWORD))
        database.close()
        process.start()
        ring = Keyring(directory / "data" / "dkim")
        records = {key.name: [key.record] for key in ring.stored()}
        ring.close()
        try:
            yield House(ports, smarthost, records)
        finally:
            process.terminate()
    assert "Traceback" not in process.log_text()


def test_submitted_mail_is_signed_with_the_fields_we_add(house: House) -> None:
    house.submit("eve@far.test", b"Subject: hello\r\n\r\nHi. \r\n")
    message = house.sent()
    results = verified(message, house.records)
    assert sorted(result.partition(" ")[2] for result in results) == ["pass", "pass"]
    for name in (b"Date", b"Message-ID", b"From"):
        added = message.replace(b"\r\n" + name + b": ", b"\r\n" + name + b": x", 1)
        assert added != message and "pass" not in "".join(verified(added, house.records))


def test_eight_bit_text_is_signed_as_it_arrives(house: House) -> None:
    """The smarthost takes 7 bits only."""
    text = "Grüße aus Köln\r\n".encode()
    house.submit("eve@far.test", b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + text)
    message = house.sent()
    assert message.isascii()
    assert [result.endswith("pass") for result in verified(message, house.records)] == [True, True]


def test_our_reports_are_signed(house: House) -> None:
    house.submit("nobody@far.test", b"Subject: hello\r\n\r\nHi.\r\n")
    with MailReader("127.0.0.1", house.ports["imaps"], "alice", PASSWORD) as inbox:
        inbox.wait_for(1)
        report = inbox.fetch(1)
    assert [result.endswith("pass") for result in verified(report, house.records)] == [True, True]


def test_what_an_alias_sends_on_is_sealed_with_what_was_found(house: House) -> None:
    with LineClient(house.ports["smtp"]) as client:
        client.send(b"PROXY TCP4 192.0.2.1 127.0.0.1 5000 25\r\n")
        assert client.reply().startswith(b"220")
        for command in (b"EHLO far.test", b"MAIL FROM:<>", b"RCPT TO:<out@a.test>"):
            reply = client.say(command)
            assert reply.startswith(b"250"), reply
        client.say(b"DATA")
        client.send(b"From: ann@far.test\r\nSubject: on\r\n\r\ntext\r\n.\r\n")
        assert client.reply().startswith(b"250")
    message = house.sent()
    assert verified(message, house.records) == []
    sealed = chain(message, house.records)
    assert (sealed.result, sealed.sealers) == ("pass", ("a.test",))
    assert "spf=" in sealed.findings and "dkim=none" in sealed.findings
