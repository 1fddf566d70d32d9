"""Dovecot's IMAP server from Debian, with TLS, over a Maildir++ of the test's own. Needs root, as Dovecot's
master does."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from certificates import authority
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from process import free_port
from programs import program

_CONFIG = """
base_dir = {run}
state_dir = {run}
log_path = {directory}/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = required
ssl_cert = <{directory}/certificate.pem
ssl_key = <{directory}/key.pem
auth_mechanisms = {mechanisms}
mail_location = maildir:~/Maildir
first_valid_uid = 1
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={directory}/home
}}
namespace inbox {{
  inbox = yes
  separator = {separator}
  prefix = {prefix}
  mailbox "Sent Items" {{
    special_use = \\Sent
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
  }}
}}
"""


class DovecotImap:
    """imap, imaps: its ports. maildir: what it serves; to be filled before it starts. ca: the file of the
    authority of its certificate, which is for localhost. Anybody logs in with "secret"."""

    def __init__(self, *, separator: str = "/", prefix: str = "", mechanisms: str = "plain login") -> None:
        if os.geteuid() != 0:
            pytest.skip("Dovecot's master needs root")
        self._program = program("dovecot")
        if not Path("/usr/lib/dovecot/imap").exists():
            pytest.skip("Dovecot without its IMAP server (dovecot-imapd)")
        self.directory = Path(tempfile.mkdtemp(prefix="mta-dovecot-"))
        self.directory.chmod(0o755)
        self.maildir = self.directory / "home/Maildir"
        self.maildir.mkdir(parents=True)
        self.imap, self.imaps = free_port(), free_port()
        self.ca = self.directory / "ca.pem"
        self.ca.write_bytes(authority().own.public_bytes(Encoding.PEM))
        issued = authority().issue("localhost")
        (self.directory / "certificate.pem").write_bytes(issued.chain[0].public_bytes(Encoding.PEM))
        (self.directory / "key.pem").write_bytes(
            issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        self._config = self.directory / "dovecot.conf"
        self._config.write_text(
            _CONFIG.format(
                directory=self.directory,
                run=self.directory / "run",
                imap=self.imap,
                imaps=self.imaps,
                separator=separator,
                prefix=prefix,
                mechanisms=mechanisms,
            )
        )

    def __enter__(self) -> DovecotImap:
        for path in (self.directory / "home", *(self.directory / "home").rglob("*")):
            shutil.chown(path, "nobody", "nogroup")
        usual = os.umask(0o022)  # our own server's is stricter than what Dovecot works with
        try:
            self._process = subprocess.Popen([self._program, "-F", "-c", str(self._config)])
        finally:
            os.umask(usual)
        end = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < end, (self.directory / "dovecot.log").read_text()
            time.sleep(0.02)
        return self

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.imap), 5) as probe:
            return bool(probe.recv(1))
        return False

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)
        shutil.rmtree(self.directory, ignore_errors=True)
