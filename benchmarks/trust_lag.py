"""The reactor's lag while mail of strangers is judged.

Strangers from 200 addresses (by the PROXY protocol) bring messages of 20 domains at a steady rate, 100 a
second (`--size`), each over a connection of its own: signed with RSA-2048, with SPF and a DMARC policy,
answered by a real DNS server (nsd). All checks are on but greylisting, which would take no mail. What is
delivered goes to one account. Then the same from clients that are not judged.

late     how much later than asked a timer of 5 ms fires: what anybody may have to wait, and on a busy machine
         also for other programs
worked   the processor time of the reactor's thread between two of them: what is the server's own doing, but
         grows with what has gathered while it had no processor
step     the processor time of the reactor's thread for one socket that had something to read
"""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nameserver import Nameserver

from benchmarks import ROOT
from benchmarks.ours import Mta
from benchmarks.peers import program
from benchmarks.plan import Plan
from benchmarks.results import Figure, Measured, Row
from benchmarks.servers import cpu_seconds
from twisted_mta.trust.dkim.canonical import BodyHash
from twisted_mta.trust.dkim.sign import SigningKey, sign

TITLE = "The reactor's lag while mail of strangers is judged, ours alone; needs nsd"
OCTETS = 4096
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


def results(plan: Plan) -> Iterator[Row]:
    """Rows for judged clients and for trusted ones."""
    a_second, seconds = plan.sized(100, 30), plan.pick(20, 5)
    if program("nsd") is None:
        yield Row("trust_lag", "judging mail of strangers", "ms", False, remark="not measured: needs nsd")
        return
    contents = [message(number, OCTETS) for number in range(a_second * seconds)]
    for who, trusted in (("judged", False), ("trusted", True)):
        yield from _measured(plan, who, trusted, a_second, contents)


def _measured(plan: Plan, who: str, trusted: bool, a_second: int, contents: list[bytes]) -> Iterator[Row]:
    directory = plan.directory()
    nameserver = Nameserver(zones(), directory)
    file = directory / "lag.json"
    more = {
        "dns": {"nameservers": [f"127.0.0.1:{nameserver.port}"]},
        "proxy": {"networks": ["127.0.0.1"]},
        "reception": {"greeting_delay": 0},
        "abuse": {"greylist": {"clients": "off"}},
        "relay": {"allow_networks": ["192.0.2.0/24"] if trusted else []},
    }
    meter = ("env", f"PYTHONPATH={ROOT}:{ROOT / 'benchmarks/lag_meter'}", f"LAG_FILE={file}")
    mta = Mta(directory / "ours", ["smtp"], more=more, wrapper=meter)
    try:
        for number in range(DOMAINS):  # what the first of all meets is another matter
            bring(mta.port, number, contents[number])
        began, cpu = time.time(), cpu_seconds(mta)
        with ThreadPoolExecutor(50) as clients:
            waiting = []
            for number, content in enumerate(contents):
                time.sleep(max(began + number / a_second - time.time(), 0))
                waiting.append(clients.submit(bring, mta.port, number, content))
            took = [each.result() for each in waiting]
        ended, cpu = time.time(), (cpu_seconds(mta) - cpu) / len(contents) * 1000
    finally:
        mta.stop()
        nameserver.stop()
    told = json.loads(file.read_text())
    ticks = [tick for tick in told["ticks"] if began <= tick[0] <= ended]
    steps = [step[1] for step in told["steps"] if began <= step[0] <= ended]
    what = f"{who}, {a_second} a second"
    yield Row(
        "trust_lag", f"{what}: a message", "ms", False, Figure.of([Measured(t * 1000, cpu) for t in took])
    )
    for name, values in (("late", [t[1] for t in ticks]), ("worked", [t[2] for t in ticks]), ("step", steps)):
        for part in (0.5, 0.99, 1.0):
            value = sorted(values)[min(int(len(values) * part), len(values) - 1)] * 1000
            yield Row(
                "trust_lag", f"{what}: {name}, {part:.0%} at most", "ms", False, Figure.of([Measured(value)])
            )


if __name__ == "__main__":
    from benchmarks.__main__ import alone

    alone("trust_lag")
