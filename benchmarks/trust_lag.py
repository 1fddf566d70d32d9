"""The reactor's lag while mail of strangers is judged: `benchmarks/trust_lag.py [--rate 100] [--seconds 20]
[--size 4096] [--trusted]`.

Strangers from 200 addresses (by the PROXY protocol) bring messages of 20 domains at a steady rate, each over
a connection of its own: signed with RSA-2048, with SPF and a DMARC policy, answered by a real DNS server
(nsd). All checks are on but greylisting, which would take no mail. What is delivered goes to one account.
--trusted: the same from clients that are not judged.

late     how much later than asked a timer of 5 ms fires: what anybody may have to wait, and on a busy machine
         also for other programs
worked   the processor time of the reactor's thread between two of them: what is the server's own doing, but
         grows with what has gathered while it had no processor
step     the processor time of the reactor's thread for one socket that had something to read
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from nameserver import Nameserver  # noqa: E402
from process import ServerProcess, free_port  # noqa: E402
from servers import cpu_seconds  # noqa: E402

from twisted_mta.trust.dkim.canonical import BodyHash  # noqa: E402
from twisted_mta.trust.dkim.sign import SigningKey, sign  # noqa: E402

DOMAINS, ADDRESSES = 20, 200
SOA = "$TTL 300\n@ IN SOA ns.d0.test. hostmaster.d0.test. 1 3600 600 86400 300\n@ IN NS ns.d0.test.\n"
KEY = rsa.generate_private_key(65537, 2048)


def zones() -> dict[str, str]:
    """All that is asked about."""
    octets = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = f"v=DKIM1; k=rsa; p={base64.b64encode(octets).decode()}"
    key = " ".join(f'"{text[at : at + 250]}"' for at in range(0, len(text), 250))
    found = {
        "test": SOA + "".join(f"d{number} IN NS ns.d0.test.\n" for number in range(DOMAINS)),
        "2.0.192.in-addr.arpa": SOA + "".join(f"{n} IN PTR out{n}.d0.test.\n" for n in range(1, ADDRESSES)),
    }
    for number in range(DOMAINS):
        hosts = "".join(f"out{n} IN A 192.0.2.{n}\n" for n in range(1, ADDRESSES)) if not number else ""
        spf = "v=spf1 a mx include:d0.test ip4:192.0.2.0/24 -all"
        found[f"d{number}.test"] = (
            f'{SOA}ns IN A 127.0.0.1\n@ IN MX 10 ns\n@ IN TXT "{spf}"\n'
            f's._domainkey IN TXT {key}\n_dmarc IN TXT "v=DMARC1; p=reject"\n{hosts}'
        )
    found["d0.test"] = found["d0.test"].replace("include:d0.test ", "")
    return found


def message(number: int, size: int) -> bytes:
    """Signed, of about so many octets."""
    domain = f"d{number % DOMAINS}.test"
    header = (
        f"From: Ann <ann@{domain}>\r\nTo: alice@a.test\r\nSubject: message {number}\r\n"
        f"Message-ID: <{number}@{domain}>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
    ).encode()
    body = b"All work and no play makes Jack a dull boy.\r\n" * (size // 45)
    digest = BodyHash("relaxed")
    digest.feed(body)
    return (
        sign(SigningKey(domain, "s", KEY), header, digest.digest(), now=time.time())
        + header
        + body
        + b".\r\n"
    )


def bring(port: int, number: int, content: bytes) -> float:
    """One message from a client of its own; the seconds it took."""
    host = f"192.0.2.{number % (ADDRESSES - 1) + 1}"
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        replies = client.makefile("rb")
        client.sendall(f"PROXY TCP4 {host} 192.0.2.250 40000 25\r\n".encode())
        replies.readline()
        domain = f"d{number % DOMAINS}.test"
        for line in (f"HELO out.{domain}", f"MAIL FROM:<ann@{domain}>", "RCPT TO:<alice@a.test>", "DATA"):
            client.sendall(line.encode() + b"\r\n")
            replies.readline()
        client.sendall(content)
        said = replies.readline()
        assert said.startswith(b"250"), said
    return time.monotonic() - began


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(int(len(values) * part), len(values) - 1)] * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--trusted", action="store_true")
    options = parser.parse_args()
    count = options.rate * options.seconds
    contents = [message(number, options.size) for number in range(count)]
    with tempfile.TemporaryDirectory() as name:
        directory, port = Path(name), free_port()
        nameserver = Nameserver(zones(), directory)
        server = ServerProcess(
            {
                "hostname": "mx.a.test",
                "data_dir": "data",
                "domains": ["a.test"],
                "listen": {"smtp": [f"127.0.0.1:{port}"]},
                "dns": {"nameservers": [f"127.0.0.1:{nameserver.port}"]},
                "proxy": {"networks": ["127.0.0.1"]},
                "reception": {"greeting_delay": 0},
                "abuse": {"greylist": {"clients": "off"}},
                "relay": {"allow_networks": ["192.0.2.0/24"] if options.trusted else []},
            },
            directory / "server",
        )
        server.add_account("alice@a.test", "secret")
        file = directory / "lag.json"
        server.start("env", f"PYTHONPATH={ROOT}:{ROOT / 'benchmarks/lag_meter'}", f"LAG_FILE={file}")
        try:
            for number in range(DOMAINS):  # what the first of all meets is another matter
                bring(port, number, contents[number])
            began, before = time.time(), cpu_seconds(_Process(server.pid))
            with ThreadPoolExecutor(50) as clients:
                waiting = []
                for number, content in enumerate(contents):
                    time.sleep(max(began + number / options.rate - time.time(), 0))
                    waiting.append(clients.submit(bring, port, number, content))
                took = [each.result() for each in waiting]
            ended, cpu = time.time(), cpu_seconds(_Process(server.pid)) - before
        finally:
            server.terminate()
            nameserver.stop()
        measured = json.loads(file.read_text())
        ticks = [tick for tick in measured["ticks"] if began <= tick[0] <= ended]
        steps = [step[1] for step in measured["steps"] if began <= step[0] <= ended]
        log = server.log_text()
    late, worked = [tick[1] for tick in ticks], [tick[2] for tick in ticks]
    print(f"{count} messages in {ended - began:.1f} s, load of the machine {os.getloadavg()[0]:.1f}")
    print(f"passed DMARC: {log.count('dmarc=pass for')}, processor {cpu / count * 1000:.2f} ms a message")
    print(f"a message took {statistics.median(took) * 1000:.0f} ms, at the most {max(took) * 1000:.0f} ms")
    for what, values in (("late", late), ("worked", worked), ("step", steps)):
        parts = ", ".join(f"{part:.1%} {percentile(values, part):.1f}" for part in (0.5, 0.95, 0.99, 0.999))
        print(f"{what:<7} ms: {parts}, at the most {max(values) * 1000:.1f} ({len(values)} looks)")


class _Process:
    """What `cpu_seconds` wants."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def pids(self) -> list[int]:
        return [self._pid]


if __name__ == "__main__":
    main()
