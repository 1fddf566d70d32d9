"""What signing and verifying cost: processor time for one message, and for a large one.

One message of 4 KiB (`--size` octets), RSA-2048 and Ed25519, with a header as mail programs write it. The DNS
answers at once. "As it comes in" is what the server does: the body is hashed on its way into the queue, and
the header when it is complete. "Large" is a body of 10 MiB in pieces of 64 KiB: the whole of it, and the
longest that one piece keeps the reactor.
"""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from twisted.internet.defer import Deferred

from benchmarks.plan import Plan
from benchmarks.results import Figure, Measured, Row
from twisted_mta.interfaces import Found
from twisted_mta.message.headers import header_end
from twisted_mta.trust.arc.sealer import Sealer
from twisted_mta.trust.arc.validate import Validation
from twisted_mta.trust.dkim.canonical import BodyHash
from twisted_mta.trust.dkim.keyring import ACTIVE, StoredKey, algorithm_of, public_text
from twisted_mta.trust.dkim.sign import SigningKey
from twisted_mta.trust.dkim.signer import Signer
from twisted_mta.trust.dkim.verify import Verification

HEADER = b"".join(
    line + b"\r\n"
    for line in (
        b"Authentication-Results: mx.a.test; spf=pass smtp.mailfrom=a.test; dkim=none",
        b"Received: from client (client.a.test [192.0.2.1]) by mx.a.test with ESMTPSA id 311111111111B;",
        b"\tTue, 14 Nov 2023 22:13:20 +0000",
        b"Date: Tue, 14 Nov 2023 23:13:20 +0100",
        b"From: Alice Example <alice@a.test>",
        b"To: Bob Example <bob@b.test>, Carol Example <carol@c.test>",
        b"Subject: =?utf-8?q?What_we_wanted_to_talk_about?=",
        b"Message-ID: <20231114221320.311111111111B@a.test>",
        b"In-Reply-To: <1@b.test>",
        b"References: <1@b.test>",
        b"MIME-Version: 1.0",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Transfer-Encoding: 8bit",
        b"",
    )
)
LINE = b"The quick brown fox jumps over the lazy dog, again and again.\r\n"
PIECE = 64 * 1024
TITLE = "DKIM and ARC: signing, verifying, sealing, ours alone"


class Resolver:
    """Knows the keys."""

    def __init__(self, keys: list[StoredKey]) -> None:
        self._texts = {key.name: Found((key.record,)) for key in keys}

    async def txt(self, name: str) -> Found[str] | None:
        """A key."""
        return self._texts.get(name)


def cost(work: Callable[[], object], rounds: int) -> Figure:
    """Milliseconds of processor time for one, in five runs."""
    runs = []
    for _ in range(5):
        start = time.process_time()
        for _ in range(rounds):
            work()
        spent = (time.process_time() - start) / rounds * 1000
        runs.append(Measured(spent, spent))
    return Figure.of(runs)


def now(work: Any) -> Any:
    """The result of a coroutine that waits for nothing."""
    found: list[Any] = []
    Deferred.fromCoroutine(work).addCallback(found.append)
    return found[0]


def hashed(body: bytes) -> bytes:
    """In relaxed form, in pieces."""
    body_hash = BodyHash("relaxed")
    for start in range(0, len(body), PIECE):
        body_hash.feed(body[start : start + PIECE])
    return body_hash.digest()


def results(plan: Plan) -> Iterator[Row]:
    """A row for each thing done with each kind of key, then the large bodies."""
    size, rounds = plan.sized(4096, 4096), plan.pick(300, 30)
    private: dict[str, Any] = {
        "RSA-2048": rsa.generate_private_key(65537, 2048),
        "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    }
    body = (LINE * (size // len(LINE) + 1))[: size - len(HEADER) - 2] + b"\r\n"
    for names in (["RSA-2048"], ["Ed25519"], ["RSA-2048", "Ed25519"]):
        stored = [
            StoredKey("a.test", name.lower(), algorithm_of(key), public_text(key), ACTIVE, 0.0, 0.0)
            for name, key in private.items()
            if name in names
        ]
        signer = Signer(time.time)
        signer.use([SigningKey("a.test", name.lower(), private[name]) for name in names], known=stored)
        resolver: Any = Resolver(stored)
        signed = signer.signed("a.test", HEADER + body)
        end = header_end(signed)

        def sign(signer: Signer = signer) -> None:
            signer.fields("a.test", HEADER, hashed(body))

        def verify(signed: bytes = signed, end: int = end, resolver: Any = resolver) -> None:
            verification = Verification(signed[:end])
            verification.feed(signed[end:])
            results = now(verification.results(resolver, time.time))
            assert all(one.result == "pass" for one in results)

        sealer = Sealer(signer, "mx.a.test")
        chained = sealer.fields("a.test", signed[:end], hashed(body)) + signed
        there = header_end(chained)

        def seal(sealer: Sealer = sealer, signed: bytes = signed, end: int = end) -> None:
            sealer.fields("a.test", signed[:end], hashed(body))

        def validate(chained: bytes = chained, there: int = there, resolver: Any = resolver) -> None:
            validation = Validation(chained[:there])
            validation.feed(chained[there:])
            assert now(validation.result(resolver)).result == "pass"

        of = " + ".join(names)
        for name, work in (("sign", sign), ("verify", verify), ("seal", seal), ("validate", validate)):
            yield Row("dkim_cost", f"{name}, {of}", "ms", False, cost(work, rounds))
    octets = random.Random(1).randbytes(57)
    encoded = (base64.b64encode(octets) + b"\r\n") * (10 * 2**20 // 78)
    for name, large in (("base64", encoded), ("text", LINE * (10 * 2**20 // len(LINE)))):
        body_hash = BodyHash("relaxed")
        longest = 0.0
        start = time.process_time()
        for at in range(0, len(large), PIECE):
            before = time.process_time()
            body_hash.feed(large[at : at + PIECE])
            longest = max(longest, time.process_time() - before)
        whole = time.process_time() - start
        yield _large(f"10 MiB of {name}", whole)
        yield _large(f"10 MiB of {name}: the longest piece", longest)


def _large(name: str, seconds: float) -> Row:
    return Row("dkim_cost", name, "ms", False, Figure.of([Measured(seconds * 1000, seconds * 1000)]))


if __name__ == "__main__":
    from benchmarks.__main__ import alone

    alone("dkim_cost")
