"""A real DNS server for tests: NSD, authoritative for the zones it is given, on a high port of 127.0.0.1."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import dns.exception
import dns.message
import dns.query
from process import free_port
from programs import program

CONFIG = """\
server:
    ip-address: 127.0.0.1
    port: {port}
    username: ""
    chroot: ""
    database: ""
    pidfile: ""
    zonesdir: "{directory}"
    xfrdfile: "{directory}/xfrd.state"
    logfile: "{directory}/nsd.log"
    server-count: 1
    rrl-ratelimit: 0
remote-control:
    control-enable: no
"""
ZONE = """\
zone:
    name: "{name}"
    zonefile: "{name}.zone"
"""
PATIENCE = 20.0  # seconds until it must answer


def free_udp_port() -> int:
    """A port that is free for UDP and TCP, and like those of `free_port` nobody else's."""
    while True:
        port = free_port()
        with socket.socket(type=socket.SOCK_DGRAM) as udp, contextlib.suppress(OSError):
            udp.bind(("127.0.0.1", port))
            return port


class DnsServer:
    """A DNS server as a process, running once constructed: `command` with the port it is to answer at, `zone`
    which it is asked about until it does, `log` what it leaves, `question` seconds for one answer."""

    def __init__(self, command: Sequence[str], *, port: int, zone: str, log: Path, question: float) -> None:
        self.port = port
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self._wait(zone, log, question)
        except BaseException:
            self.stop()
            raise

    def _wait(self, zone: str, log: Path, question: float) -> None:
        asked = dns.message.make_query(zone, "SOA")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                dns.query.udp(asked, "127.0.0.1", timeout=question, port=self.port)
                return
            except (OSError, dns.exception.DNSException):
                continue
        raise RuntimeError(f"no answer:\n{log.read_text() if log.exists() else ''}")

    def stop(self) -> None:
        """End it, and wait until it is gone."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Nameserver(DnsServer):
    """NSD. `zones`: zone name to the text of its zone file. A text that is no zone file makes a zone that is
    answered with SERVFAIL; names outside all zones are answered with REFUSED."""

    def __init__(self, zones: Mapping[str, str], directory: Path) -> None:
        nsd, port = program("nsd"), free_udp_port()
        for name, text in zones.items():
            (directory / f"{name}.zone").write_text(text)
        config = directory / "nsd.conf"
        config.write_text(
            CONFIG.format(port=port, directory=directory) + "".join(ZONE.format(name=name) for name in zones)
        )
        super().__init__(
            [nsd, "-d", "-c", str(config)],
            port=port,
            zone=next(iter(zones), "."),
            log=directory / "nsd.log",
            question=0.1,
        )
