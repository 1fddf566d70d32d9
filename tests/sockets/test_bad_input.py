"""What strangers send: a clear coded reply or a closed connection, no traceback, others undisturbed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from line_client import LineClient
from office import Office, running_office


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    directory = tmp_path_factory.mktemp("office")
    with running_office(directory, limits={"message_size": "1MiB"}) as office, smtp(office) as bystander:
        yield office
        assert bystander.say(b"NOOP").startswith(b"250")  # its session has not been disturbed


def smtp(office: Office, service: str = "smtp") -> LineClient:
    client = LineClient(office.ports[service])
    assert client.reply().startswith(b"220")
    assert client.say(b"EHLO client.test").startswith(b"250")
    return client


def resident_set(office: Office) -> int:
    """The server's memory in octets, from the kernel."""
    status = Path(f"/proc/{office.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


SMTP_COMMANDS = {
    b"FOO bar": b"500",
    b"": b"500",
    b"\x00": b"500",
    b"NOOP \x00": b"50",
    b"MAIL FROM:<a@b.test>\rRCPT": b"50",
    b"RCPT TO:<alice@a.test>": b"503",
    b"DATA": b"503",
    b"MAIL": b"501",
    b"MAIL FROM:a@b.test": b"501",
    b"MAIL FROM:<a@b..test>": b"55",
    b"MAIL FROM:<a@b.test> SIZE=99999999999": b"552",
    b"MAIL FROM:<a@b.test> SIZE=x": b"501",
    b"MAIL FROM:<a@b.test> FOO=bar": b"555",
    b"A" * 10_000: b"500",
    b"EHLO": b"501",
    b"AUTH PLAIN": b"50",
    "MAIL FROM:<grüße@b.test>".encode(): b"5",
}


@pytest.mark.parametrize("command", SMTP_COMMANDS, ids=repr)
def test_smtp_answers_a_bad_command_with_a_code_and_goes_on(office: Office, command: bytes) -> None:
    with smtp(office) as client:
        reply = client.say(command)
        assert reply.startswith(SMTP_COMMANDS[command]), reply
        assert re.fullmatch(rb"[245]\d\d [\x20-\x7e]*", reply)
        assert client.say(b"NOOP").startswith(b"250")


def test_a_bare_line_feed_in_a_command_is_refused(office: Office) -> None:
    with smtp(office) as client:
        client.send(b"NOOP\nNOOP\r\n")
        assert client.reply().startswith(b"5")


def test_too_many_errors_end_the_session(office: Office) -> None:
    with smtp(office) as client:
        client.send(b"FOO\r\n" * 1000)
        replies = []
        while reply := client.line():
            replies.append(reply[:3])
        assert replies[-1] == b"421" and 5 <= len(replies) <= 100


def test_the_thousand_and_first_recipient_is_told_to_come_later(office: Office) -> None:
    with smtp(office) as client:
        assert client.say(b"MAIL FROM:<>").startswith(b"250")
        for number in range(1000):
            assert client.say(b"RCPT TO:<alice+%d@a.test>" % number).startswith(b"250")
        assert client.say(b"RCPT TO:<alice+x@a.test>").startswith(b"452 4.5.3")
        assert client.say(b"RSET").startswith(b"250")


def test_a_message_over_the_limit_is_refused_and_the_session_stays_in_step(office: Office) -> None:
    with smtp(office) as client:
        client.say(b"MAIL FROM:<>")
        client.say(b"RCPT TO:<alice@a.test>")
        assert client.say(b"DATA").startswith(b"354")
        client.send(b"x" * 998 + b"\r\n" * 1)
        client.send((b"x" * 998 + b"\r\n") * 1200 + b".\r\n")
        assert client.reply().startswith(b"552 5.3.4")
        assert client.say(b"NOOP").startswith(b"250")


@pytest.mark.parametrize("service", ["smtp", "lmtp", "submissions", "smtp data", "imap", "pop3"])
def test_fifty_megabytes_without_a_line_end_cost_no_memory(office: Office, service: str) -> None:
    """Acceptance 33; also inside of TLS, and as content."""
    name, _, data = service.partition(" ")
    before = resident_set(office)
    with LineClient(office.ports[name]) as client:
        if name == "submissions":
            client.start_tls()
        client.line()
        for command in (b"EHLO x.test", b"MAIL FROM:<>", b"RCPT TO:<alice@a.test>", b"DATA") if data else ():
            client.say(command)
        peak = before
        try:
            for _ in range(50):
                client.send(b"x" * 1_000_000)
                peak = max(peak, resident_set(office))
        except OSError:
            pass  # the server had enough
    assert peak - before <= 2 * 2**20


RELAY_TRICKS = [
    b"victim@elsewhere.test",
    b"victim%elsewhere.test@a.test",
    b"@a.test:victim@elsewhere.test",
    b"elsewhere.test!victim",
    b"elsewhere.test!victim@a.test",
    b'"victim@elsewhere.test"@a.test',
    b'"victim@elsewhere.test"',
    b'""@a.test',
    b"victim@[127.0.0.1]",
    b"victim@[IPv6:::1]",
    b"victim@a.test@elsewhere.test",
    b"victim@elsewhere.test@a.test",
    b"victim@elsewhere.test,alice@a.test",
]


@pytest.mark.parametrize("path", RELAY_TRICKS, ids=repr)
def test_no_trick_makes_the_server_a_relay(office: Office, path: bytes) -> None:
    """Acceptance 29. The test client is no member of relay.allow_networks."""
    with smtp(office) as client:
        assert client.say(b"MAIL FROM:<spammer@elsewhere.test>").startswith(b"250")
        assert client.say(b"RCPT TO:<" + path + b">").startswith(b"55")
        assert client.say(b"DATA").startswith((b"503", b"554"))


def test_an_unknown_user_is_refused_at_rcpt(office: Office) -> None:
    """Acceptance 16."""
    with smtp(office) as client:
        client.say(b"MAIL FROM:<someone@elsewhere.test>")
        assert client.say(b"RCPT TO:<nobody@a.test>").startswith(b"550 5.1.1")


ENDS_OF_DATA = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n\x00.\r\n",
    b"\r\n.\x00\r\n",
    b"\r\r\n.\r\r\n",
]


