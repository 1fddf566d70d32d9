"""A real validating resolver for tests: Unbound, over zones of an NSD, some of them signed with ldns'
tools."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import dns.exception
import dns.message
import dns.query
from nameserver import PATIENCE, free_udp_port
from programs import program

CONFIG = """\
server:
    interface: 127.0.0.1
    port: {port}
    directory: "{directory}"
    username: ""
    chroot: ""
    pidfile: ""
    logfile: "{directory}/unbound.log"
    use-syslog: no
    num-threads: 1
    do-not-query-localhost: no
    do-ip6: no
    module-config: "validator iterator"
    local-zone: "test." nodefault
{anchors}
remote-control:
    control-enable: no
"""
STUB = """\
stub-zone:
    name: "{zone}"
    stub-addr: 127.0.0.1@{port}
"""


def sign(zone: str, text: str, directory: Path) -> tuple[str, str]:
    """The zone with its signatures, and the trust anchor for it."""
    keygen, signzone = program("ldns-keygen"), program("ldns-signzone")
    made = subprocess.run(
        [keygen, "-k", "-a", "ECDSAP256SHA256", "-r", "/dev/urandom", zone],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )
    key = made.stdout.strip()
    plain = directory / f"{zone}.plain"
    plain.write_text(text)
    subprocess.run([signzone, "-f", f"{zone}.signed", plain.name, key], cwd=directory, check=True)
    return (directory / f"{zone}.signed").read_text(), (directory / f"{key}.key").read_text().strip()


class Validator:
    """`anchors`: trust anchors; `stubs`: zone to the port of the server that has it. Running once
    constructed."""

    def __init__(self, anchors: Sequence[str], stubs: Mapping[str, int], directory: Path) -> None:
        unbound = program("unbound")
        self.port = free_udp_port()
        config = directory / "unbound.conf"
        lines = [f'    trust-anchor: "{anchor.partition(";")[0].strip()}"' for anchor in anchors]
        config.write_text(
            CONFIG.format(port=self.port, directory=directory, anchors="\n".join(lines))
            + "".join(STUB.format(zone=zone, port=port) for zone, port in stubs.items())
        )
        self._log = directory / "unbound.log"
        self._process = subprocess.Popen(
            [unbound, "-d", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            self._wait(next(iter(stubs)))
        except BaseException:
            self.stop()
            raise

    def _wait(self, zone: str) -> None:
        question = dns.message.make_query(zone, "SOA")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                dns.query.udp(question, "127.0.0.1", timeout=0.5, port=self.port)
                return
            except (OSError, dns.exception.DNSException):
                continue
        log = self._log.read_text() if self._log.exists() else ""
        raise RuntimeError(f"unbound does not answer:\n{log}")

    def stop(self) -> None:
        """End it, and wait until it is gone."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
