"""Packets of the milter protocol: a length of four octets, a letter, and data (libmilter/mfdef.h)."""

from __future__ import annotations

from collections.abc import Iterable

MAX_PACKET = 64 * 1024  # octets with the letter: what libmilter sends and takes unless told otherwise
CHUNK = 65535  # octets of a body in one packet

_LENGTH = 4


class BadPacket(Exception):
    """This cannot be the milter protocol, or not a packet of that kind. Says why."""


def packet(letter: bytes, data: bytes = b"") -> bytes:
    """One packet as it travels."""
    return (len(data) + 1).to_bytes(_LENGTH) + letter + data


def texts(*values: bytes) -> bytes:
    """Strings in a row, each ended by a NUL; one of their own ends a string."""
    return b"".join(value.partition(b"\0")[0] + b"\0" for value in values)


def read_texts(data: bytes) -> list[bytes]:
    """What `texts` has written; the last NUL may be missing."""
    return data.removesuffix(b"\0").split(b"\0") if data else []


def read_number(data: bytes) -> tuple[int, bytes]:
    """A number of 32 bits and what follows it. Raises BadPacket."""
    if len(data) < _LENGTH:
        raise BadPacket("a number is cut short")
    return int.from_bytes(data[:_LENGTH]), data[_LENGTH:]


def numbers(values: Iterable[int]) -> bytes:
    """Numbers of 32 bits in a row."""
    return b"".join(value.to_bytes(_LENGTH) for value in values)


class PacketReader:
    """Octets as they arrive, packets as they are asked for."""

    def __init__(self) -> None:
        self._octets = bytearray()

    def receive(self, data: bytes) -> None:
        """Add octets from the peer."""
        self._octets += data

    @property
    def empty(self) -> bool:
        """Nothing has come that was not asked for yet."""
        return not self._octets

    def next_packet(self) -> tuple[bytes, bytes] | None:
        """The next one's letter and data, or None when more octets are needed. Raises BadPacket."""
        octets = self._octets
        if len(octets) < _LENGTH:
            return None
        length = int.from_bytes(octets[:_LENGTH])
        if not 0 < length <= MAX_PACKET:
            raise BadPacket(f"a packet of {length} octets")
        end = _LENGTH + length
        if len(octets) < end:
            return None
        letter, data = bytes(octets[_LENGTH : _LENGTH + 1]), bytes(octets[_LENGTH + 1 : end])
        del octets[:end]
        return letter, data
