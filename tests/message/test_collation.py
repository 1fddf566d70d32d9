"""i;unicode-casemap (RFC 5051)."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.message.collation import casemap


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello", "hELLO"),
        ("Jürgen", "jÜRGEN"),
        ("Jürgen", "Ju\u0308rgen"),
        ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
        ("ДЯДЯ", "дядя"),
        ("ǆ", "Ǆ"),
        ("ｆｕｌｌ", "FULL"),
    ],
)
def test_equal(one: str, other: str) -> None:
    assert casemap(one) == casemap(other)


def test_different() -> None:
    assert len({casemap(text) for text in ("ss", "ß", "e", "é", "e ", "", "日", "本")}) == 8


def test_order() -> None:
    texts = ["日本", "Z", "b", "", "ж", "A", "é", " a"]
    assert sorted(texts, key=casemap) == ["", " a", "A", "b", "é", "Z", "ж", "日本"]


@given(st.text())
def test_any_text_gets_a_decomposed_key(text: str) -> None:
    assert unicodedata.is_normalized("NFKD", casemap(text))
    assert casemap(text + text) == unicodedata.normalize("NFKD", casemap(text) + casemap(text))
