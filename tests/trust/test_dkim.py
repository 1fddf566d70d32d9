"""DKIM: the RFC's own message, every small change of it, our signatures, and what strangers may send."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from dictionary_resolver import FAILURE, DictionaryResolver
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from twisted_mta.message.headers import header_end
from twisted_mta.trust.dkim.canonical import BodyHash
from twisted_mta.trust.dkim.key import KeyFault, parse_key
from twisted_mta.trust.dkim.sign import SigningKey, named_fields, sign, sign_field
from twisted_mta.trust.dkim.signature import SignatureFault, parse_signature
from twisted_mta.trust.dkim.verify import DkimResult, Verification

# RFC 8463 §A.2, §A.3
TEXTS: dict[str, Any] = {
    "brisbane._domainkey.football.example.com": [
        "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    ],
    "test._domainkey.football.example.com": [
        "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR"
        "iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC"
        "DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3"
        "Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
    ],
}
HEADER = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

""".replace(b"\n", b"\r\n")
BODY = b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
NOW = 1_600_000_000.0

RSA = rsa.generate_private_key(65537, 2048)
ED25519 = ed25519.Ed25519PrivateKey.generate()
KEYS = [SigningKey("a.test", "r1", RSA), SigningKey("a.test", "e1", ED25519)]
OUR_TEXTS = {
    "r1._domainkey.a.test": [
        "v=DKIM1; k=rsa; p="
        + base64.b64encode(
            RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).decode()
    ],
    "e1._domainkey.a.test": [
        "v=DKIM1; k=ed25519; p="
        + base64.b64encode(ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    ],
}


def verify(
    header: bytes, body: bytes, texts: dict[str, Any], *, first: str = "", now: float = NOW
) -> list[DkimResult]:
    verification = Verification(header, first=first)
    verification.feed(body)
    found: list[list[DkimResult]] = []
    checking = verification.results(DictionaryResolver(texts=texts), lambda: now)
    Deferred.fromCoroutine(checking).addCallback(found.append)
    return found[0]


def outcomes(header: bytes, body: bytes, texts: dict[str, Any] = TEXTS, **others: Any) -> list[str]:
    return [result.result for result in verify(header, body, texts, **others)]


def body_hash(body: bytes, form: str = "relaxed", limit: int | None = None) -> bytes:
    found = BodyHash(form, limit)
    found.feed(body)
    return found.digest()


def test_the_message_of_the_rfc() -> None:
    first, second = verify(HEADER, BODY, TEXTS)
    assert (first.result, first.domain, first.selector) == ("pass", "football.example.com", "brisbane")
    assert (second.result, second.algorithm, second.identity) == (
        "pass",
        "rsa-sha256",
        "@football.example.com",
    )


def test_octet_by_octet() -> None:
    verification = Verification(HEADER)
    for octet in BODY:
        verification.feed(bytes([octet]))
    found: list[list[DkimResult]] = []
    checking = verification.results(DictionaryResolver(texts=TEXTS), lambda: NOW)
    Deferred.fromCoroutine(checking).addCallback(found.append)
    assert [result.result for result in found[0]] == ["pass", "pass"]


SIGNED_PART = HEADER.index(b"\r\nFrom:") + 2


@settings(max_examples=300)
@given(st.data())
def test_no_changed_octet_passes(data: st.DataObject) -> None:
    whole = HEADER + BODY
    at = data.draw(st.integers(SIGNED_PART, len(whole) - 1))
    octet = data.draw(st.integers(0x21, 0x7E).filter(lambda octet: octet != whole[at]))
    if chr(octet).lower() == chr(whole[at]).lower():
        return  # the name of a field, which may be written in any case
    changed = whole[:at] + bytes([octet]) + whole[at + 1 :]
    end = header_end(changed)
    assert "pass" not in outcomes(changed[:end], changed[end:])


@pytest.mark.parametrize(
    ("body", "simple", "relaxed"),
    [  # RFC 6376 §3.4.3 to §3.4.5
        (b"", b"\r\n", b""),
        (b"\r\n\r\n", b"\r\n", b""),
        (b" \r\n", b" \r\n", b""),
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n", b" C\r\nD E\r\n"),
        (b"no end", b"no end\r\n", b"no end\r\n"),
        (b"no end \t", b"no end \t\r\n", b"no end\r\n"),
        (b"\r\n\r\na\r\n", b"\r\n\r\na\r\n", b"\r\n\r\na\r\n"),
        (b"a\r\n \t\r\n\r\nb", b"a\r\n \t\r\n\r\nb\r\n", b"a\r\n\r\n\r\nb\r\n"),
    ],
)
def test_bodies_in_both_forms(body: bytes, simple: bytes, relaxed: bytes) -> None:
    for form, canonical in (("simple", simple), ("relaxed", relaxed)):
        at_once, by_octet = BodyHash(form), BodyHash(form)
        at_once.feed(body)
        for octet in body:
            by_octet.feed(bytes([octet]))
        assert at_once.digest() == by_octet.digest() == hashlib.sha256(canonical).digest()
        assert at_once.size == by_octet.size == len(canonical)


octets = st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"a", b"\r", b"\n", b"bc"])).map(b"".join)


