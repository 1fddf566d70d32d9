"""A real DNS server that takes updates (RFC 2136): Knot, primary for the zones it is given, on a high port of
127.0.0.1."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import dns.message
import dns.query
from nameserver import PATIENCE, DnsServer
from programs import program

KEY = "hmac-sha256:updates:c2VjcmV0IG9mIHRoZSB0ZXN0cywgMzIgb2N0ZXRzISE="
CONFIG = """\
server:
    rundir: "{directory}"
    listen: "127.0.0.1@{port}"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: "{directory}/knot.log"
    any: info
database:
    storage: "{directory}"
key:
  - id: updates
    algorithm: hmac-sha256
    secret: c2VjcmV0IG9mIHRoZSB0ZXN0cywgMzIgb2N0ZXRzISE=
acl:
  - id: updates
    key: updates
    action: update
template:
  - id: default
    storage: "{directory}"
    acl: updates
zone:
"""


class Knot(DnsServer):
    """`zones`: zone name to the text of its zone file. Whoever has KEY may change them."""

    def __init__(self, zones: Mapping[str, str], directory: Path) -> None:
        knotd, config = program("knotd"), directory / "knot.conf"
        self._log = directory / "knot.log"
        for name, text in zones.items():
            (directory / f"{name}.zone").write_text(text)

        def prepare(port: int) -> list[str]:
            named = "".join(f"  - domain: {name}\n    file: {name}.zone\n" for name in zones)
            config.write_text(CONFIG.format(port=port, directory=directory) + named)
            return [knotd, "-c", str(config)]

        super().__init__(prepare, zone=next(iter(zones)), log=self._log, question=0.1)
        try:
            for name in zones:  # it answers before it has read all of them
                self._wait_for(name, lambda _: True)
        except BaseException:
            self.stop()
            raise

    def reload(self, zone: str, *, serial: int) -> None:
        """Read the files of the zones again; returns when this one has that serial number."""
        self._process.send_signal(signal.SIGHUP)
        self._wait_for(zone, lambda found: found == serial)

    def _wait_for(self, zone: str, told: Callable[[int], bool]) -> None:
        """Until it has a serial number of which that is true."""
        deadline = time.monotonic() + PATIENCE
        asked = dns.message.make_query(zone, "SOA")
        while True:
            answer = dns.query.udp(asked, "127.0.0.1", timeout=PATIENCE, port=self.port)
            if answer.answer and told(answer.answer[0][0].serial):
                return
            assert time.monotonic() < deadline, self._log.read_text()
