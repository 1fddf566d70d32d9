"""What a TLS client wants, before it is answered: the name (RFC 6066 §3) and the protocols (RFC 7301 §3.1) of
its ClientHello (RFC 8446 §4.1.2).

OpenSSL tells the protocols only when the certificate has been chosen already, which is too late for
TLS-ALPN-01 (RFC 8737), where they choose it.
"""

from __future__ import annotations

from typing import NamedTuple

LARGEST = 32 * 1024  # octets of a ClientHello that is looked at
MOST_RECORDS = 100  # that it is in: all are looked at again with each octet that comes
_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_ALPN = 16


class Hello(NamedTuple):
    """`name` in lower case, "" when there is none."""

    name: str
    protocols: tuple[bytes, ...]


class NoHello(Exception):
    """That is not how TLS begins, or it is larger than anybody's needs to be."""


def read_hello(data: bytes) -> Hello | None:
    """Of the first octets of a connection; None when there must be more of them. Raises NoHello."""
    message = _message(data)
    if message is None:
        return None
    try:
        return _hello(_Octets(message))
    except IndexError as error:
        raise NoHello("it ends in the middle") from error


def _message(data: bytes) -> bytes | None:
    """The content of the handshake message, put together from the records that it is in."""
    message = b""
    records = 0
    while data:
        records += 1
        if records > MOST_RECORDS:
            raise NoHello("in too many pieces")
        if data[0] != _HANDSHAKE:
            raise NoHello("no handshake")
        size = int.from_bytes(data[3:5], "big")
        message += data[5 : 5 + size]
        if message and message[0] != _CLIENT_HELLO:
            raise NoHello("no ClientHello")
        wanted = 4 + int.from_bytes(message[1:4], "big")
        if wanted > LARGEST or (len(data) >= 5 and not size):
            raise NoHello("larger than it needs to be, or empty")
        if len(message) >= max(wanted, 5):
            return message[4:wanted]
        data = data[5 + size :] if len(data) >= 5 else b""
    return None


class _Octets:
    """Taken from the front; raises IndexError when there are fewer."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __bool__(self) -> bool:
        return bool(self._data)

    def take(self, size: int) -> bytes:
        if len(self._data) < size:
            raise IndexError
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Octets:
        """What stands behind its length, which has `size` octets."""
        return _Octets(self.take(self.number(size)))

    def rest(self) -> bytes:
        return self.take(len(self._data))


def _hello(octets: _Octets) -> Hello:
    octets.take(2 + 32)  # version, random
    octets.vector(1)  # session id
    octets.vector(2)  # cipher suites
    octets.vector(1)  # compression methods
    name, protocols = "", []
    extensions = octets.vector(2) if octets else _Octets(b"")
    while extensions:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME and content:
            names = content.vector(2)
            while names:
                is_host, text = names.number(1) == 0, names.vector(2).rest()
                name = text.decode("ascii", "replace").lower() if is_host else name
        elif kind == _ALPN:
            offered = content.vector(2)
            while offered:
                protocols.append(offered.vector(1).rest())
    return Hello(name, tuple(protocols))
