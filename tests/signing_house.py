"""Keys of a.test, and two who verify what was signed with them: we ourselves, and dkimpy, which knows nothing
of us."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from dictionary_resolver import DictionaryResolver
from twisted.internet.defer import Deferred

from twisted_mta.message.headers import header_end
from twisted_mta.trust.arc.validate import ArcResult, Validation
from twisted_mta.trust.dkim.keyring import ACTIVE, StoredKey, algorithm_of, public_text
from twisted_mta.trust.dkim.sign import SigningKey
from twisted_mta.trust.dkim.signer import Signer
from twisted_mta.trust.dkim.verify import Verification

NOW = 1_700_000_000.0
PRIVATE: dict[str, Any] = {
    "r1": rsa.generate_private_key(65537, 2048),
    "e1": ed25519.Ed25519PrivateKey.generate(),
}
KEYS = [SigningKey("a.test", selector, key) for selector, key in PRIVATE.items()]
STORED = [
    StoredKey("a.test", selector, algorithm_of(key), public_text(key), ACTIVE, NOW, NOW, NOW)
    for selector, key in PRIVATE.items()
]
TEXTS: dict[str, Any] = {key.name: [key.record] for key in STORED}


def signer(keys: Sequence[SigningKey] = KEYS) -> Signer:
    """Signs for a.test."""
    made = Signer(lambda: NOW)
    made.use(keys, known=STORED)
    return made


def parts(message: bytes) -> tuple[bytes, bytes]:
    end = header_end(message)
    return (message, b"") if end < 0 else (message[:end], message[end:])


def verified(message: bytes, texts: Mapping[str, Any] = TEXTS) -> list[str]:
    """What we find of the signatures: "a.test/r1 pass"; dkimpy must agree on each."""
    header, body = parts(message)
    verification = Verification(header)
    verification.feed(body)
    found: list[Any] = []
    checking = verification.results(DictionaryResolver(texts=texts), lambda: NOW)
    Deferred.fromCoroutine(checking).addCallback(found.append)
    results = [f"{one.domain}/{one.selector} {one.result}" for one in found[0]]
    dkim = pytest.importorskip("dkim", reason="dkimpy is not installed: pip install dkimpy pynacl")
    try:
        judge = dkim.DKIM(message)
    except dkim.MessageFormatError:  # stricter than we about lines that are no fields
        return results
    for place, result in enumerate(results):
        try:
            passes = judge.verify(idx=place, dnsfunc=partial(_dns, texts))
        except dkim.ValidationError:
            passes = False
        assert passes is result.endswith(" pass")
    return results


def chain(message: bytes, texts: Mapping[str, Any] = TEXTS) -> ArcResult:
    """What we find of the chain; dkimpy must agree."""
    header, body = parts(message)
    validation = Validation(header)
    validation.feed(body)
    found: list[ArcResult] = []
    resolver = DictionaryResolver(texts=texts)
    Deferred.fromCoroutine(validation.result(resolver)).addCallback(found.append)
    dkim = pytest.importorskip("dkim", reason="dkimpy is not installed: pip install dkimpy pynacl")
    (state, _, _) = dkim.ARC(message).verify(dnsfunc=partial(_dns, texts))
    assert (state or b"fail").decode() == found[0].result
    return found[0]


def _dns(texts: Mapping[str, Any], name: bytes, timeout: float = 5) -> bytes | None:
    found = texts.get(name.decode().rstrip("."))
    return found[0].encode() if found else None
