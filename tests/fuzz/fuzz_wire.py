"""What stands around mail: the PROXY header, filters that speak milter, answers of HTTP servers."""

from __future__ import annotations

import ipaddress
import re

from harness import cut, harness, octets, same_however_cut

from twisted_mta.certificates.client_hello import Hello, NoHello, read_hello
from twisted_mta.protocol.http_client import AnswerReader, BadAnswer
from twisted_mta.protocol.milter.client import Agreed, Broken, Decided, MilterClient, Presented, Wanted
from twisted_mta.protocol.milter.options import Actions, Stage
from twisted_mta.protocol.milter.packets import MAX_PACKET
from twisted_mta.protocol.proxy import MAX_REST, NoProxyHeader, ProxyHeader


@harness(
    words=rb"""
        PROXY\_TCP4\_ PROXY\_TCP6\_ PROXY\_UNKNOWN 192.0.2.7\_198.51.100.1\_56324\_443\r\n
        \r\n\r\n\x00\r\nQUIT\n !\x11 !! ::ffff:192.0.2.7 ::1
    """,
    longest=5000,
)
def proxy_header(data):
    """A header, or NoProxyHeader; the same however it is cut; the peer is an address in canonical form;
    not one octet behind the header is eaten, and what has no end is given up."""

    def run(pieces):
        header, fed = ProxyHeader(), 0
        for piece in pieces:
            if header.complete:
                break
            fed += len(piece)
            try:
                header.receive(piece)
            except NoProxyHeader as error:
                return str(error).isprintable()
            if not header.complete:
                assert fed < 16 + MAX_REST
        return header.complete, header.peer, data[fed - len(header.rest) :] if header.complete else b""

    found = same_however_cut(run, data)
    if found is not True and found[1] is not None:
        assert str(ipaddress.ip_address(found[1].host)) == found[1].host and 0 <= found[1].port < 65536


MESSAGE = Presented(
    host=b"mail.far.test",
    address="192.0.2.7",
    helo=b"far.test",
    sender=[b"<ann@far.test>", b"BODY=8BITMIME"],
    recipients=[[b"<bob@here.test>"], [b"<eve@here.test>"]],
    fields=[(b"From", b" ann@far.test"), (b"Subject", b" a\n\tb")],
    macros={Stage.CONNECT: {b"j": b"mx.here.test"}},
)


@harness(
    words=rb"""
        \x00\x00\x00\x01c \x00\x00\x00\x01a
        \x00\x00\x00\x0dO\x00\x00\x00\x06\x00\x00\x01\xff\x00\x00\x00\x00 \x00\x00\x00\x01r
        \x00\x00\x00\x01p \x00\x00\x00\x05h \x00\x00\x00\x09m \x00\x00\x00\x05+<a> \x00\x00\x00\x06y5
        \x00\x00\x00\x01s \x00\x00\x00\x01d
    """
)
def milter_filter(data):
    """Whatever a filter says ends in Broken or one decision, or waits for more; a decision has changes
    only when it is to accept; nothing comes behind the end; the same however it is cut, when it is
    asked before it speaks."""

    def run(pieces):
        engine = MilterClient(Actions(0x1FF))
        events, pieces_left = [], 2
        output = bytearray(engine.take_output())
        for piece in pieces:
            engine.receive(piece)
            while (event := engine.next_event()) is not None:
                assert not (events and isinstance(events[-1], Decided | Broken)), "something behind the end"
                events.append(event)
                match event:
                    case Agreed():
                        engine.begin(MESSAGE)
                    case Wanted() if pieces_left and engine.wants_body:
                        pieces_left -= 1
                        engine.body(b"text\r\n")
                    case Wanted():
                        engine.end()
                    case Decided(action=action, changes=changes):
                        assert not changes or action == "accept"
                    case Broken(why=why):
                        assert why.isprintable() and why.isascii()
            output += engine.take_output()
        return events, bytes(output)

    packets, position = [], 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4])
        end = position + 4 + (size if 0 < size <= MAX_PACKET else 0)
        packets.append(data[position:end])
        position = end
    expected = run(packets)
    for way in (octets, cut):
        assert run(piece for packet in packets for piece in way(packet)) == expected
    run([data])


@harness(
    words=rb"""
        HTTP/1.1\_200\_OK\r\n HTTP/1.0\_204\r\n Content-Length:\_ Transfer-Encoding:\_chunked
        Connection:\_close \r\n\r\n 5\r\nhello\r\n 0\r\n\r\n ffffffff HTTP/1.1\_100\r\n\r\n ;x=y
    """
)
def http_answer(data):
    """An answer of at most the limit, or BadAnswer; the same however it is cut, but for what comes behind
    the end."""

    def run(pieces):
        reader = AnswerReader(1000)
        try:
            for piece in pieces:
                if reader.complete:
                    break
                reader.receive(piece)
            reader.ended()
        except BadAnswer as error:
            return str(error).isprintable()
        assert len(reader.content) <= 1000
        return reader.status, reader.content

    found = same_however_cut(run, data)
    assert found is True or re.fullmatch(r"[1-5]\d\d", str(found[0]))


def vector(size, octets_of):
    """Octets behind their length."""
    return len(octets_of).to_bytes(size) + octets_of


def record(piece):
    """A record of TLS with a piece of a handshake."""
    return b"\x16\x03\x01" + vector(2, piece)


def hello_of(name, protocols):
    """A ClientHello as RFC 8446 §4.1.2 has it, with SNI and ALPN behind an extension that nobody knows."""
    names = vector(2, b"\0" + vector(2, name))
    extensions = b"\x7a\x7a" + vector(2, b"x") + b"\0\0" + vector(2, names)
    extensions += b"\0\x10" + vector(2, vector(2, b"".join(vector(1, one) for one in protocols)))
    body = b"\3\3" + bytes(32) + vector(1, b"id") + vector(2, b"\x13\1") + vector(1, b"\0")
    return b"\1" + vector(3, body + vector(2, extensions))


@harness(
    words=rb"""
        \x16\x03\x01 \x01\x00\x00 \x03\x03 \x00\x00\x00\x09\x00\x07\x00\x00\x04a.bc
        \x00\x10\x00\x05\x00\x03\x02h2 acme-tls/1 \xff\xff
    """,
    longest=1024,
)
def client_hello(data):
    """The first octets of a TLS connection are a ClientHello, or too few of one, or NoHello; what comes
    behind it changes nothing, and no beginning of it is read as another one. One that asks for a name of
    ours is read as it was meant, in however many records it comes."""
    name, _, protocol = data[:200].partition(b"\n")
    if name.isascii() and len(protocol) < 256:
        meant = Hello(name.decode().lower(), (protocol, b"h2"))
        message = hello_of(name, [protocol, b"h2"])
        for size in (len(message), 1 + len(message) // 2, 4 + len(message) // 5):
            pieces = (message[at : at + size] for at in range(0, len(message), size))
            assert read_hello(b"".join(record(piece) for piece in pieces)) == meant
    try:
        found = read_hello(data)
    except NoHello as error:
        assert str(error)
        return
    if not isinstance(found, Hello):
        assert found is None
        return
    assert found.name == found.name.lower() and read_hello(data + b"more") == found
    for end in range(0, min(len(data), 2000), 7):
        try:
            assert read_hello(data[:end]) in (None, found)
        except NoHello:
            raise AssertionError("a beginning is refused whose whole is taken") from None
