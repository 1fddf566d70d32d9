"""A script put in place by sieve-connect sorts the mail that comes."""

from __future__ import annotations

import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from office import PASSWORD, Office, running_office
from programs import program

MAIL = b"From: eve@far.test\r\nTo: bob@a.test\r\nSubject: [list] news\r\n\r\nHello\r\n"
SCRIPT = """require ["fileinto", "mailbox"];
if header :contains "subject" "[list]" { fileinto :create "Lists"; }
"""


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with running_office(tmp_path_factory.mktemp("office")) as office:
        yield office


def sieve(office: Office, directory: Path, *arguments: str) -> str:
    command = [
        *(program("sieve-connect"), "--server", "127.0.0.1", "--port", str(office.ports["managesieve"])),
        *("--user", "bob@a.test", "--passwordfd", "0", "--notlsverify", "--nosslverify"),
    ]
    done = subprocess.run(
        [*command, *arguments],
        input=PASSWORD + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        cwd=directory,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_script_is_put_in_place_and_sorts_mail(office: Office, tmp_path: Path) -> None:
    (tmp_path / "rules").write_text(SCRIPT)
    sieve(office, tmp_path, "--upload", "--localsieve", "rules", "--remotesieve", "rules")
    sieve(office, tmp_path, "--activate", "--remotesieve", "rules")
    assert '"rules" ACTIVE' in sieve(office, tmp_path, "--list")
    with smtplib.SMTP("127.0.0.1", office.ports["smtp"]) as client:
        client.sendmail("eve@far.test", ["bob@a.test"], MAIL)
        client.sendmail("eve@far.test", ["bob@a.test"], MAIL.replace(b"[list]", b"other"))
    with office.reader("bob@a.test") as reader:
        reader.wait_for(1)
    with office.reader("bob@a.test", "Lists") as reader:
        reader.wait_for(1)
    sieve(office, tmp_path, "--deactivate")
    sieve(office, tmp_path, "--delete", "--remotesieve", "rules")
    assert "rules" not in sieve(office, tmp_path, "--list")
