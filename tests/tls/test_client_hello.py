"""What a client wants, read before its handshake: whole, in pieces, and out of garbage."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.certificates.client_hello import LARGEST, MOST_RECORDS, Hello, NoHello, read_hello


def hello(name: str | None, *protocols: str) -> bytes:
    """A real one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    out = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


@pytest.mark.parametrize(
    ("name", "protocols"),
    [("mx.a.test", ["acme-tls/1"]), ("MX.a.test", ["h2", "http/1.1"]), (None, []), ("a.test", [])],
)
def test_name_and_protocols_as_soon_as_the_last_octet_is_there(name: str, protocols: list[str]) -> None:
    data = hello(name, *protocols)
    for end in range(len(data)):
        assert read_hello(data[:end]) is None
    expected = Hello((name or "").lower(), tuple(each.encode() for each in protocols))
    assert read_hello(data) == expected
    assert read_hello(data + b"more") == expected


def test_in_several_records() -> None:
    data = hello("mx.a.test", "acme-tls/1")
    message = data[5:]
    records = b"".join(
        b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part
        for part in (message[:3], message[3:100], message[100:])
    )
    assert read_hello(records) == read_hello(data)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x15\x03\x01\x00\x02\x01\x00",
        b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00",  # another message
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",  # ends in the middle
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
    ],
)
def test_no_hello(data: bytes) -> None:
    with pytest.raises(NoHello):
        read_hello(data)


REAL = hello("mx.a.test", "acme-tls/1")


@given(st.binary(max_size=200), st.integers(0, 400))
def test_garbage_is_never_more_than_no_hello(garbage: bytes, at: int) -> None:
    for octets in (garbage, b"\x16\x03\x01" + garbage, REAL[:at] + garbage + REAL[at:]):
        try:
            read_hello(octets)
        except NoHello:
            pass


def test_who_drips_records_for_ever_is_told_from_who_begins() -> None:
    record = b"\x16\x03\x01\x40\x00" + b"\x01\x00\x7f\xff".ljust(0x4000, b"\0")
    with pytest.raises(NoHello):
        read_hello(record * (LARGEST // 0x4000 + 1))


def test_so_many_records_at_most() -> None:
    octets = b"\x01\x00\x7f\xf0".ljust(MOST_RECORDS + 1, b"\0")
    records = [b"\x16\x03\x01\x00\x01" + octets[at : at + 1] for at in range(len(octets))]
    assert read_hello(b"".join(records[:-1])) is None
    with pytest.raises(NoHello, match="too many"):
        read_hello(b"".join(records))
