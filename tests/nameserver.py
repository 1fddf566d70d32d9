"""A real DNS server for tests: NSD, authoritative for the zones it is given, on a high port of 127.0.0.1."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
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
ATTEMPTS = 5  # at ports; that one is free for UDP, only the server finds out


class DnsServer:
    """A DNS server as a process, running once constructed: `prepare` gives the command that makes it answer
    at a port, `zone` which it is asked about until it does, `log` what it leaves, `question` seconds for one
    answer."""

    def __init__(
        self, prepare: Callable[[int], Sequence[str]], *, zone: str, log: Path, question: float
    ) -> None:
        for _ in range(ATTEMPTS):
            self.port = free_port()
            self._process = subprocess.Popen(
                prepare(self.port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                if self._answers(zone, question):
                    return
            except BaseException:
                self.stop()
                raise
            self.stop()
        text = log.read_text() if log.exists() else ""
        raise RuntimeError(f"no answer, ended with code {self._process.returncode}:\n{text}")

    def _answers(self, zone: str, question: float) -> bool:
        asked = dns.message.make_query(zone, "SOA")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                dns.query.udp(asked, "127.0.0.1", timeout=question, port=self.port)
                return True
            except (OSError, dns.exception.DNSException):
                continue
        return False

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
        nsd, config = program("nsd"), directory / "nsd.conf"
        for name, text in zones.items():
            (directory / f"{name}.zone").write_text(text)

        def prepare(port: int) -> list[str]:
            named = "".join(ZONE.format(name=name) for name in zones)
            config.write_text(CONFIG.format(port=port, directory=directory) + named)
            return [nsd, "-d", "-c", str(config)]

        super().__init__(prepare, zone=next(iter(zones), "."), log=directory / "nsd.log", question=0.1)
