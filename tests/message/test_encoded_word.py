"""Encoded words (RFC 2047)."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.charset import codec, decode_text
from twisted_mta.message.encoded_word import decode, encode


@pytest.mark.parametrize(
    ("value", "text"),
    [
        # The examples of RFC 2047 §8.
        (b"(=?ISO-8859-1?Q?a?=)", "(a)"),
        (b"(=?ISO-8859-1?Q?a?= b)", "(a b)"),
        (b"(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)"),
        (b"(=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=)", "(ab)"),
        (b"(=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=)", "(ab)"),
        (b"(=?ISO-8859-1?Q?a_b?=)", "(a b)"),
        (b"(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)", "(a b)"),
        # A language (RFC 2231 §5).
        (b"=?US-ASCII*EN?Q?Keith_Moore?= <x>", "Keith Moore <x>"),
        # What mail really brings.
        (b"plain", "plain"),
        (b"", ""),
        (b" folded\r\n text ", "folded text"),
        ("Grüße".encode(), "Grüße"),
        ("Grüße".encode("cp1252"), "Grüße"),
        (b"=?utf-8?b?w6?= =?utf-8?b?pA==?=", "ä"),
        (b"=?utf-8?Q?a b?=", "a b"),
        (b"=?utf-8?Q?What??= x", "What? x"),
        (b"=?UTF-8?B?w6Q=?=tail", "ätail"),
        (b"=?utf-8?b?w6Q?=", "ä"),
        (b"=?utf-8?b?w!6*Q=?=", "ä"),
        (b"=?utf-8?b?w?=", ""),
        (b"=?x-unknown?q?=C3=A4?=", "ä"),
        (b"=?us-ascii?q?=E4?=", "ä"),
        (b"=?windows-1252?q?=80?=", "€"),
        (b"=?gb2312?b?1tDOxA==?=", "中文"),
        (b"=?hex?q?6162?=", "6162"),
        (b"=?utf-8?q?=ZZ=?=", "=ZZ="),
        # No encoded words.
        (b"=?", "=?"),
        (b"=?utf-8?q?", "=?utf-8?q?"),
        (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
        (b"=?utf-8?q?open =?utf-8?q?closed?=", "=?utf-8?q?open closed"),
        # Nothing brings in a line end.
        (b"=?utf-8?q?a=0D=0ABcc:_x=00?=", "a  Bcc: x "),
    ],
)
def test_decode(value: bytes, text: str) -> None:
    assert decode(value) == text


@pytest.mark.parametrize(
    "text", ["", "Hello", "a: b?", "=?", "Grüße aus Köln", "日本語" * 40, "x" * 500 + "é"]
)
def test_encode_and_back(text: str) -> None:
    assert decode(encode(text)) == text


def test_encode_leaves_ascii_alone() -> None:
    assert encode("Re: hello = world") == b"Re: hello = world"


def test_encode_takes_the_shorter_form() -> None:
    assert encode("plain text with one é") == b"=?utf-8?q?plain_text_with_one_=C3=A9?="
    assert encode("日本") == b"=?utf-8?b?5pel5pys?="


def test_encode_hides_line_ends() -> None:
    assert b"\n" not in encode("a\r\nBcc: x")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_encoded_words_are_legal(text: str) -> None:
    encoded = encode(text)
    if encoded != text.encode("utf-8", "replace"):
        for word in encoded.split(b"\r\n "):
            assert len(word) <= 75
            assert re.fullmatch(rb"=\?utf-8\?[bq]\?[A-Za-z0-9!*+/=_-]*\?=", word)
    printable = re.sub("[\x00-\x1f\x7f-\x9f]", " ", text.encode("utf-8", "replace").decode())
    assert decode(encoded).strip() == printable.strip()


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60)
    | st.lists(
        st.sampled_from(
            [b"=?", b"?=", b"?", b"utf-8", b"q", b"?B?", b"=", b" ", b"\r\n ", b"\xff", b"=41", b"QQ"]
        )
    ).map(b"".join)
)
def test_decode_takes_anything(value: bytes) -> None:
    text = decode(value)
    assert not re.search("[\x00-\x1f]", text)


def test_many_openings_cost_no_more_than_their_octets() -> None:
    # Quadratic work would keep this test busy for minutes.
    for piece in (b"=?a?q?", b"=?", b"=?utf-8?q?a?= ", b"?=", b"=?a?q?a?= =?b?q?"):
        decode(piece * (1_000_000 // len(piece)))


def test_charsets() -> None:
    assert codec("UTF-8") == "utf_8"
    assert codec("iso-8859-8-i") == "iso8859_8"
    assert codec("KOI8-R") == "koi8_r"
    assert codec("ISO-8859-15") == "iso8859_15"
    for name in (
        "punycode",
        "idna",
        "base64",
        "rot13",
        "unicode_escape",
        "",
        "x\0y",
        "../utf_8",
        "undefined",
    ):
        assert codec(name) is None


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=40),
    st.sampled_from(["utf-16", "iso-2022-jp", "utf-7", "hz", "big5", "koi8-u"]) | st.text(),
)
def test_any_octets_are_text(octets: bytes, charset: str) -> None:
    assert isinstance(decode_text(octets, charset), str)
