"""Dovecot 2.3 as Debian packages it, on a loopback port, with a directory of its own."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from process import free_port

from benchmarks.certificate import Certificate
from benchmarks.peer_process import PeerProcess
from benchmarks.peers import program
from benchmarks.servers import PASSWORD, same_mail, user

# Its own defaults but for these: room for as many sessions as come, and no limit for one address, as ours
# has it.
_CONFIG = """
base_dir = {directory}/run
state_dir = {directory}/run
log_path = /dev/stderr
protocols = {protocol}
listen = 127.0.0.1
disable_plaintext_auth = no
mail_location = maildir:~/Maildir
first_valid_uid = 1
passdb {{
  {passwords}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={directory}/mail/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
mail_max_userip_connections = 20000
default_client_limit = 21000
default_process_limit = 21000
service {protocol}-login {{
  {login}
  inet_listener {plain} {{
    port = {plain_port}
  }}
  inet_listener {plain}s {{
    port = {tls_port}
  }}
}}
service {protocol} {{
  process_limit = 12000
  {worker}
}}
{more}
"""
_TLS = "ssl = required\nssl_cert = <{chain}\nssl_key = <{key}\n"
_HIBERNATION = """
imap_hibernate_timeout = 1s
service imap {
  unix_listener imap-master {
    user = $default_internal_user
  }
  extra_groups = $default_internal_group
}
service imap-hibernate {
  client_limit = 20000
  unix_listener imap-hibernate {
    mode = 0660
    group = $default_internal_group
  }
}
"""


class Dovecot(PeerProcess):
    """`users` each have the mail of `maildir`; with a certificate the port speaks TLS from the first octet.
    `reusing`: its processes serve one connection after the other, which its manual calls the high-performance
    mode. `hibernating`: sessions in IDLE go into one process that all of them share. `listed`: the users
    stand in a file; otherwise anybody is one."""

    def __init__(
        self,
        directory: Path,
        protocol: str = "imap",
        *,
        maildir: Path | None = None,
        users: int = 1,
        certificate: Certificate | None = None,
        reusing: bool = False,
        hibernating: bool = False,
        listed: bool = False,
        name: str = "Dovecot",
    ) -> None:
        port = free_port()
        self._directory = directory
        nobody = pwd.getpwnam("nobody")
        for number in range(users if maildir is not None else 0):
            assert maildir is not None
            same_mail(maildir, directory / "mail" / user(number))
        (directory / "mail").mkdir(parents=True, exist_ok=True)
        _give(directory / "mail", nobody.pw_uid, nobody.pw_gid)
        passwords = f"driver = static\n  args = password={PASSWORD}"
        if listed:
            lines = (f"{user(number)}:{{PLAIN}}{PASSWORD}\n" for number in range(users))
            (directory / "users").write_text("".join(lines))
            passwords = f"driver = passwd-file\n  args = {directory}/users"
        tls = "ssl = no" if certificate is None else _TLS.format(chain=certificate.chain, key=certificate.key)
        config = directory / "dovecot.conf"
        config.write_text(
            _CONFIG.format(
                directory=directory,
                protocol=protocol,
                plain=protocol,
                passwords=passwords,
                uid=nobody.pw_uid,
                gid=nobody.pw_gid,
                plain_port=0 if certificate else port,
                tls_port=port if certificate else 0,
                login="service_count = 0\n  process_min_avail = 2" if reusing else "",
                worker="service_count = 1000" if reusing else "",
                more=tls + (_HIBERNATION if hibernating else ""),
            )
        )
        found = program("dovecot")
        assert found is not None
        super().__init__(name, port, [found, "-F", "-c", str(config)], directory / "said")

    def forget(self) -> None:
        self.stop()
        for file in (self._directory / "mail").glob("*/Maildir/**/dovecot*"):
            if file.name.startswith("dovecot.index"):
                file.unlink()
        self._start()


def _give(directory: Path, uid: int, gid: int) -> None:
    for place, _, files in os.walk(directory):
        os.chown(place, uid, gid)
        for file in files:
            os.chown(os.path.join(place, file), uid, gid)
