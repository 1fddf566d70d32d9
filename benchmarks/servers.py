"""The two servers that are measured side by side, each over a copy of the same Maildir, on loopback ports."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from process import ServerProcess, free_port  # noqa: E402

USER, PASSWORD = "alice@a.test", "secret"
TICKS = os.sysconf("SC_CLK_TCK")


class Server(Protocol):
    """What is measured."""

    name: str
    port: int

    def pids(self) -> list[int]:
        """The processes that work for it now."""

    def restart(self) -> None:
        """Stop and start, with nothing but the disk to remember by."""

    def forget(self) -> None:
        """Stop, remove everything that was computed from the mail, start."""

    def stop(self) -> None:
        """The end."""


class Running(Protocol):
    """What consists of processes."""

    def pids(self) -> list[int]:
        """The processes that work for it now."""


def cpu_seconds(server: Running) -> float:
    """Processor time of all its processes so far, and of those they have waited for."""
    total = 0
    for pid in server.pids():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / TICKS


def memory(server: Running) -> int:
    """Octets that all its processes hold, each page that several of them share counted once."""
    total = 0
    for pid in server.pids():
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return total * 1024


def descendants(pid: int) -> list[int]:
    """A process, its children, theirs, and so on."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def wait_until_idle(server: Server, limit: float = 120.0) -> None:
    """Until it has used hardly any processor time for two seconds, or the limit is reached."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        before = cpu_seconds(server)
        time.sleep(2.0)
        if cpu_seconds(server) - before < 0.1:
            return


class Mta:
    """This project."""

    name = "twisted_mta"

    def __init__(self, directory: Path, maildir: Path, users: int = 1, protocol: str = "imap") -> None:
        self.port = free_port()
        self.process = ServerProcess(
            {
                "hostname": "mx.a.test",
                "data_dir": "data",
                "domains": ["a.test"],
                "listen": {protocol: [f"127.0.0.1:{self.port}"]},
                "auth": {"allow_cleartext": True},
                "limits": {"connections": 20000, "connections_per_host": 20000},
            },
            directory,
        )
        for number in range(users):
            self.process.add_account(user(number), PASSWORD)
            self._home(directory, number).mkdir(parents=True)
            shutil.copytree(maildir, self._home(directory, number) / "Maildir")
        self._homes = [self._home(directory, number) for number in range(users)]
        self.process.start()

    @staticmethod
    def _home(directory: Path, number: int) -> Path:
        return directory / "data/mail/a.test" / user(number).partition("@")[0]

    def pids(self) -> list[int]:
        return [self.process.pid]

    def restart(self) -> None:
        self.process.terminate()
        self.process.start()

    def forget(self) -> None:
        self.process.terminate()
        for home in self._homes:
            for file in home.glob("*.sqlite*"):
                file.unlink()
        self.process.start()

    def stop(self) -> None:
        self.process.terminate()


class Dovecot:
    """Dovecot as Debian packages it, in its default settings but for what a test on loopback needs."""

    name = "Dovecot"

    def __init__(self, directory: Path, maildir: Path, users: int = 1, protocol: str = "imap") -> None:
        self.port = free_port()
        self._directory = directory
        nobody = pwd.getpwnam("nobody")
        directory.mkdir(parents=True)
        for number in range(users):
            home = directory / "mail" / user(number)
            home.mkdir(parents=True)
            shutil.copytree(maildir, home / "Maildir")
        owner = f"{nobody.pw_uid}:{nobody.pw_gid}"
        subprocess.run(["chown", "-R", owner, str(directory / "mail")], check=True)
        self._config = directory / "dovecot.conf"
        self._config.write_text(
            f"""
            base_dir = {directory}/run
            log_path = {directory}/dovecot.log
            protocols = {protocol}
            listen = 127.0.0.1
            ssl = no
            disable_plaintext_auth = no
            mail_location = maildir:~/Maildir
            first_valid_uid = 1
            passdb {{
              driver = static
              args = password={PASSWORD}
            }}
            userdb {{
              driver = static
              args = uid={nobody.pw_uid} gid={nobody.pw_gid} home={directory}/mail/%u
            }}
            namespace inbox {{
              inbox = yes
              separator = /
            }}
            mail_max_userip_connections = 10000
            service {protocol}-login {{
              inet_listener {protocol} {{
                port = {self.port}
              }}
              inet_listener {protocol}s {{
                port = 0
              }}
            }}
            """
        )
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(["dovecot", "-F", "-c", str(self._config)])
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError((self._directory / "dovecot.log").read_text())

    def pids(self) -> list[int]:
        return descendants(self._process.pid)

    def restart(self) -> None:
        self.stop()
        self._start()

    def forget(self) -> None:
        self.stop()
        for file in (self._directory / "mail").glob("*/Maildir/**/dovecot.index*"):
            file.unlink()
        self._start()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def user(number: int) -> str:
    """The login name of the user with that number."""
    return USER if not number else f"user{number}@a.test"
