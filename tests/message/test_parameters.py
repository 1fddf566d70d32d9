"""Parameters of MIME fields (RFC 2045 §5.1, RFC 2183, RFC 2231)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.parameters import (
    Parameters,
    parameter,
    parse_content_type,
    parse_disposition,
    parse_token,
)


def pairs(text: str) -> Parameters:
    found = parse_content_type(b"a/b; " + text.encode())
    assert found is not None
    return found[2]


@pytest.mark.parametrize(
    ("value", "content_type"),
    [
        (b"text/plain", (b"text", b"plain", ())),
        (b" TEXT / Plain ; Charset=UTF-8", (b"text", b"plain", ((b"charset", b"UTF-8"),))),
        (b"text/plain; charset=us-ascii (Plain text)", (b"text", b"plain", ((b"charset", b"us-ascii"),))),
        (b"(a) text (b) / (c) plain (d)", (b"text", b"plain", ())),
        (
            b"application/vnd.ms-excel.12;\r\n\tname=a",
            (b"application", b"vnd.ms-excel.12", ((b"name", b"a"),)),
        ),
        (b"multipart/mixed\tboundary=x", (b"multipart", b"mixed", ((b"boundary", b"x"),))),
        (b"text/plain;", (b"text", b"plain", ())),
    ],
)
def test_content_type(value: bytes, content_type: tuple[bytes, bytes, Parameters]) -> None:
    assert parse_content_type(value) == content_type


@pytest.mark.parametrize(
    "value", [b"", b"text", b"/plain", b"text/", b"text;charset=x", b"\xff/\xff", b'"text/plain"']
)
def test_no_content_type(value: bytes) -> None:
    assert parse_content_type(value) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a="x; y"; b=z', ((b"a", b"x; y"), (b"b", b"z"))),
        (r'a="x\"\\y"', ((b"a", b'x"\\y'),)),
        ('a = "x" ; b\r\n = y', ((b"a", b"x"), (b"b", b"y"))),
        ("a=----=_Part/1:2?", ((b"a", b"----=_Part/1:2?"),)),
        ("a=x; A=y", ((b"a", b"x"),)),
        ("a; b=; c=x", ((b"b", b""), (b"c", b"x"))),
        ('a=""', ((b"a", b""),)),
        ('a="never ends', ((b"a", b"never ends"),)),
        ('a="(no comment)"; b=x(comment)y', ((b"a", b"(no comment)"), (b"b", b"x"))),
        (';;; = "x" a=y', ((b"a", b"y"),)),
        ('a="x" b="y"', ((b"a", b"x"), (b"b", b"y"))),
        # RFC 2231 §3 and §4.
        ('url*0="ftp://"; url*1="cs.utk.edu/x"', ((b"url", b"ftp://cs.utk.edu/x"),)),
        ("title*=us-ascii'en-us'This%20is", ((b"title*", b"us-ascii'en-us'This%20is"),)),
        (
            "title*0*=us-ascii'en'This%20is%20even%20more%20;"
            ' title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2="isn\'t it!"',
            ((b"title*", b"us-ascii'en'This%20is%20even%20more%20%2A%2A%2Afun%2A%2A%2A%20isn%27t%20it!"),),
        ),
        ("a*1=y; b=z; a*0=x", ((b"a", b"xy"), (b"b", b"z"))),
        ("a*0=x; a*0=y; a*2=z", ((b"a", b"xz"),)),
        ("a=plain; a*=utf-8''%C3%A4", ((b"a", b"plain"), (b"a*", b"utf-8''%C3%A4"))),
    ],
)
def test_parameters(text: str, expected: Parameters) -> None:
    assert pairs(text) == expected


def test_parameter_by_name() -> None:
    assert parameter(pairs("a=x"), b"a") == b"x"
    assert parameter(pairs("a=x"), b"b") is None
    assert parameter(pairs("a*=utf-8''%C3%a4%"), b"a") == b"\xc3\xa4%"
    assert parameter(pairs("a*=utf-8''y; a=x"), b"a") == b"x"
    assert parameter(pairs("a*=broken"), b"a") == b"broken"


def test_disposition() -> None:
    assert parse_disposition(b"Attachment; filename=x.pdf") == (b"attachment", ((b"filename", b"x.pdf"),))
    assert parse_disposition(b"inline") == (b"inline", ())
    assert parse_disposition(b'; filename="x"') == (b"attachment", ((b"filename", b"x"),))
    assert parse_disposition(b" ") is None


def test_token() -> None:
    assert parse_token(b" Base64 ") == b"base64"
    assert parse_token(b"(x) 7bit; y") == b"7bit"
    assert parse_token(b"") == b""


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60)
    | st.lists(
        st.sampled_from([b"a", b"=", b'"', b"\\", b";", b"*", b"0", b"*1*", b"%41", b"'", b" ", b"(", b")"])
    ).map(b"".join)
)
def test_anything_is_read(value: bytes) -> None:
    found = parse_content_type(b"a/b;" + value)
    assert found is not None
    assert len({name for name, _ in found[2]}) == len(found[2])
    assert not any(b"\n" in part for pair in found[2] for part in pair)
    parse_content_type(value)
    parse_disposition(value)


_PIECES = b"""text/plain|a/b|text|/|;|; | |charset=x|charset="utf-8"|name=|"|"q (x)"|(c)|=|a|A*|*0=|\\|,|\t|\r
 |\xff|<|boundary="x y"|b=c|Charset=y"""


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.sampled_from(_PIECES.split(b"|")), max_size=9).map(b"".join))
def test_usual_types_are_no_special_case(value: bytes) -> None:
    # With a comment in front a value is read piece by piece.
    for text in (value, b"text/plain; " + value):
        assert parse_content_type(text) == parse_content_type(b"(x)" + text)
        assert parse_token(text) == parse_token(b"(x)" + text)


def test_ten_thousand_continuations() -> None:
    value = b"a/b" + b"".join(b';n*%d="x"' % number for number in range(10_000))
    found = parse_content_type(value)
    assert found is not None and found[2][0][0] == b"n"
    assert len(found[2]) == 1 and set(found[2][0][1]) == {ord("x")}


def test_hostile_values_cost_no_more_than_their_octets() -> None:
    # Quadratic work would keep this test busy for minutes.
    for piece in (b"(", b"()", b'"', b'\\"', b"a ", b"a", b"=", b";", b"a*0=", b'a="', b"\r\n "):
        parse_content_type(b"a/b;" + piece * (1_000_000 // len(piece)))
