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
from benchmarks.peer_process import PeerProcess
from benchmarks.peers import POSTFIX, program

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
_MASTER = "/usr/lib/postfix/sbin/master"
_HOLD = "smtpd_end_of_data_restrictions = check_client_access static:HOLD"
_TLS = "smtpd_tls_security_level = encrypt\nsmtpd_tls_cert_file = {chain}\nsmtpd_tls_key_file = {key}\n"


class Postfix(PeerProcess):
    """`holds`: what it accepts stays in the queue. `sink`: the port that mail for others goes to. With a
    certificate the port speaks TLS from the first octet."""

    def __init__(
        self, directory: Path, *, holds: bool = False, sink: int = 9, certificate: Certificate | None = None
    ) -> None:
        config, port = directory / "config", free_port()
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
        (config / "main.cf").write_text(main)
        options = " -o smtpd_tls_wrappermode=yes" if certificate else ""
        (config / "master.cf").write_text(_master(f"127.0.0.1:{port} inet n - n - - smtpd{options}"))
        _check(config)
        super().__init__(POSTFIX.name, port, [_MASTER, "-c", str(config)], directory / "said")


def _master(listener: str) -> str:
    """Which of its programs run, one of them at our port."""
    master = Path("/etc/postfix/master.cf.proto").read_text()
    master = re.sub(r"^smtp +inet .*$", listener, master, flags=re.M)
    return re.sub(r"^(\S+ +(?:unix|fifo|inet) +\S+ +\S+ +)y", r"\1n", master, flags=re.M)


def _check(config: Path) -> None:
    """Have it look at its files, and make the directories that its queue lacks."""
    found = program("postfix")
    assert found is not None
    command = [found, "-c", str(config), "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"postfix check: {done.stderr[-300:]}")


class Sink(PeerProcess):
    """`smtp-sink`, which tells how many messages it has seen."""

    def __init__(self, directory: Path) -> None:
        found, port = program("smtp-sink"), free_port()
        assert found is not None
        command = [found, "-c", "-u", "nobody", f"127.0.0.1:{port}", "1000"]
        super().__init__("smtp-sink", port, command, directory / "sink")

    @property
    def messages(self) -> int:
        """So far."""
        with self.said.open("rb") as file:
            file.seek(max(0, self.said.stat().st_size - 200))
            seen = re.findall(rb"mesg=(\d+)", file.read())
        return int(seen[-1]) if seen else 0