@given(octets, st.integers(0, 40), st.sampled_from(["simple", "relaxed"]))
def test_it_does_not_matter_how_a_body_comes_in(body: bytes, at: int, form: str) -> None:
    found = BodyHash(form)
    found.feed(body[:at])
    found.feed(body[at:])
    assert found.digest() == body_hash(body, form)


@pytest.mark.parametrize("key", KEYS, ids=["rsa", "ed25519"])
def test_what_we_sign_is_right(key: SigningKey) -> None:
    header = b"From: a@a.test\r\nSubject: one\r\n two\r\nX: y\r\n\r\n"
    body = b"text \r\n" * 3 + b"\r\n\r\n"
    field = sign(key, header, body_hash(body), now=NOW)
    assert max(map(len, field.splitlines())) <= 78
    (result,) = verify(field + header, body, OUR_TEXTS)
    assert (result.result, result.domain) == ("pass", "a.test")
    for added in (b"Subject: another\r\n", b"From: b@b.test\r\n", b"To: c@c.test\r\n"):
        assert outcomes(field + added + header, body, OUR_TEXTS) == ["fail"]
    assert outcomes(field + b"X: z\r\n" + header, body, OUR_TEXTS) == ["pass"]


def by_hand(header: bytes, body: bytes, *tags: str) -> bytes:
    """Signed with tags that we would not write."""
    bh = base64.b64encode(body_hash(body)).decode()
    usual = {"v": "1", "a": "ed25519-sha256", "c": "relaxed/relaxed", "d": "a.test", "s": "e1", "h": "from"}
    more = dict(tag.split("=") for tag in tags)
    signed = named_fields(header, [b"from"])
    return sign_field(KEYS[1], "DKIM-Signature", {**usual, **more, "bh": bh, "b": ""}, signed) + header


def test_a_second_author_that_is_not_signed() -> None:
    """Acceptance 42."""
    whole = by_hand(b"From: a@a.test\r\n\r\n", b"")
    assert outcomes(whole, b"", OUR_TEXTS) == ["pass"]
    assert outcomes(b"From: you@bank.test\r\n" + whole, b"", OUR_TEXTS) == ["policy"]


@pytest.mark.parametrize("name", [b"Subject", b"content-type", b"Content-Transfer-Encoding"])
def test_a_second_field_that_a_reader_sees_instead(name: bytes) -> None:
    whole = by_hand(name + b": x\r\nFrom: a@a.test\r\n\r\n", b"")
    assert outcomes(whole, b"", OUR_TEXTS) == ["pass"]
    (result,) = verify(name + b": you have won\r\n" + whole, b"", OUR_TEXTS)
    assert result.result == "policy" and "that is not signed" in result.reason


def test_text_behind_what_is_signed_is_no_pass() -> None:
    """Acceptance 42."""
    body = b"signed\r\n"
    whole = by_hand(b"From: a@a.test\r\n\r\n", body, f"l={len(body)}")
    assert outcomes(whole, body, OUR_TEXTS) == ["pass"]
    (result,) = verify(whole, body + b"added\r\n", OUR_TEXTS)
    assert (result.result, result.reason) == ("policy", "only 8 octets of the body's 15 are signed")


def test_expired() -> None:
    """Acceptance 42."""
    whole = by_hand(b"From: a@a.test\r\n\r\n", b"", f"t={NOW - 1000:.0f}", f"x={NOW:.0f}")
    assert outcomes(whole, b"", OUR_TEXTS) == ["pass"]
    assert outcomes(whole, b"", OUR_TEXTS, now=NOW + 1000) == ["fail"]


@pytest.mark.parametrize(
    ("texts", "outcome"),
    [
        ([], "permerror"),
        (FAILURE, "temperror"),
        (["v=DKIM1; k=ed25519; p="], "permerror"),
        (["v=DKIM1; k=ed25519; h=sha1; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="], "permerror"),
        (["v=DKIM1; k=ed25519; s=tlsrpt; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="], "permerror"),
        (["v=spf1 -all", "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="], "pass"),
        (["k=ed25519; t=s:y; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="], "pass"),
        (TEXTS["test._domainkey.football.example.com"], "permerror"),
    ],
)
def test_keys(texts: Any, outcome: str) -> None:
    changed = {**TEXTS, "brisbane._domainkey.football.example.com": texts}
    assert outcomes(HEADER, BODY, changed) == [outcome, "pass"]


def test_a_short_key_proves_nothing() -> None:
    """Acceptance 42."""
    key = rsa.RSAPublicNumbers(65537, 2**767 + 1).public_key()
    octets = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(KeyFault, match="768 bits"):
        parse_key("p=" + base64.b64encode(octets).decode())


