"""The PROXY protocol, versions 1 and 2: who the client of a connection is that a proxy has made (haproxy's
proxy-protocol.txt of 2020).

A header stands in front of everything else, TLS too. It is read to its end and no octet further. What a
health check sends (LOCAL), and what the proxy does not know (UNKNOWN, other families), leaves the addresses
of the connection as they are.

Left out on purpose: the TLVs behind the addresses, CRC32C among them; they are skipped. TCP has a checksum,
and who may send the header at all is believed.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from twisted_mta.message.networks import address_of

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
MAX_LINE = 107  # octets of version 1 with CRLF
MAX_REST = 4096  # octets of version 2 behind its fixed part: room for a certificate's name and the like

_FIXED = 16  # octets of version 2 in front of the addresses
_PORT = r"(0|[1-9][0-9]{0,4})"
_IP = r"([0-9A-Fa-f.:]+)"
_LINE = re.compile(rf"PROXY (?:UNKNOWN(?: .*)?|(TCP4|TCP6) {_IP} {_IP} {_PORT} {_PORT})\Z")


class NoProxyHeader(Exception):
    """The connection does not begin with a header, or with a malformed one: it is to be dropped."""


@dataclass(frozen=True, slots=True)
class ProxiedPeer:
    """The client as the proxy sees it: an IP address in its canonical form, and a port."""

    host: str
    port: int


class ProxyHeader:
    """Reads one header. Feed it until `complete`; then `peer` is the client, None for the proxy itself, and
    `rest` what came behind the header."""

    def __init__(self) -> None:
        self._octets = b""
        self.complete = False
        self.peer: ProxiedPeer | None = None
        self.rest = b""

    def receive(self, data: bytes) -> None:
        """Octets from the proxy; not to be called when it is `complete`. Raises NoProxyHeader as soon as they
        can be no header."""
        octets = self._octets = self._octets + data
        if octets[: len(SIGNATURE)] == SIGNATURE[: len(octets)]:
            self._read_binary(octets)
        elif octets[:6] == b"PROXY "[: len(octets)]:
            self._read_line(octets)
        else:
            raise NoProxyHeader("no PROXY header")

    def _end(self, size: int) -> None:
        self.complete = True
        self.rest, self._octets = self._octets[size:], b""

    def _read_line(self, octets: bytes) -> None:
        end = octets.find(b"\r\n", 0, MAX_LINE)
        if end < 0:
            if len(octets) >= MAX_LINE or b"\n" in octets:
                raise NoProxyHeader("PROXY line without an end")
            return
        match = _LINE.match(octets[:end].decode("latin-1"))
        if not match:
            raise NoProxyHeader("malformed PROXY line")
        family, source, destination, port, other_port = match.groups()
        if family is not None:
            _address(destination, family)
            self.peer = ProxiedPeer(_address(source, family), _port(port))
            _port(other_port)
        self._end(end + 2)

    def _read_binary(self, octets: bytes) -> None:
        if len(octets) > len(SIGNATURE) and octets[12] not in (0x20, 0x21):
            raise NoProxyHeader("PROXY version or command that nobody knows")
        if len(octets) < _FIXED:
            return
        family, protocol = octets[13] >> 4, octets[13] & 0x0F
        size = int.from_bytes(octets[14:16])
        if family > 3 or protocol > 2:
            raise NoProxyHeader("PROXY family or protocol that nobody knows")
        if size > MAX_REST:
            raise NoProxyHeader("PROXY header is too long")
        if len(octets) < _FIXED + size:
            return
        if octets[12] == 0x21 and protocol == 1 and family in (1, 2):
            self.peer = _binary_peer(octets[_FIXED : _FIXED + size], 4 if family == 1 else 16)
        self._end(_FIXED + size)


def _binary_peer(block: bytes, width: int) -> ProxiedPeer:
    if len(block) < 2 * width + 4:
        raise NoProxyHeader("PROXY header is too short for its addresses")
    address = str(ipaddress.ip_address(block[:width]))
    return ProxiedPeer(str(address_of(address)), int.from_bytes(block[2 * width : 2 * width + 2]))


def _address(text: str, family: str) -> str:
    address = address_of(text)
    if address is None:
        raise NoProxyHeader("malformed address in a PROXY line")
    if (":" in text) != (family == "TCP6"):  # as it was written: `address` may be of the other one by now
        raise NoProxyHeader("address of the wrong family in a PROXY line")
    return str(address)


def _port(text: str) -> int:
    if int(text) > 65535:
        raise NoProxyHeader("malformed port in a PROXY line")
    return int(text)
