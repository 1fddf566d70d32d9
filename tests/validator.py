"""A real validating resolver for tests: Unbound, over zones of an NSD, some of them signed with ldns'
tools."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from nameserver import DnsServer
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


class Validator(DnsServer):
    """Unbound. `anchors`: trust anchors; `stubs`: zone to the port of the server that has it."""

    def __init__(self, anchors: Sequence[str], stubs: Mapping[str, int], directory: Path) -> None:
        unbound, config = program("unbound"), directory / "unbound.conf"
        lines = [f'    trust-anchor: "{anchor.partition(";")[0].strip()}"' for anchor in anchors]

        def prepare(port: int) -> list[str]:
            text = CONFIG.format(port=port, directory=directory, anchors="\n".join(lines))
            text += "".join(STUB.format(zone=zone, port=stub) for zone, stub in stubs.items())
            config.write_text(text)
            return [unbound, "-d", "-c", str(config)]

        super().__init__(prepare, zone=next(iter(stubs)), log=directory / "unbound.log", question=0.5)
