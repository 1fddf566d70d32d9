"""Whose an Authentication-Results field is, whatever comments stand in it (RFC 8601 §2.2)."""

import re
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twisted_mta.message.headers import without_comments
from twisted_mta.trust.results import result_of, service_of, without_claimed


@pytest.mark.parametrize(
    ("value", "service"),
    [
        (b" us.test; none", "us.test"),
        (b" US.test. 1; none", "us.test"),
        (b"\r\n\tus.test; none", "us.test"),
        (b" (said) (by (us)) us.test(really); none", "us.test"),
        (b' (\\) them.test \\( " )us.test', "us.test"),
        (b' "us.\\test" (x)', "us.test"),
        (b' "(us)"', "(us)"),
        (b"()" * 1000 + b"us.test", "us.test"),
        (b"(((((us)))))us.test", "us.test"),
        (b"((((((deeper than anybody needs))))))us.test", ""),
        (b" (never closed us.test", ""),
        (b' "never closed', ""),
        (b"; us.test", ""),
        (b"", ""),
    ],
)
def test_who_says_so(value: bytes, service: str) -> None:
    assert service_of(value) == service


@given(
    st.lists(st.sampled_from([b"(", b")", b"\\", b'"', b" ", b";", b"a", b"\n "]), max_size=12).map(b"".join)
)
@example(b'"\\\n "')
def test_it_is_the_first_word_outside_of_comments(value: bytes) -> None:
    if value.count(b"(") > 5:
        return
    word = re.match(rb'[ \t\r\n]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', without_comments(value), re.DOTALL)
    quoted, token = word.groups() if word else (b"", b"")
    name = token if quoted is None else re.sub(rb"\\(.)", rb"\1", quoted, flags=re.DOTALL)
    assert service_of(value) == name.decode().lower().removesuffix(".")


def test_whoever_hides_behind_comments_goes() -> None:
    hidden = b"Authentication-Results: ((((((x))))))us.test; dmarc=pass\r\n"
    assert without_claimed(hidden + b"From: a@b.test\r\n\r\n", "us.test") == b"From: a@b.test\r\n\r\n"
    assert result_of(hidden, "us.test", "dmarc") == ""


@pytest.mark.parametrize("value", [b" us.test" + b"()" * 450, b"()" * 450, b"(" * 450 + b")" * 450])
def test_comments_cost_nothing(value: bytes) -> None:
    """A stranger's header is looked at in the reactor: comments must not keep it busy."""
    header = (b"Authentication-Results:" + value + b"\r\n") * 20 + b"\r\n"
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        without_claimed(header, "us.test")
    finally:
        sys.setprofile(before)
    assert calls < 20 * 40
