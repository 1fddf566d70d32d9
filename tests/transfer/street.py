"""A street of strangers: sessions whose mail is judged, what was made of it, and a check that says what it is
told to say."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from dictionary_resolver import DictionaryResolver
from smtp_session import NOW, Town
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from twisted_mta.protocol.smtp.extensions import Extension
from twisted_mta.transfer.screening.screening import Screening
from twisted_mta.trust.check import Incoming, Verdict
from twisted_mta.trust.dkim.canonical import BodyHash
from twisted_mta.trust.dkim.sign import SigningKey, sign
from twisted_mta.trust.judgement import Judge
from twisted_mta.trust.policy import Conclusion, TrustRules

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = base64.b64encode(KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
RECORD = f"v=DKIM1; k=ed25519; p={PUBLIC}"
HEADER = b"From: Ann <ann@b.test>\r\nTo: alice@a.test\r\nSubject: hello\r\n\r\n"
BODY = b"Dear Alice,\r\nhello.\r\n"
FROM_HERE, FROM_THERE = "192.0.2.1", "192.0.2.66"
TEXTS: dict[str, Any] = {
    "b.test": ["v=spf1 ip4:192.0.2.1 -all"],
    "s._domainkey.b.test": [RECORD],
    "_dmarc.b.test": ["v=DMARC1; p=reject"],
    "_dmarc.quiet.test": ["v=DMARC1; p=quarantine"],
    "_dmarc.watch.test": ["v=DMARC1; p=none"],
    "lists.test": ["v=spf1 ip4:192.0.2.66 -all"],
    "s._domainkey.lists.test": [RECORD],
    "strict.test": ["v=spf1 -all exp=why.strict.test"],
    "why.strict.test": ["mail for %{d} leaves by web only"],
}


class Opinion:
    """A check that says what it is given, and remembers what it was asked about."""

    def __init__(self, said: Verdict | Exception | None, name: str = "opinion") -> None:
        self.name, self.seconds, self.otherwise = name, 5.0, Verdict("defer", why="it says nothing")
        self.said = said
        self.asked: list[Incoming] = []

    async def judge(self, message: Incoming) -> Verdict:
        self.asked.append(message)
        if self.said is None:
            await Deferred()
        if isinstance(self.said, Exception):
            raise self.said
        assert self.said is not None
        return self.said


class Street(Town):
    """A town with a judge."""

    def __init__(
        self,
        *,
        host: str = FROM_THERE,
        texts: dict[str, Any] | None = None,
        resolver: DictionaryResolver | None = None,
        screening: Screening | None = None,
        checks: dict[str, Any] | None = None,
        extensions: frozenset[Extension] = frozenset(),
        **rules: Any,
    ) -> None:
        self.resolver = resolver or DictionaryResolver(texts={**TEXTS, **(texts or {})})
        self.heard: list[tuple[Incoming, Conclusion]] = []
        self.judge: Judge

        def judge(reactor: IReactorTime) -> Judge:
            self.judge = Judge(
                TrustRules("mx.a.test", **rules),
                resolver=self.resolver,
                reactor=reactor,
                hear=lambda message, concluded: self.heard.append((message, concluded)),
                **(checks or {}),
            )
            return self.judge

        super().__init__(host=host, judge=judge, screening=screening or Screening(), extensions=extensions)

    def mail(
        self,
        content: bytes = HEADER + BODY,
        *,
        sender: str = "ann@b.test",
        to: Sequence[str] = ("alice@a.test",),
        helo: str = "out.b.test",
    ) -> str:
        """The last reply to a message."""
        self.say(f"EHLO {helo}", f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{each}>" for each in to))
        self.say("DATA")
        return self.send(content + b".\r\n").decode("ascii").rstrip("\r\n")

    @property
    def head(self) -> str:
        """What stands in front of the message that came last."""
        return self.intake.stored[-1][1].decode()

    @property
    def junk(self) -> str:
        return self.intake.stored[-1][0].parameters.junk

    def fact(self, stage: str, name: str) -> Any:
        return next(event.facts[name] for event in reversed(self.told) if event.stage == stage)


def signed(header: bytes = HEADER, body: bytes = BODY, domain: str = "b.test") -> bytes:
    digest = BodyHash("relaxed")
    digest.feed(body)
    return sign(SigningKey(domain, "s", KEY), header, digest.digest(), now=NOW) + header + body
