"""Content-transfer-encodings undone, whatever the octets are like (RFC 2045 §6)."""

import base64
import binascii
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.message import transfer_encoding
from twisted_mta.message.transfer_encoding import decode_transfer


@pytest.mark.parametrize("encoding", [b"7bit", b"8bit", b"binary", b""])
def test_what_is_not_encoded_stays(encoding):
    assert decode_transfer(b"a=3D\r\n", encoding) == b"a=3D\r\n"


@pytest.mark.parametrize("encoding", [b"x-uuencode", b"base-64", b"quoted"])
def test_unknown_encodings(encoding):
    assert decode_transfer(b"abc", encoding) is None


@given(st.binary(), st.integers(1, 80))
def test_base64_in_lines(data, width):
    text = base64.b64encode(data)
    lines = b"\r\n".join(text[start : start + width] for start in range(0, len(text), width))
    assert decode_transfer(lines, b"base64") == data


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"aGVs*bG8 \xff-=", b"hello"),  # octets outside of the alphabet
        (b"aGVsbG8", b"hello"),  # no padding
        (b"aGVsbG8g\r\nd29ybGQ=\r\naGVsbG8=", b"hello worldhello"),  # two encoded texts
        (b"aGVsbG8=\r\n-- list footer", b"hello" + base64.b64decode("listfooter==")),
        (b"aGVsb", b"hel"),
        (b"a", b""),
        (b"====", b""),
        (b"", b""),
    ],
)
def test_base64_as_it_is_sent(text, expected):
    assert decode_transfer(text, b"base64") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"Caf=E9 au la=\r\nit", b"Caf\xe9 au lait"),
        (b"soft=  \r\nbreak", b"softbreak"),  # §6.7 (3): white space at the end of a line is no content
        (b"hard \t\r\nbreak \r\n", b"hard\r\nbreak\r\n"),
        (b"kept=20\r\n", b"kept \r\n"),
        (b"a=b=3d=3D=", b"a=b=="),
        (b"one=\rtwo\r\nthree", b"one=\rtwo\r\nthree"),
        (b"==3D\r\n=\r\n", b"=3D\r\n"),
        (b"=\n=\r\n", b""),
        (b"=C3=A9\n", b"\xc3\xa9\n"),
    ],
)
def test_quoted_printable(text, expected):
    assert decode_transfer(text, b"quoted-printable") == expected


@given(st.binary())
def test_quoted_printable_round_trip(data):
    data = data.replace(b"\r", b"").replace(b"\n", b"")
    assert decode_transfer(binascii.b2a_qp(data), b"quoted-printable") == data


@given(st.binary(), st.sampled_from([b"base64", b"quoted-printable"]))
def test_nothing_raises(data, encoding):
    assert isinstance(decode_transfer(data, encoding), bytes)


_PIECES = [b"QUI", b"=", b"=\r\n", b"\n", b"\r", b" ", b"\t", b"=3D", b"=4", b"a", b"\xff", b"=\r", b" \r\n"]


@given(
    st.lists(st.sampled_from(_PIECES), max_size=30).map(b"".join),
    st.integers(1, 9),
    st.sampled_from([b"base64", b"quoted-printable"]),
)
def test_in_pieces_as_in_one(data, piece, encoding):
    whole = decode_transfer(data, encoding)
    usual, transfer_encoding._PIECE = transfer_encoding._PIECE, piece
    try:
        assert decode_transfer(data, encoding) == whole
    finally:
        transfer_encoding._PIECE = usual


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(b"QUJD\r\n", b"base64"), (b"x \r\n", b"quoted-printable"), (b"=\r", b"quoted-printable")],
)
def test_little_more_than_the_text_itself_is_in_memory(text, encoding):
    text *= 12_000_000 // len(text)
    tracemalloc.start()
    try:
        decode_transfer(text, encoding)
        assert tracemalloc.get_traced_memory()[1] < 6 * len(text)
    finally:
        tracemalloc.stop()


def test_a_million_spaces_cost_no_more_than_they_weigh():
    for text in (b" " * 1_000_000, b" x" * 500_000 + b" \r\n", b"=\r" * 500_000, b"= " * 500_000 + b"\r\n"):
        decode_transfer(text, b"quoted-printable")
