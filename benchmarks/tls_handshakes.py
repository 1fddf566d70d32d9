"""TLS handshakes: new connections, each a full handshake of TLS 1.3, on a port that speaks TLS from the first
octet.

All show the same certificate (ECDSA, P-256). The clients are a few `openssl s_time`, which hang up after the
handshake. The rate is limited by them as well; the processor time of the server is not. `--size` is how many
clients there are.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import partial

from benchmarks.certificate import Certificate
from benchmarks.ours import Mta
from benchmarks.peers import POSTFIX, program
from benchmarks.plan import Kind, Plan, Run, compare
from benchmarks.postfix import Postfix
from benchmarks.readers import REUSING, readers
from benchmarks.results import OURS, Measured, Row
from benchmarks.servers import Server, rate, wait_until_idle

TITLE = "TLS handshakes (Dovecot, Postfix)"


def run(server: Server, clients: int, seconds: int) -> Measured:
    """Handshakes for that long. Raises RuntimeError when there were none."""
    openssl = program("openssl")
    assert openssl is not None
    command = [
        openssl,
        "s_time",
        "-connect",
        f"127.0.0.1:{server.port}",
        "-new",
        "-tls1_3",
        "-time",
        str(seconds),
    ]

    def shake() -> int:
        running = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for _ in range(clients)
        ]
        said = [process.communicate()[0] for process in running]
        counts = [re.search(r"(\d+) connections in \d+ real seconds", each) for each in said]
        if not all(counts):
            raise RuntimeError(f"openssl s_time: {said[0].strip()[-80:]}")
        return sum(int(count[1]) for count in counts if count)

    return rate(server, shake)


def results(plan: Plan) -> Iterator[Row]:
    """Rows for IMAP and for submission."""
    clients, seconds = plan.sized(4, 4), plan.pick(5, 2)
    if program("openssl") is None:
        yield Row("tls_handshakes", "TLS handshakes", "a second", True, remark="not measured: needs openssl")
        return
    certificate = Certificate(plan.directory())
    with readers(
        plan, None, service="imaps", certificate=certificate, also={REUSING: {"reusing": True}}
    ) as there:
        kind = Kind("tls_handshakes", "TLS handshakes, IMAP", "handshakes/s")
        yield from compare(plan, kind, _runs(there.servers, clients, seconds), plan.turns(), there.missing)
    servers: dict[str, Server] = {}
    try:
        services = ["submissions"]
        servers[OURS] = Mta(plan.directory() / "ours", services, certificate=certificate)
        missing = {POSTFIX.name: absent} if (absent := plan.absent(POSTFIX)) else {}
        if not missing:
            servers[POSTFIX.name] = Postfix(plan.directory() / "postfix", certificate=certificate)
        kind = Kind("tls_handshakes", "TLS handshakes, SMTP", "handshakes/s")
        yield from compare(plan, kind, _runs(servers, clients, seconds), plan.turns(), missing)
    finally:
        for server in servers.values():
            server.stop()


def _runs(servers: Mapping[str, Server], clients: int, seconds: int) -> dict[str, Run]:
    for server in servers.values():
        wait_until_idle(server, 20.0)
    return {name: partial(run, server, clients, seconds) for name, server in servers.items()}


if __name__ == "__main__":
    from benchmarks.__main__ import alone

    alone("tls_handshakes")
