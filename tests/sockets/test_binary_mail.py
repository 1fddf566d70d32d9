"""Binary mail (RFC 3030) through a running server: into mailboxes, to lists, into Sent, back to its sender,
and on to servers that take it as it is, that take 8 bits, and that take 7."""

from __future__ import annotations

import email
import email.policy
import queue
import smtplib
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from line_client import LineClient
from mail_reader import MailReader, untrusting
from office import PASSWORD, Office, running_office

EVERY = bytes(range(256)) * 40
# What line-oriented programs lose, double, or take for the end of something.
PAYLOAD = EVERY + b"\r\n.\r\n\n.\n\r.\r\r\n\n\r\0\0\r\nQUIT\r\n--b\0\r\n--" + EVERY + b"\n\r"
HEADER = (
    b"From: alice@a.test\r\nTo: bob@a.test\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: binary\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n"
)
TEXT = "Grüße\r\n".encode()
BODY = (
    b"\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + TEXT
) + b"\r\n--b\r\nContent-Type: image/x-test\r\nContent-Transfer-Encoding: binary\r\n\r\n%b\r\n--b--\r\n"


def message(subject: str, payload: bytes = PAYLOAD) -> bytes:
    return HEADER + f"Subject: {subject}\r\n".encode() + BODY % payload


class Sink(socketserver.StreamRequestHandler):
    """A server with these extensions, which takes what comes by DATA or in chunks."""

    server: Peer

    def handle(self) -> None:
        self.wfile.write(b"220 sink\r\n")
        content = mail = b""
        for line in self.rfile:
            verb, _, rest = line.rstrip().partition(b" ")
            if verb == b"EHLO":
                lines = [b"sink", *self.server.extensions]
                self.wfile.write(b"".join(b"250-%b\r\n" % each for each in lines[:-1]))
                self.wfile.write(b"250 %b\r\n" % lines[-1])
                continue
            if verb == b"MAIL":
                mail, content = rest, b""
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                content = b"".join(iter(self.rfile.readline, b".\r\n")).replace(b"\r\n..", b"\r\n.")
            if verb == b"BDAT":
                content += self.rfile.read(int(rest.split()[0]))
            if verb == b"DATA" or rest.endswith(b"LAST"):
                self.server.taken.put((mail, content))
            self.wfile.write(b"250 ok\r\n")
            if verb == b"QUIT":
                return


