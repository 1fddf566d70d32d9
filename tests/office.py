"""One running server with everything switched on, for tests that speak to it over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from failing_dns import failing_dns
from mail_reader import MailReader
from process import ServerProcess, free_port

PASSWORD = "correct horse battery"
SERVICES = (
    *("smtp", "submission", "submissions", "lmtp", "imap", "imaps", "pop3", "pop3s"),
    *("managesieve", "mtqp"),
)


class Office:
    """Domain a.test with alice and bob, on 127.0.0.1; `ports` by service name."""

    def __init__(self, directory: Path, without: str = "", **more: object) -> None:
        self.ports = {service: free_port() for service in SERVICES if service != without}
        config: dict[str, object] = {
            "hostname": "mx.a.test",
            "data_dir": "data",
            "domains": ["a.test"],
            "listen": {service: [f"127.0.0.1:{port}"] for service, port in self.ports.items()},
            "tls": {"self_signed": True},
            "dns": {"nameservers": [failing_dns()]},
        }
        self.process = ServerProcess({**config, **more}, directory)
        for user in ("alice", "bob"):
            self.process.add_account(f"{user}@a.test", PASSWORD)

    def reader(self, user: str, mailbox: str = "INBOX") -> MailReader:
        return MailReader("127.0.0.1", self.ports["imaps"], user, PASSWORD, mailbox)


@contextmanager
def running_office(directory: Path, without: str = "", **more: object) -> Iterator[Office]:
    """A started office, stopped at the end; its log must then hold no traceback. `without`: a service."""
    office = Office(directory, without, **more)
    office.process.start()
    try:
        yield office
    finally:
        office.process.terminate()
    assert "Traceback" not in office.process.log_text()
