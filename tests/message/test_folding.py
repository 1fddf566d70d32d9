"""Texts made fit for comparison (RFC 5051, RFC 5255 §4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.message import folding
from twisted_mta.message.folding import fold


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello", "hELLO"),
        ("Straße", "STRASSE"),
        ("ẞ", "ss"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("é", "e\u0301"),
        ("Ǆ", "ǆ"),
        ("ﬁne", "FINE"),
        ("ＡＢＣ１２", "abc12"),
        ("ｶﾞ", "ガ"),
        ("\u212a", "k"),  # the Kelvin sign
        ("İSTANBUL", "istanbul"),
        ("ıstanbul", "İstanbul"),
        ("soft\u00adhyphen", "softhyphen"),
        ("\ufeffzero\u200bwidth", "zerowidth"),
        ("one\r\n\t two", "one two"),
        ("one\u00a0two\u3000three\0four", "one two three four"),
        ("\ud83d", "\ufffd"),
    ],
)
def test_what_is_the_same(one, other):
    assert fold(one) == fold(other)


@pytest.mark.parametrize(
    ("text", "wanted", "expected"),
    [
        ("Le café noir", "CAFE", True),  # RFC 5051: letters are decomposed
        ("Le cafe noir", "café", False),
        ("東京都庁", "京都", True),
        ("한국어", "한국", True),
        ("a phrase\r\n  in two lines", "Phrase in", True),
        ("foobar", "foo ", False),
        ("foo bar", "foo ", True),
        ("foo", " ", False),
    ],
)
def test_substrings(text, wanted, expected):
    assert (fold(wanted) in fold(text)) is expected


@given(st.text(alphabet=st.characters(max_codepoint=0x2FF)), st.text(), st.text())
def test_a_part_of_a_text_is_found_in_it(before, wanted, after):
    # But where a combining mark could change places with one at the border.
    assert fold(f"x{wanted}y") in fold(f"{before}x{wanted}y{after}")


@given(st.text(alphabet=" \0\n\tabIiıİßﬀ\u0307\u0300\u200b\ufdfa\ud800é"), st.sampled_from([1, 2, 7]))
def test_slices_are_no_special_case(text, slice_size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folding, "_SLICE", slice_size)
        in_slices = fold(text)
    assert in_slices == fold(text)


@given(st.text())
def test_what_a_database_can_hold(text):
    folded = fold(text)
    folded.encode("utf-8")
    assert not set(folded) & set("\0\n\r\t") and "  " not in folded
    assert fold(folded.lower()) == fold(fold(folded.lower()))


def test_empty_and_white():
    assert [fold(text) for text in ("", " ", "\r\n", "\0", "\u00ad", " a ")] == ["", " ", " ", " ", "", " a "]
