"""What leaves for another server: nothing in it can be taken for a command or a second message.
Acceptance 26."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import EnvelopeRecipient
from twisted_mta.protocol.framing import DataDecoder
from twisted_mta.protocol.smtp import outgoing
from twisted_mta.protocol.smtp.client import ClientEngine
from twisted_mta.protocol.smtp.transaction import Transaction


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
ENDS = [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\n", b"\n\r", b"\r\0\n", b"\0\r\n", b"\r\n\0", b"\r\0\n\0"]


@pytest.mark.parametrize("before", ENDS)
@pytest.mark.parametrize("after", ENDS)
def test_nothing_is_smuggled_out(before, after):
    content = b"Subject: one\r\n\r\nbody" + before + b"." + after + b"MAIL FROM:<x@evil.test>\r\n"
    for cut in range(len(content)):
        octets = travel([content[:cut], content[cut:]])
        assert octets.count(b"\r\n.\r\n") == 1 and octets.endswith(b"\r\n.\r\n")
        assert octets.count(b"\r") == octets.count(b"\n") == octets.count(b"\r\n")
        assert b"\0" not in octets
        # However lax the reader is about line ends, the dot that stands alone comes last.
        assert re.split(rb"\r\n|\n|\r", octets)[:-2].count(b".") == 0


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"x"]), st.binary(max_size=5)))
)
def test_a_strict_reader_gets_the_content(chunks):
    decoder = DataDecoder()
    received = decoder.feed(travel(chunks))
    lines = re.split(rb"\r\n|\r|\n", b"".join(chunks).replace(b"\0", b""))
    if lines[-1] == b"":
        lines.pop()
    assert received == b"".join(line + b"\r\n" for line in lines)
    assert decoder.finished and not decoder.rest and not decoder.bare_cr and not decoder.bare_lf


CHUNKS = st.lists(
    st.one_of(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"x", b""]), st.binary(max_size=5)),
    max_size=20,
)


def read_chunks(octets):
    """What a server makes of BDAT commands: the content, and whether the last was marked (RFC 3030 §2)."""
    content, last = b"", False
    while octets:
        assert not last
        line, _, octets = octets.partition(b"\r\n")
        command = re.fullmatch(rb"BDAT (\d+)( LAST)?", line)
        size, last = int(command[1]), bool(command[2])
        assert len(octets) >= size
        content, octets = content + octets[:size], octets[size:]
    return content, last


@settings(max_examples=200, deadline=None)
@given(CHUNKS, st.booleans())
def test_a_reader_of_chunks_gets_the_content(chunks, as_it_is):
    """Whatever is in it, and wherever it is cut: sizes are exact, and nothing of it is a command."""
    engine = ClientEngine("me.test")
    engine.receive(b"220 x\r\n")
    engine.next_event()
    engine.hello()
    engine.receive(b"250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n")
    engine.next_event()
    recipient = EnvelopeRecipient(Address("bob", "b.test"))
    engine.envelope(Transaction(None, [recipient], 1), now=0.0, reset=False)
    engine.receive(b"250 ok\r\n250 ok\r\n")
    assert engine.next_event().go_ahead
    engine.take_output()
    for piece in (outgoing.binary if as_it_is else outgoing.lines)(chunks):
        engine.send_content(piece, last=False)
    engine.send_content(b"", last=True)
    content, last = read_chunks(engine.take_output())
    assert last
    whole = b"".join(chunks)
    if not as_it_is:
        lines = re.split(rb"\r\n|\r|\n", whole.replace(b"\0", b""))
        whole = b"".join(line + b"\r\n" for line in (lines if lines[-1] else lines[:-1]))
    assert content == whole


def test_internationalised_paths():
    """RFC 6531 §3.3."""
    jürgen = Address("jürgen", "b.test")
    with pytest.raises(ValueError):
        outgoing.path(jürgen)
    assert outgoing.path(jürgen, utf8=True) == f"<{jürgen}>".encode()
    for evil in ("\r\n", "\x85", "\u2028", "\u2029", "\ud800", "\x7f", "\x9f"):
        with pytest.raises(ValueError):
            outgoing.path(Address(f"a{evil}b", "b.test"), utf8=True)
        with pytest.raises(ValueError):
            outgoing.path(Address("a", f"b{evil}.test"), utf8=True)


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
    """Acceptance 28."""
    with pytest.raises(ValueError):
        outgoing.path(address)
