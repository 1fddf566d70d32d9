"""When we seal, and when it is better to say nothing (RFC 8617 §5.1)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signing_house import chain, parts, signer

from twisted_mta.message.content import Content
from twisted_mta.trust.arc.sealer import Sealer
from twisted_mta.trust.finding import Finding
from twisted_mta.trust.results import merged, of_service, result_of, value_of

MESSAGE = b"From: eve@far.test\r\nSubject: x\r\n\r\ntext\r\n"


def results(*found: str, service: str = "mx.a.test") -> bytes:
    return f"Authentication-Results: {'; '.join([service, *found])}\r\n".encode()


def sealed(message: bytes, service: str = "mx.a.test") -> bytes:
    return Sealer(signer(), service).of_content("a.test", Content(b"", message)) + message


FIRST = sealed(results("spf=pass") + MESSAGE)
STRANGE = b"".join(
    b"ARC-%b: i=%b; a=rsa-sha256; cv=none; d=far.test; s=x; h=from; bh=AA==; b=AA==\r\n" % (name, number)
    for number in (b"1",)
    for name in (b"Seal", b"Message-Signature", b"Authentication-Results")
)


def test_the_first_set() -> None:
    assert chain(FIRST).result == "pass" and b"cv=none" in FIRST


def test_the_next_one() -> None:
    second = sealed(results("arc=pass", "dkim=none", service="mx.b.test") + FIRST, "mx.b.test")
    found = chain(second)
    assert (found.result, found.sealers) == ("pass", ("a.test", "a.test"))
    assert b"cv=pass" in second and b"i=2" in second


def test_a_chain_that_was_broken_when_it_came() -> None:
    broken = results("arc=fail", service="mx.b.test") + FIRST.replace(b"text", b"test")
    second = sealed(broken, "mx.b.test")
    assert b"cv=fail" in second and chain(second).result == "fail"
    assert sealed(results("arc=fail", service="mx.c.test") + second, "mx.c.test").endswith(second)


@pytest.mark.parametrize(
    "message",
    [
        MESSAGE,  # nothing was found
        results("spf=pass", service="mx.far.test") + MESSAGE,
        results("spf=pass", "arc=temperror") + STRANGE + MESSAGE,  # the DNS did not answer
        results("spf=pass") + STRANGE + MESSAGE,  # nobody has looked
        results("spf=pass", "arc=none") + STRANGE + MESSAGE,
        results("spf=pass", "arc=pass") + MESSAGE,
        results("spf=pass", "arc=fail") + b"ARC-Seal: i=1; cv=none\r\n" + MESSAGE,  # cannot be read
        results('spf=fail reason="; arc=pass"') + STRANGE + MESSAGE,
    ],
)
def test_nothing_is_said(message: bytes) -> None:
    assert sealed(message) == message


def test_a_sealer_without_keys_says_nothing() -> None:
    header, _ = parts(results("spf=pass") + MESSAGE)
    assert Sealer(signer([]), "mx.a.test").fields("a.test", header, bytes(32)) == b""


def test_lines_stay_short() -> None:
    found = [f"dkim=pass header.d=d{number}.test" for number in range(60)]
    whole = sealed(results(*found) + MESSAGE)
    end = whole.index(b"Authentication-Results: mx.a.test")
    assert max(map(len, whole[:end].splitlines())) < 100
    assert chain(whole).result == "pass"


texts = st.text(st.characters(codec="utf-8"), max_size=30)


@settings(max_examples=50)
@given(st.lists(st.tuples(texts, texts), max_size=4))
def test_what_strangers_say_is_never_taken_for_a_result(said: list[tuple[str, str]]) -> None:
    findings = [Finding("spf", "fail", {"smtp.mailfrom": one}, other) for one, other in said]
    field = f"Authentication-Results: {value_of('mx.a.test', findings)}\r\n".encode()
    assert result_of(field, "mx.a.test", "arc") == ""
    assert result_of(field, "mx.a.test", "spf") == ("fail" if said else "")
    assert of_service(field, "mx.a.test") and merged(field, "mx.a.test")
