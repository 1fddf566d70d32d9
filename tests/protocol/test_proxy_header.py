"""The PROXY protocol's headers (proxy-protocol.txt §2): whole, by octet, and what must be dropped."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.protocol.proxy import (
    MAX_LINE,
    MAX_REST,
    SIGNATURE,
    NoProxyHeader,
    ProxiedPeer,
    ProxyHeader,
)


def binary(command, family, block, extra=b""):
    size = len(block) + len(extra)
    return SIGNATURE + bytes((command, family)) + size.to_bytes(2) + block + extra


def addresses(source, destination, port, other_port):
    packed = [ipaddress.ip_address(text).packed for text in (source, destination)]
    return b"".join(packed) + port.to_bytes(2) + other_port.to_bytes(2)


FOUR = addresses("192.0.2.7", "198.51.100.1", 56324, 25)
SIX = addresses("2001:db8::7", "2001:db8::1", 56324, 25)
TLVS = b"\x02\x00\x0bexample.org" + b"\x20\x00\x05\x01\0\0\0\0"
GOOD = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", ProxiedPeer("192.0.2.7", 56324)),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", ProxiedPeer("255.255.255.255", 65535)),
    (b"PROXY TCP6 2001:DB8::7 2001:db8::1 0 25\r\n", ProxiedPeer("2001:db8::7", 0)),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", ProxiedPeer("192.0.2.7", 1)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 whatever it says 65535\r\n", None),
    (binary(0x21, 0x11, FOUR), ProxiedPeer("192.0.2.7", 56324)),
    (binary(0x21, 0x11, FOUR, TLVS), ProxiedPeer("192.0.2.7", 56324)),
    (binary(0x21, 0x21, SIX, TLVS), ProxiedPeer("2001:db8::7", 56324)),
    (binary(0x21, 0x21, addresses("::ffff:192.0.2.7", "::1", 9, 25)), ProxiedPeer("192.0.2.7", 9)),
    (binary(0x20, 0x00, b""), None),
    (binary(0x20, 0x11, FOUR), None),  # LOCAL: whatever it says
    (binary(0x20, 0x11, b"short"), None),
    (binary(0x21, 0x00, b""), None),
    (binary(0x21, 0x12, FOUR), None),  # UDP
    (binary(0x21, 0x31, b"/run/a".ljust(216, b"\0")), None),
    (binary(0x21, 0x11, FOUR, b"x" * (MAX_REST - len(FOUR))), ProxiedPeer("192.0.2.7", 56324)),
]
BAD = [
    b"EHLO b.test\r\n",
    b"proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY  TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n",
    b"PROXY TCP4 192.0.2.007 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 2001:db8::1 1 2\r\n",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY UNKNOWN" + b"x" * MAX_LINE,
    b"PROXY UNKNOWN ".ljust(MAX_LINE, b"x") + b"\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",  # a TLS ClientHello
    SIGNATURE + b"\x11\x11\x00\x0c" + FOUR,  # version 1 in the binary form
    SIGNATURE + b"\x22\x11\x00\x0c" + FOUR,  # an unknown command
    binary(0x21, 0x41, FOUR),
    binary(0x21, 0x13, FOUR),
    binary(0x21, 0x11, FOUR[:-1]),
    binary(0x21, 0x21, FOUR),
    binary(0x21, 0x11, b"x" * (MAX_REST + 1)),
]


@pytest.mark.parametrize(("header", "peer"), GOOD)
def test_a_header_is_read_to_its_end_and_no_further(header, peer):
    for rest in (b"", b"EHLO b.test\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n", header):
        whole = ProxyHeader()
        whole.receive(header + rest)
        assert (whole.complete, whole.peer, whole.rest) == (True, peer, rest)
    dripped = ProxyHeader()
    for position in range(len(header)):
        assert not dripped.complete
        dripped.receive(header[position : position + 1])
    assert (dripped.complete, dripped.peer, dripped.rest) == (True, peer, b"")


@pytest.mark.parametrize("octets", BAD)
def test_what_is_no_header_is_dropped_at_once(octets):
    with pytest.raises(NoProxyHeader):
        ProxyHeader().receive(octets)
    dripped = ProxyHeader()
    with pytest.raises(NoProxyHeader):
        for position in range(len(octets)):
            dripped.receive(octets[position : position + 1])
    assert not dripped.complete


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21", SIGNATURE + b"\x20"]),
    st.lists(st.binary(max_size=300), max_size=40),
)
def test_any_octets_end_in_a_header_or_are_dropped_and_little_is_kept(start, pieces):
    header = ProxyHeader()
    try:
        for piece in (start, *pieces):
            header.receive(piece)
            assert len(header._octets) <= MAX_REST + 16
            if header.complete:
                break
    except NoProxyHeader:
        assert not header.complete