class Peer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *extensions: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Sink)
        self.extensions = extensions
        self.taken: queue.Queue[tuple[bytes, bytes]] = queue.Queue()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def route(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


PEERS = {
    "binary.test": (b"8BITMIME", b"CHUNKING", b"BINARYMIME"),
    "unchunked.test": (b"8BITMIME", b"BINARYMIME"),
    "chunking.test": (b"8BITMIME", b"CHUNKING"),
    "old.test": (b"SIZE",),
}


class House:
    def __init__(self, office: Office, peers: dict[str, Peer]) -> None:
        self.office = office
        self.peers = peers

    def give(self, service: str, to: str, content: bytes, *, hello: bytes = b"EHLO") -> bytes:
        """The reply to a message that comes in chunks, of which the first ends within a line end."""
        with LineClient(self.office.ports[service]) as client:
            client.reply()
            client.send(hello + b" client.test\r\n")
            assert b"250-BINARYMIME" in client.until(b"250 ")
            client.say(b"MAIL FROM:<alice@a.test> BODY=BINARYMIME")
            assert client.say(f"RCPT TO:<{to}>".encode()).startswith(b"250")
            cut = content.index(b"\r\n") + 1
            client.send(b"BDAT %d\r\n" % cut + content[:cut])
            assert client.reply().startswith(b"250")
            client.send(b"BDAT %d LAST\r\n" % (len(content) - cut) + content[cut:])
            return client.reply()

    def submit(self, to: str, content: bytes) -> bytes:
        """The reply to the same at submission."""
        with smtplib.SMTP("127.0.0.1", self.office.ports["submission"], timeout=60) as client:
            client.starttls(context=untrusting())
            client.login("alice@a.test", PASSWORD)
            client.ehlo()
            assert "binarymime" in client.esmtp_features
            assert client.mail("alice@a.test", ["BODY=BINARYMIME"])[0] == 250
            assert client.rcpt(to)[0] == 250
            client.send(b"BDAT %d LAST\r\n" % len(content) + content)
            return client.getreply()[1]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    peers = {domain: Peer(*extensions) for domain, extensions in PEERS.items()}
    try:
        with running_office(
            tmp_path_factory.mktemp("binary"),
            relay={"routes": {domain: peer.route for domain, peer in peers.items()}},
            submission={"sent_copy": True},
        ) as office:
            yield House(office, peers)
    finally:
        for peer in peers.values():
            peer.shutdown()
            peer.server_close()


def part(reader: MailReader, number: int, section: str) -> bytes:
    """A part as it was before its encoding (RFC 3516)."""
    status, data = reader.imap.fetch(str(number), f"(BINARY.PEEK[{section}])")
    assert status == "OK" and isinstance(data[0], tuple), data
    return data[0][1]


def expect(reader: MailReader, number: int, payload: bytes = PAYLOAD) -> bytes:
    """The message is there, and holds what was sent. Returns it as it lies in the mailbox."""
    reader.wait_for(number)
    assert part(reader, number, "1") == TEXT and part(reader, number, "2") == payload
    kept = reader.fetch(number)
    assert b"\0" not in kept and kept.count(b"\r\n") == kept.count(b"\r") == kept.count(b"\n")
    return kept


@pytest.mark.parametrize("service", ["smtp", "lmtp"])
def test_it_is_the_same_in_the_mailbox(house: House, service: str) -> None:
    with house.office.reader("bob@a.test") as bob:
        hello = b"LHLO" if service == "lmtp" else b"EHLO"
        assert house.give(service, "bob@a.test", message(service), hello=hello).startswith(b"250 2.0.0")
        kept = expect(bob, bob.count + 1)
        assert TEXT in kept and b"Content-Transfer-Encoding: base64\r\n\r\n" in kept


def test_a_large_one_goes_by_way_of_files(house: House) -> None:
    payload = PAYLOAD * 60  # beyond what stays in memory
    with house.office.reader("bob@a.test") as bob:
        house.give("smtp", "bob@a.test", message("large", payload))
        expect(bob, bob.count + 1, payload)


def test_the_whole_message_is_the_binary_part(house: House) -> None:
    content = b"Subject: bare\r\nContent-Type: application/octet-stream\r\n\r\n" + PAYLOAD
    with house.office.reader("bob@a.test") as bob:
        house.give("smtp", "bob@a.test", content)
        bob.wait_for(bob.count + 1)
        assert part(bob, bob.count, "1") == PAYLOAD
        assert b"\r\nMIME-Version: 1.0\r\n" in bob.fetch(bob.count)


def test_the_sender_has_a_copy(house: House) -> None:
    with house.office.reader("bob@a.test") as bob:
        assert house.submit("bob@a.test", message("copied")).startswith(b"2.0.0")
        expect(bob, bob.count + 1)
    with house.office.reader("alice@a.test", "Sent") as sent:
        assert b"Subject: copied" in expect(sent, 1)


def test_the_members_of_a_list_get_it(house: House) -> None:
    options = ("--owner", "alice@a.test", "--member", "bob@a.test", "--posting", "anyone")
    assert house.office.process.mta("list", "add", "club@a.test", *options).returncode == 0
    with house.office.reader("bob@a.test") as bob:
        house.submit("club@a.test", message("listed"))
        assert b"List-Id" in expect(bob, bob.count + 1)


def test_what_a_script_makes_of_it(house: House, tmp_path: Path) -> None:
    """A header that is changed, sent on to a server of other people's, with binary content underneath."""
    script = tmp_path / "script"
    script.write_text(
        'require ["editheader", "copy"];\naddheader "X-Seen" "yes";\nredirect :copy "x@binary.test";\n'
    )
    put = house.office.process.mta("sieve", "put", "--activate", "bob@a.test", "main", str(script))
    assert put.returncode == 0, put.stderr
    try:
        with house.office.reader("bob@a.test") as bob:
            house.submit("bob@a.test", message("scripted"))
            assert b"X-Seen: yes" in expect(bob, bob.count + 1)
        mail, content = house.peers["binary.test"].taken.get(timeout=60)
        assert b"BODY=8BITMIME" in mail and b"X-Seen: yes" in content
        assert decoded(content) == PAYLOAD
    finally:
        house.office.process.mta("sieve", "deactivate", "bob@a.test")


def decoded(content: bytes) -> bytes:
    """The second part, as another reader of MIME sees it."""
    assert b"\0" not in content and content.count(b"\r\n") == content.count(b"\r") == content.count(b"\n")
    found = email.message_from_bytes(content, policy=email.policy.SMTP).get_payload(1)
    payload = found.get_payload(decode=True)  # type: ignore[union-attr]
    assert isinstance(payload, bytes)
    return payload


def test_a_server_that_takes_it_gets_it_as_it_is(house: House) -> None:
    house.submit("x@binary.test", message("as it is"))
    mail, content = house.peers["binary.test"].taken.get(timeout=60)
    assert b"BODY=BINARYMIME" in mail
    assert content.endswith(b"Subject: as it is\r\n" + BODY % PAYLOAD)


@pytest.mark.parametrize(
    ("domain", "body"), [("unchunked.test", b"8BITMIME"), ("chunking.test", b"8BITMIME"), ("old.test", b"")]
)
def test_any_other_server_gets_it_encoded(house: House, domain: str, body: bytes) -> None:
    house.submit(f"x@{domain}", message("encoded"))
    mail, content = house.peers[domain].taken.get(timeout=60)
    assert (b"BODY=" + body in mail) if body else (b"BODY=" not in mail)
    assert decoded(content) == PAYLOAD and b"binary\r\n" not in content
    assert content.isascii() == (domain == "old.test")


def test_what_is_signed_goes_back(house: House) -> None:
    """Nothing of it may be changed, and nobody here can keep it as it is: that is said at once. When a host
    elsewhere cannot, the report has its header."""
    signed = HEADER.replace(b"multipart/mixed", b"multipart/signed") + b"Subject: signed\r\n" + BODY % PAYLOAD
    assert house.submit("bob@a.test", signed).startswith(b"5.6.2 No mailbox keeps binary content")
    with house.office.reader("alice@a.test") as alice:
        house.submit("x@chunking.test", signed)
        alice.wait_for(alice.count + 1)
        report = alice.fetch(alice.count)
        assert b"Status: 5.6.2" in report and b"Subject: signed" in report and b"\0" not in report


def test_a_report_brings_it_back_encoded(house: House) -> None:
    with house.office.reader("alice@a.test") as alice:
        with smtplib.SMTP("127.0.0.1", house.office.ports["submission"], timeout=60) as client:
            client.starttls(context=untrusting())
            client.login("alice@a.test", PASSWORD)
            client.mail("alice@a.test", ["BODY=BINARYMIME", "RET=FULL"])
            client.rcpt("bob@a.test", ["NOTIFY=NEVER"])
            client.rcpt("x@nowhere.invalid", ["NOTIFY=FAILURE"])
            content = message("returned")
            client.send(b"BDAT %d LAST\r\n" % len(content) + content)
            assert client.getreply()[0] == 250
        house.office.process.mta("queue", "bounce", "--recipient", "x@nowhere.invalid")
        alice.wait_for(alice.count + 1)
        report = email.message_from_bytes(alice.fetch(alice.count), policy=email.policy.SMTP)
        (original,) = report.get_payload(2).get_payload()  # type: ignore[union-attr]
        assert original["Subject"] == "returned"  # type: ignore[index,call-overload]
        assert original.get_payload(1).get_payload(decode=True) == PAYLOAD  # type: ignore[union-attr]
