"""The first mail as the README tells it: sent with curl or swaks, read with curl over IMAP and POP3."""

from __future__ import annotations

import smtplib
import subprocess
from collections.abc import Iterator

import pytest
from office import PASSWORD, Office, running_office
from programs import program

MAIL = b"From: alice@a.test\r\nTo: bob@a.test\r\nSubject: First mail\r\n\r\nHello Bob\r\n"
ENVELOPE = ["--mail-from", "alice@a.test", "--mail-rcpt", "bob@a.test", "--upload-file", "-"]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with running_office(tmp_path_factory.mktemp("office")) as office:
        yield office


def curl(url: str, user: str, *arguments: str, stdin: bytes = b"", expected: int = 0) -> bytes:
    command = [program("curl"), "--silent", "--show-error", "--insecure", "--user", user, "--url", url]
    done = subprocess.run([*command, *arguments], input=stdin, capture_output=True, timeout=60, check=False)
    assert done.returncode == expected, done.stderr
    return done.stdout


def swaks(office: Office, *arguments: str, expected: int = 0) -> str:
    command = [
        program("swaks"),
        "--server",
        f"127.0.0.1:{office.ports['submission']}",
        "--from",
        "alice@a.test",
    ]
    done = subprocess.run(
        [*command, "--to", "bob@a.test", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == expected, done.stdout
    return done.stdout


@pytest.mark.parametrize("service", ["submission", "submissions"])
def test_curl_sends_and_reads(office: Office, service: str) -> None:
    with office.reader("bob@a.test") as reader:
        before = reader.count
        scheme = "smtps" if service == "submissions" else "smtp"
        url = f"{scheme}://127.0.0.1:{office.ports[service]}"
        curl(url, f"alice@a.test:{PASSWORD}", "--ssl-reqd", *ENVELOPE, stdin=MAIL)
        reader.wait_for(before + 1)
    over_imap = curl(
        f"imaps://127.0.0.1:{office.ports['imaps']}/INBOX;MAILINDEX={before + 1}", f"bob@a.test:{PASSWORD}"
    )
    over_pop3 = curl(f"pop3s://127.0.0.1:{office.ports['pop3s']}/{before + 1}", f"bob@a.test:{PASSWORD}")
    assert over_imap.endswith(MAIL)
    assert over_pop3 == over_imap


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_logs_in_over_starttls(office: Office, mechanism: str) -> None:
    arguments = ["--tls", "--auth", mechanism, "--auth-user", "alice@a.test", "--auth-password", PASSWORD]
    with office.reader("bob@a.test") as reader:
        before = reader.count
        assert "250 2.0.0 Ok, queued as" in swaks(office, *arguments)
        reader.wait_for(before + 1)


def test_without_tls_there_is_no_login_and_without_login_no_mail(office: Office) -> None:
    arguments = ["--auth", "PLAIN", "--auth-user", "alice@a.test", "--auth-password", PASSWORD]
    assert "AUTH" not in swaks(office, *arguments, expected=28).replace("--auth", "")
    assert "530 5.7.0" in swaks(office, "--tls", expected=23)


def test_a_wrong_password_is_refused(office: Office) -> None:
    curl(
        f"smtps://127.0.0.1:{office.ports['submissions']}",
        "alice@a.test:wrong",
        *ENVELOPE,
        stdin=MAIL,
        expected=67,
    )
    assert "wrong" not in office.process.log_text()


def test_lmtp_answers_for_each_recipient(office: Office) -> None:
    with office.reader("bob@a.test") as reader, smtplib.LMTP("127.0.0.1", office.ports["lmtp"]) as client:
        before = reader.count
        refused = client.sendmail("x@far.test", ["bob@a.test", "nobody@a.test"], MAIL)
        assert list(refused) == ["nobody@a.test"]
        reader.wait_for(before + 1)