@pytest.mark.parametrize("end", ENDS_OF_DATA, ids=repr)
def test_no_other_end_of_data_smuggles_a_second_message(office: Office, end: bytes) -> None:
    """Acceptance 25: what follows a false end stays inside the first message, which is refused or whole."""
    smuggled = (
        b"MAIL FROM:<admin@a.test>\r\nRCPT TO:<bob@a.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"
    )
    with smtp(office) as client, office.reader("bob@a.test") as reader:
        before = reader.count
        client.say(b"MAIL FROM:<someone@elsewhere.test>")
        client.say(b"RCPT TO:<alice@a.test>")
        assert client.say(b"DATA").startswith(b"354")
        client.send(b"Subject: outer\r\n\r\nbody" + end + smuggled)
        verdict = client.reply()
        if b"\x00" not in end:
            assert verdict.startswith(b"5"), verdict
        if not client.say(b"RSET").startswith(b"250"):
            assert client.at_end()
        reader.imap.noop()
        assert reader.count == before


@pytest.mark.parametrize("service", ["smtp", "submission"])
def test_what_is_pipelined_behind_starttls_is_never_answered(office: Office, service: str) -> None:
    """Acceptance 22 for SMTP."""
    with smtp(office, service) as client:
        client.send(b"STARTTLS\r\nEHLO injected.test\r\nMAIL FROM:<x@a.test>\r\n")
        assert all(not line.startswith(b"250") for line in iter(client.line, b""))


def test_what_is_pipelined_behind_stls_is_never_answered(office: Office) -> None:
    """Acceptance 22 for POP3."""
    with LineClient(office.ports["pop3"]) as client:
        client.line()
        client.send(b"STLS\r\nCAPA\r\n")
        client.line()
        assert client.at_end()


def test_what_is_pipelined_behind_imap_starttls_is_never_answered(office: Office) -> None:
    """Acceptance 22 for IMAP."""
    with LineClient(office.ports["imap"]) as client:
        client.line()
        client.send(b"a STARTTLS\r\nb CAPABILITY\r\n")
        assert all(not line.startswith((b"b ", b"* CAPABILITY")) for line in iter(client.line, b""))


@pytest.mark.parametrize(
    "command",
    [
        b"a LOGIN {400000000}",
        b"a LOGIN {400000000+}",
        b"a LOGIN {2147483648}",
        b"a LOGIN {99999999999999999999}",
        b"a LOGIN {-1}",
        b"a LOGIN " + b"(" * 1_000_000,
        b"a SEARCH " + b"(" * 1_000_000,
        b"x" * 1_000_000 + b" NOOP",
        b"a \x00\x00\x00",
        b"a NOOP\xff\xfe",
        b"",
        b"a",
    ],
    ids=lambda command: repr(command[:30]),
)
def test_imap_refuses_before_login_what_would_cost_memory(office: Office, command: bytes) -> None:
    """Acceptance 34."""
    with LineClient(office.ports["imap"]) as client:
        assert client.line().startswith(b"* OK")
        before = resident_set(office)
        client.send(command + b"\r\n")
        answer = client.line()
        assert answer.split(b" ")[1] in (b"BAD", b"BYE", b"NO"), answer
        assert resident_set(office) - before <= 2**20


def test_one_error_does_not_end_a_pop3_session(office: Office) -> None:
    with LineClient(office.ports["pop3"]) as client:
        assert client.line().startswith(b"+OK")
        for command in (b"", b"FOO", b"RETR 1", b"LIST", b"\x00", b"USER", b"PASS x", b"X" * 600, b"TOP 1"):
            client.send(command + b"\r\n")
            assert client.line().startswith(b"-ERR"), command
        client.send(b"QUIT\r\n")
        assert client.line().startswith(b"+OK")
