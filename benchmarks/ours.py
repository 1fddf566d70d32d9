"""This project as it is measured: the real process, with its defaults but for what one client on loopback
needs."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from process import ServerProcess, free_port

from benchmarks.certificate import Certificate
from benchmarks.results import OURS
from benchmarks.servers import PASSWORD, USER, descendants, same_mail, user


class Mta:
    """`services` as [listen] names them; `users` each have the mail of `maildir`; `more` is added to the
    configuration; `wrapper` is put in front of the command."""

    name = OURS

    def __init__(
        self,
        directory: Path,
        services: Sequence[str],
        *,
        maildir: Path | None = None,
        users: int = 1,
        certificate: Certificate | None = None,
        more: Mapping[str, Any] | None = None,
        wrapper: Sequence[str] = (),
    ) -> None:
        self.ports = {service: free_port() for service in services}
        self.port = self.ports[services[0]]
        self.home = directory / "data/mail/a.test/alice"
        self._wrapper = wrapper
        config: dict[str, Any] = {
            "hostname": "mx.a.test",
            "data_dir": "data",
            "domains": ["a.test"],
            "listen": {service: [f"127.0.0.1:{port}"] for service, port in self.ports.items()},
            "auth": {"allow_cleartext": True},
            "limits": {"connections": 20000, "connections_per_host": 20000},
            **(more or {}),
        }
        if certificate is not None:
            config["tls"] = {"certificate": str(certificate.chain), "private_key": str(certificate.key)}
        self.process = ServerProcess(config, directory)
        self.process.add_account(USER, PASSWORD)
        add_accounts(directory / "data/directory.sqlite", users)
        self._homes = [self.home.parent / user(number).partition("@")[0] for number in range(users)]
        if maildir is not None:
            for home in self._homes:
                same_mail(maildir, home)
        self.process.start(*wrapper)

    def pids(self) -> list[int]:
        return descendants(self.process.pid)

    def restart(self) -> None:
        self.process.terminate()
        self.process.start(*self._wrapper)

    def forget(self) -> None:
        self.process.terminate()
        for home in self._homes:
            for file in home.glob("*.sqlite*"):
                file.unlink()
        self.process.start(*self._wrapper)

    def stop(self) -> None:
        self.process.terminate()


def add_accounts(directory: Path, count: int) -> None:
    """Users with numbers below `count`, with the password of the first: hashing ten thousand takes half an
    hour."""
    with closing(sqlite3.connect(directory)) as database, database:
        database.executemany(
            "INSERT OR IGNORE INTO account (address, password)"
            " SELECT ?, password FROM account WHERE address = ?",
            ((user(number), USER) for number in range(1, count)),
        )