def test_a_key_that_makes_verifying_dear() -> None:
    key = rsa.RSAPublicNumbers(2**2047 + 1, 2**3071 + 1).public_key()
    octets = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(KeyFault, match="exponent"):
        parse_key("p=" + base64.b64encode(octets).decode())


def test_a_thousand_signatures_cost_eight_keys() -> None:
    field, _, rest = HEADER.partition(b"DKIM-Signature: v=1; a=rsa")
    resolver = DictionaryResolver(texts=TEXTS)
    verification = Verification(field * 1000 + b"DKIM-Signature: v=1; a=rsa" + rest, first="x.test")
    verification.feed(BODY)
    found: list[list[DkimResult]] = []
    Deferred.fromCoroutine(verification.results(resolver, lambda: NOW)).addCallback(found.append)
    assert len(resolver.asked) == 8
    assert [result.result for result in found[0]] == ["pass"] * 8 + ["policy"]


def test_the_authors_signature_comes_first() -> None:
    strange = (
        HEADER.partition(b"DKIM-Signature: v=1; a=rsa")[0].replace(b"football.example.com", b"x.test") * 20
    )
    results = verify(strange + HEADER, BODY, TEXTS, first="football.example.com")
    assert [(r.result, r.domain) for r in results][:2] == [("pass", "football.example.com")] * 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"v=1", b"v=2"),
        (b"a=ed25519-sha256", b"a=rsa-sha1"),
        (b"c=relaxed/relaxed", b"c=relaxed/odd"),
        (b"d=football.example.com", b"d=example.com;d=football.example.com"),
        (b"i=@football.example.com", b"i=@example.com"),
        (b"i=@football.example.com", b"i=joe@notfootball.example.com"),
        (b"from :", b"sender :"),
        (b"bh=2jU", b"bh=*2jU"),
        (b"s=brisbane", b"s="),
        (b"q=dns/txt", b"q=http"),
        (b"t=1528637909", b"t=1528637909; x=1528637909"),
        (b"t=1528637909", b"t=yesterday"),
        (b"t=1528637909", b"l=-1"),
    ],
)
def test_malformed_signatures(old: bytes, new: bytes) -> None:
    field = HEADER.partition(b"DKIM-Signature: v=1; a=rsa")[0][len(b"DKIM-Signature:") :]
    assert parse_signature(field)
    with pytest.raises(SignatureFault):
        parse_signature(field.replace(old, new))


@given(st.binary(max_size=200))
def test_any_octets_are_a_signature_or_a_fault(value: bytes) -> None:
    assert outcomes(b"DKIM-Signature: " + value + b"\r\n\r\n", b"") in ([], ["permerror"], ["policy"])


@given(st.text(max_size=200))
def test_any_text_is_a_key_or_a_fault(text: str) -> None:
    for prefix in ("", "p=", "k=ed25519;p="):
        with contextlib.suppress(KeyFault):
            parse_key(prefix + text)


INTERNATIONAL = (  # d=, s=, i= as they are written; the key's name, the identity (RFC 8616 §4, RFC 5891)
    ("bücher.test", "s", "", "s._domainkey.xn--bcher-kva.test", "@xn--bcher-kva.test"),
    ("BÜCHER.test", "s", "ann@Bücher.test", "s._domainkey.xn--bcher-kva.test", "ann@xn--bcher-kva.test"),
    ("xn--bcher-kva.test", "s", "@a.bücher.test", "s._domainkey.xn--bcher-kva.test", "@a.xn--bcher-kva.test"),
    ("bücher.test", "s", "@xn--bcher-kva.test", "s._domainkey.xn--bcher-kva.test", "@xn--bcher-kva.test"),
    ("straße.test", "ü", "", "xn--tda._domainkey.xn--strae-oqa.test", "@xn--strae-oqa.test"),  # not strasse
)


@pytest.mark.parametrize(("domain", "selector", "identity", "key", "found"), INTERNATIONAL)
def test_internationalised_names(domain: str, selector: str, identity: str, key: str, found: str) -> None:
    own = f" i={identity};" if identity else ""
    value = f"v=1; a=ed25519-sha256; d={domain}; s={selector};{own} h=from; bh=AAAA; b=AAAA"
    signature = parse_signature(value.encode())
    assert (signature.key_name, signature.identity) == (key, found)


@pytest.mark.parametrize(
    "tags", ["d=b\u0430nk..test; s=s", "d=b.test; s=s; i=@b\u0430.test", "d=b.test; s=s; \u0430"]
)
def test_a_fault_is_told_in_ascii(tags: str) -> None:
    with pytest.raises(SignatureFault) as caught:
        parse_signature(f"v=1; a=ed25519-sha256; {tags}; h=from; bh=AAAA; b=AAAA".encode())
    assert str(caught.value).isascii()
