"""Postfix as Debian packages it, with a configuration and a queue of its own, and `smtp-sink`, which comes
with it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from process import free_port

from benchmarks.certificate import Certificate
from benchmarks.peers import POSTFIX, program
from benchmarks.servers import descendants

# Its own defaults, which are durable, but for these: no limits for one client, nothing outside its directory.
_MAIN = """
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = px.a.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
virtual_mailbox_domains = a.test
virtual_mailbox_base = {directory}/mail
virtual_mailbox_maps = static:alice/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
relayhost = [127.0.0.1]:{sink}
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
smtpd_client_new_tls_session_rate_limit = 0
default_process_limit = 100
{more}
"""
_HOLD = "smtpd_end_of_data_restrictions = check_client_access static:HOLD"
_TLS = "smtpd_tls_security_level = encrypt\nsmtpd_tls_cert_file = {chain}\nsmtpd_tls_key_file = {key}\n"


class Postfix:
    """`holds`: what it accepts stays in the queue. `sink`: the port that mail for others goes to. With a
    certificate the port speaks TLS from the first octet."""

    name = POSTFIX.name

    def __init__(
        self, directory: Path, *, holds: bool = False, sink: int = 9, certificate: Certificate | None = None
    ) -> None:
        self.port = free_port()
        self._config = directory / "config"
        self.maildir = directory / "mail/alice/new"
        for name in ("config", "queue", "data", "mail"):
            (directory / name).mkdir(parents=True)
        shutil.chown(directory / "data", "postfix")
        shutil.chown(directory / "mail", "nobody", "nogroup")
        owner = os.stat(directory / "mail")
        more = _HOLD if holds else ""
        if certificate is not None:
            more += "\n" + _TLS.format(chain=certificate.chain, key=certificate.key)
        main = _MAIN.format(directory=directory, uid=owner.st_uid, gid=owner.st_gid, sink=sink, more=more)
        (self._config / "main.cf").write_text(main)
        self._write_master(" -o smtpd_tls_wrappermode=yes" if certificate else "")
        self.restart(stop=False)

    def _write_master(self, options: str) -> None:
        master = Path("/etc/postfix/master.cf.proto").read_text()
        listener = f"127.0.0.1:{self.port} inet n - n - - smtpd{options}"
        master = re.sub(r"^smtp +inet .*$", listener, master, flags=re.M)
        master = re.sub(r"^(\S+ +(?:unix|fifo|inet) +\S+ +\S+ +)y", r"\1n", master, flags=re.M)
        (self._config / "master.cf").write_text(master)

    def pids(self) -> list[int]:
        return descendants(self._master)

    def restart(self, *, stop: bool = True) -> None:
        if stop:
            self.stop()
        self._say("start")
        self._master = int((self._config.parent / "queue/pid/master.pid").read_text())

    def stop(self) -> None:
        self._say("stop")

    def _say(self, word: str) -> None:
        found = program("postfix")
        assert found is not None
        done = subprocess.run(
            [found, "-c", str(self._config), word], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"postfix {word}: {done.stderr[-300:]}")


class Sink:
    """`smtp-sink`, which tells how many messages it has seen."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._counted = directory / "sink"
        found = program("smtp-sink")
        assert found is not None
        self._process = subprocess.Popen(
            [found, "-c", "-u", "nobody", f"127.0.0.1:{self.port}", "1000"], stdout=self._counted.open("wb")
        )

    @property
    def messages(self) -> int:
        """So far."""
        with self._counted.open("rb") as file:
            file.seek(max(0, self._counted.stat().st_size - 200))
            seen = re.findall(rb"mesg=(\d+)", file.read())
        return int(seen[-1]) if seen else 0

    def stop(self) -> None:
        """The end."""
        self._process.terminate()
        self._process.wait()
