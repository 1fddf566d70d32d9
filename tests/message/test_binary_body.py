"""Binary parts of messages become base64, and nothing else changes (RFC 3516 §4.4)."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.message.binary_body import NotKept, encoded_pieces
from twisted_mta.message.mime import locate, scan
from twisted_mta.message.transfer_encoding import decode_transfer

HEAD = b"Subject: x\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\npreamble\r\n"
PART = b"--bb\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: binary\r\nX-Kept: 1\r\n\r\n"
END = b"\r\n--bb--\r\nepilogue\r\n"


def encode_binary(data):
    return b"".join(encoded_pieces(data))


def content(data, *numbers):
    part = locate(scan(data), numbers)
    return decode_transfer(data[part.header_end : part.body_end], part.encoding)


@given(st.binary(max_size=300).filter(lambda octets: b"\n--bb" not in b"\n" + octets))
def test_every_content_stays_the_same(octets):
    data = HEAD + PART + octets + b"\r\n--bb\r\n\r\nplain" + END
    encoded = encode_binary(data)
    assert content(encoded, 1) == octets and content(encoded, 2) == b"plain"
    assert encoded.startswith(HEAD) and encoded.endswith(b"\r\n--bb\r\n\r\nplain" + END)
    assert b"X-Kept: 1\r\n" in encoded and b"\0" not in encoded
    assert encoded.replace(b"\r\n", b"").count(b"\n") == 0


def test_what_line_ends_can_hold_is_left_alone():
    data = HEAD + PART + b"8-bit \xff, in lines\r\nof its own" + END
    assert encode_binary(data) == data


def test_a_message_without_parts():
    head = b"From: a\r\nContent-Type: image/x\r\n"
    encoded = encode_binary(head + b"\r\n\0\1\n\2\r")
    assert encoded == head + b"Content-Transfer-Encoding: base64\r\n\r\nAAEKAg0=\r\n"
    assert encode_binary(b"\r\n\0") == b"Content-Transfer-Encoding: base64\r\n\r\nAA==\r\n"


def test_long_contents_go_in_lines():
    encoded = encode_binary(b"Content-Transfer-Encoding: BINARY\r\n\r\n" + bytes(1000))
    assert max(map(len, encoded.split(b"\r\n"))) == 76 and content(encoded, 1) == bytes(1000)


def test_a_large_message_comes_in_small_pieces():
    """Acceptance 35: it is not in memory twice."""
    data = HEAD + PART + bytes(500_000) + b"\r\n--bb\r\n\r\n" + b"plain\r\n" * 50_000 + END
    pieces = list(encoded_pieces(data))
    assert content(b"".join(pieces), 1) == bytes(500_000)
    assert content(b"".join(pieces), 2) == b"plain\r\n" * 50_000
    del pieces
    tracemalloc.start()
    try:
        assert sum(map(len, encoded_pieces(data))) > 1_000_000
        assert tracemalloc.get_traced_memory()[1] < 400_000
    finally:
        tracemalloc.stop()


def test_enclosed_messages():
    inner = b"Subject: inner\r\nContent-Transfer-Encoding: binary\r\n\r\nl\nf"
    data = b"Content-Type: message/rfc822\r\n\r\n" + inner
    encoded = encode_binary(data)
    assert content(encoded, 1, 1) == b"l\nf" and b"Subject: inner\r\n" in encoded


def test_bare_line_ends_in_texts_are_no_content():
    """Clients mean line ends by them, and a text in base64 would be of no use to many."""
    data = b"Content-Type: text/plain\r\n\r\none\ntwo\n"
    assert encode_binary(data) == data


@pytest.mark.parametrize(
    "data",
    [
        b"Subject: a\0b\r\n\r\n",
        b"Subject: a\0b",
        HEAD.replace(b"preamble", b"\0") + PART + b"x" + END,
        b"Content-Transfer-Encoding: base64\r\n\r\nAA\0=",
    ],
)
def test_nul_where_no_encoding_can_be(data):
    with pytest.raises(NotKept):
        encode_binary(data)
