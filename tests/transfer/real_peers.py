"""Postfix and Dovecot from Debian as peers: Postfix takes mail into Maildirs, with logins that Dovecot
checks; Dovecot speaks LMTP. Needs root, as Postfix's master does."""

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

_DOVECOT = """
base_dir = {run}
state_dir = {run}
log_path = {directory}/dovecot.log
protocols = lmtp
ssl = no
listen = 127.0.0.1
default_internal_user = dovecot
default_login_user = dovenull
mail_location = maildir:{directory}/dovecot-mail/%n
first_valid_uid = 1
auth_mechanisms = plain login scram-sha-1 scram-sha-256 xoauth2 oauthbearer
disable_plaintext_auth = no
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={directory}/dovecot-mail allow_all_users=yes
}}
service lmtp {{
  unix_listener {directory}/lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    port = {lmtp_port}
  }}
}}
service auth {{
  unix_listener {directory}/auth {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"""

_POSTFIX = """
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.b.test
mydestination =
mynetworks =
local_recipient_maps =
alias_maps =
virtual_mailbox_domains = b.test
virtual_mailbox_base = {directory}/postfix-mail
virtual_mailbox_maps = inline:{{ {users} }}
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_minimum_uid = 1
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_tls_cert_file = {directory}/certificate.pem
smtpd_tls_key_file = {directory}/key.pem
smtpd_tls_security_level = may
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {directory}/auth
smtputf8_enable = yes
message_size_limit = 20000000
maillog_file = {directory}/postfix.log
maillog_file_prefixes = {directory}
"""


def wait_for(condition) -> None:
    """Until it is true, for as long as a slow machine may take."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
        return bool(connection.recv(1))
    return False


class RealPeers:
    """port: Postfix's; lmtp_port and lmtp_path: Dovecot's."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            pytest.skip("Postfix's master needs root")
        self._dovecot_program, self._postfix_program = program("dovecot"), program("postfix")
        if not Path("/usr/lib/dovecot/lmtp").exists():
            pytest.skip("Dovecot without its LMTP server (dovecot-lmtpd)")
        self.directory = Path(tempfile.mkdtemp(prefix="mta-peers-"))
        self.directory.chmod(0o755)
        for name in ("run", "queue", "data", "conf", "postfix-mail", "dovecot-mail"):
            (self.directory / name).mkdir()
            (self.directory / name).chmod(0o755)  # whatever the umask is
        for name, owner in (("data", "postfix"), ("postfix-mail", "nobody"), ("dovecot-mail", "nobody")):
            shutil.chown(self.directory / name, owner)
        self.port, self.lmtp_port = free_port(), free_port()
        self.lmtp_path = str(self.directory / "lmtp")
        usual = os.umask(0o022)  # our own server's is stricter than what these programs work with
        try:
            self._write_certificate()
            self._start_dovecot()
            self._start_postfix()
        finally:
            os.umask(usual)

    def mail(self, peer: str, user: str) -> list[bytes]:
        """What is in the Maildir of a user, oldest first."""
        files = sorted((self.directory / f"{peer}-mail" / user / "new").glob("*"))
        return [file.read_bytes() for file in files]

    def stop(self) -> None:
        subprocess.run([self._postfix_program, "-c", self._conf, "stop"], check=False, capture_output=True)
        self._dovecot.terminate()
        self._dovecot.wait()
        shutil.rmtree(self.directory)

    def _write_certificate(self) -> None:
        server = authority().issue("mx.b.test")
        key = server.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.directory / "key.pem").write_bytes(key)
        pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in server.chain)
        (self.directory / "certificate.pem").write_bytes(pem)

    def _start_dovecot(self) -> None:
        settings = self.directory / "dovecot.conf"
        names = {"directory": self.directory, "run": self.directory / "run", "lmtp_port": self.lmtp_port}
        settings.write_text(_DOVECOT.format(**names))
        self._dovecot = subprocess.Popen([self._dovecot_program, "-F", "-c", settings])
        wait_for(lambda: answers(self.lmtp_port))

    def _start_postfix(self) -> None:
        self._conf = str(self.directory / "conf")
        users = ", ".join(f"{{{name}@b.test={name}/}}" for name in ("bob", "carol", "dave", "erin"))
        (self.directory / "conf" / "main.cf").write_text(
            _POSTFIX.format(directory=self.directory, users=users)
        )
        lines = Path("/etc/postfix/master.cf.proto").read_text().splitlines()
        services = [line.split(None, 5) for line in lines if line and line[0].isalpha()]
        text = ""
        for fields in services:
            fields[4] = "n"  # not in a chroot
            if fields[0] == "smtp" and fields[1] == "inet":
                fields[0] = str(self.port)
            text += " ".join(fields) + "\n"
        (self.directory / "conf" / "master.cf").write_text(text)
        subprocess.run([self._postfix_program, "-c", self._conf, "start"], check=True, capture_output=True)
        wait_for(lambda: answers(self.port))
