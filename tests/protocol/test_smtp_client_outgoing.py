"""What leaves for another server: nothing in it can be taken for a command or a second message."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.address import Address
from twisted_mta.protocol.framing import DataDecoder
from twisted_mta.protocol.smtp import outgoing


def travel(chunks):
    return b"".join(outgoing.data(chunks))


@pytest.mark.parametrize(
    ("content", "octets"),
    [
        (b"", b".\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.\r\nb", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a\r\n..b\r\n", b"a\r\n...b\r\n.\r\n"),
        (b"a\nb\rc", b"a\r\nb\r\nc\r\n.\r\n"),
        (b"a\r", b"a\r\n.\r\n"),
        (b"a\r\r\n", b"a\r\n\r\n.\r\n"),
    ],
)
def test_content(content, octets):
    assert travel([content]) == octets
    for cut in range(len(content) + 1):
        assert travel([content[:cut], content[cut:]]) == octets
    assert travel(content[n : n + 1] for n in range(len(content))) == octets


# How to end a message in the eyes of somebody else: every pair of line ends around a dot.
ENDS = [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\n", b"\n\r", b"\r\0\n", b"\0\r\n"]


@pytest.mark.parametrize("before", ENDS)
@pytest.mark.parametrize("after", ENDS)
def test_nothing_is_smuggled_out(before, after):
    content = b"Subject: one\r\n\r\nbody" + before + b"." + after + b"MAIL FROM:<x@evil.test>\r\n"
    for cut in range(len(content)):
        octets = travel([content[:cut], content[cut:]])
        assert octets.count(b"\r\n.\r\n") == 1 and octets.endswith(b"\r\n.\r\n")
        assert octets.count(b"\r") == octets.count(b"\n") == octets.count(b"\r\n")
        # However lax the reader is about line ends, the dot that stands alone comes last.
        assert re.split(rb"\r\n|\n|\r", octets)[:-2].count(b".") == 0


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"x"]), st.binary(max_size=5)))
)
def test_a_strict_reader_gets_the_content(chunks):
    decoder = DataDecoder()
    received = decoder.feed(travel(chunks))
    lines = re.split(rb"\r\n|\r|\n", b"".join(chunks))
    if lines[-1] == b"":
        lines.pop()
    assert received == b"".join(line + b"\r\n" for line in lines)
    assert decoder.finished and not decoder.rest and not decoder.bare_cr and not decoder.bare_lf


def test_paths():
    assert outgoing.path(None) == b"<>"
    assert outgoing.path(Address("bob", "b.test")) == b"<bob@b.test>"
    assert outgoing.path(Address('b "o" b', "[IPv6:::1]")) == b'<"b \\"o\\" b"@[IPv6:::1]>'
    assert outgoing.path(Address("a>b", "b.test")) == b'<"a>b"@b.test>'


@pytest.mark.parametrize(
    "address",
    [
        Address("bob\r\nRCPT TO:<x", "b.test"),
        Address("bob\n", "b.test"),
        Address("bob\0", "b.test"),
        Address("bob", "b.test\r\nDATA"),
        Address("bob", "b.test\n"),
        Address("bob", "b.test> SIZE=1"),
        Address("bob", ""),
        Address("b\xf6b", "b.test"),
        Address("bob", "b\xf6b.test"),
    ],
)
def test_what_is_no_path(address):
    with pytest.raises(ValueError):
        outgoing.path(address)
