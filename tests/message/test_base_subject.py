"""The base subject (RFC 5256 §2.1), step by step and against a literal reading of the RFC."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.base_subject import base_subject


@pytest.mark.parametrize(
    ("subject", "base", "marked"),
    [
        ("", "", False),
        ("lunch", "lunch", False),
        ("  a \t b\r\n  c  ", "a b c", False),
        # Leaders, also with blobs in front and inside.
        ("Re: lunch", "lunch", True),
        ("RE:lunch", "lunch", True),
        ("Fw: lunch", "lunch", True),
        ("fwd : lunch", "lunch", True),
        ("re: Fwd: RE: lunch", "lunch", True),
        ("Re[2]: lunch", "lunch", True),
        ("Re [2] : lunch", "lunch", True),
        ("[list] Re: lunch", "lunch", True),
        ("Re: [list] Re: [other] lunch", "lunch", True),
        ("Re:", "", True),
        ("Reply: lunch", "Reply: lunch", False),
        ("Re lunch", "Re lunch", False),
        ("AW: lunch", "AW: lunch", False),
        # Blobs: no marks of a reply, and one is left when there is nothing else.
        ("[list] lunch", "lunch", False),
        ("[a][b] [c] lunch", "lunch", False),
        ("[a] [b]", "[b]", False),
        ("[a]", "[a]", False),
        ("[a] [b] (fwd)", "[b]", True),
        ("[a[b] lunch", "[a[b] lunch", False),
        ("[a] b]", "b]", False),
        # Trailers.
        ("lunch (fwd)", "lunch", True),
        ("lunch (FWD) (fwd)(fwd) ", "lunch", True),
        ("(fwd)", "", True),
        ("lunch (fwd) today", "lunch (fwd) today", False),
        # Around.
        ("[fwd: lunch]", "lunch", True),
        ("[Fwd: [fwd: Re: lunch (fwd)] ]", "lunch", True),
        ("[list] [fwd: lunch]", "lunch", True),
        ("[fwd: lunch] today", "today", False),
        ("[fwd: a [b] c]", "a [b] c", True),
        ("[fwd:]", "", True),
        ("[fwd:", "[fwd:", False),
        ("fwd: [fwd: lunch", "[fwd: lunch", True),
        # No white space but these counts.
        ("Re:\u00a0lunch", "\u00a0lunch", True),
    ],
)
def test_base_subject(subject: str, base: str, marked: bool) -> None:
    assert base_subject(subject) == (base, marked)


_BLOB = r"\[[^\[\]]*\][ \t]*"
_LEADER = re.compile(rf"(?:(?:{_BLOB})*(?P<mark>(?:re|fwd?)[ \t]*(?:{_BLOB})?:)|[ \t])", re.IGNORECASE)
_TRAILER = re.compile(r"(?:(?P<mark>\(fwd\))|[ \t])\Z", re.IGNORECASE)


def literally(subject: str) -> tuple[str, bool]:
    """The RFC's procedure as it is written there."""
    text, marked = re.sub("[ \t\r\n]+", " ", subject), False
    while True:
        while found := _TRAILER.search(text):
            text, marked = text[: found.start()], marked or bool(found["mark"])
        while True:
            before = text
            while found := _LEADER.match(text):
                text, marked = text[found.end() :], marked or bool(found["mark"])
            if (blob := re.match(_BLOB, text)) and text[blob.end() :]:
                text = text[blob.end() :]
            if text == before:
                break
        if not (text.lower().startswith("[fwd:") and text.endswith("]")):
            return text, marked
        text, marked = text[5:-1], True


pieces = st.sampled_from(
    ["re", "Fwd", "fw", ":", "[", "]", "[a]", "[fwd:", "(fwd)", " ", "  ", "\t", "lunch", "x", "é", "(", ")"]
)


@settings(max_examples=1000, deadline=None)
@given(st.lists(pieces, max_size=14).map("".join))
def test_any_subject_is_read_as_the_rfc_says(subject: str) -> None:
    assert base_subject(subject) == literally(subject)


def test_hostile_subjects_cost_no_more_than_their_length() -> None:
    # Quadratic work would keep this test busy for hours.
    for piece in ("[a]", "Re: ", "(fwd)", "[fwd:", "[", "]", "re", "[fwd: [a]", "re[a]", " ", "Fwd: [x] "):
        subject = piece * (1_000_000 // len(piece))
        assert len(base_subject(subject)[0]) <= len(subject)
        assert len(base_subject(f"{subject}x")[0]) <= len(subject) + 1
