"""What two processes of one server say to each other, as frames: octets in, frames out; no sockets, no clock.

A frame is the length of all behind it (4 octets, the highest first), its kind (1 octet), the number of the
call that it belongs to (4 octets), and a payload:

    GREETING    whom one is talking to: PROTOCOL with our release, the first frame in either direction
    CALL        the length of a name (1 octet), the name, and the argument
    ANSWER      what came of a call
    REFUSAL     why nothing came of it: reply code, enhanced status and text of a MailError
    AWAY        nothing came of it because this side is about to end: ask again when it is back

Each side numbers its own calls, and answers those of the other in whatever order. Arguments and answers are
MessagePack; what they mean is the affair of who calls.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from twisted_mta import __version__

PROTOCOL = f"twisted_mta {__version__} handover 2".encode()
LONGEST = 16 * 1024 * 1024  # octets of a frame behind its length

_LENGTH = 4
_BEFORE = 5  # octets of a frame behind its length and before its payload


class Kind(enum.IntEnum):
    """See the module."""

    GREETING = 0
    CALL = 1
    ANSWER = 2
    REFUSAL = 3
    AWAY = 4


class Frame(NamedTuple):
    """`number` is that of the call; 0 for a greeting."""

    kind: Kind
    number: int
    payload: bytes


class BadFrame(Exception):
    """No frame of ours, or one that is too long."""


def encode(frame: Frame) -> bytes:
    """As it travels. Raises BadFrame for one that is too long."""
    length = _BEFORE + len(frame.payload)
    if length > LONGEST:
        raise BadFrame(f"{length} octets in one frame")
    return b"%b%b%b%b" % (
        length.to_bytes(_LENGTH, "big"),
        frame.kind.to_bytes(1, "big"),
        frame.number.to_bytes(4, "big"),
        frame.payload,
    )


def call(name: str, argument: bytes) -> bytes:
    """The payload of a call."""
    octets = name.encode("ascii")
    return b"%b%b%b" % (len(octets).to_bytes(1, "big"), octets, argument)


def called(payload: bytes) -> tuple[str, bytes]:
    """Name and argument of a call. Raises BadFrame."""
    end = 1 + payload[0] if payload else 1
    if len(payload) < end or not payload[1:end].isascii():
        raise BadFrame("a call without a name")
    return payload[1:end].decode("ascii"), payload[end:]


class FrameReader:
    """Puts frames together from octets as they come."""

    def __init__(self) -> None:
        self._octets = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now. Raises BadFrame, and is of no more use then."""
        octets, frames, start = self._octets, list[Frame](), 0
        octets += data
        while len(octets) - start >= _LENGTH:
            length = int.from_bytes(octets[start : start + _LENGTH], "big")
            if not _BEFORE <= length <= LONGEST:
                raise BadFrame(f"a frame of {length} octets")
            end = start + _LENGTH + length
            if len(octets) < end:
                break
            frames.append(_frame(octets, start + _LENGTH, end))
            start = end
        del octets[:start]
        return frames


def _frame(octets: bytearray, start: int, end: int) -> Frame:
    try:
        kind = Kind(octets[start])
    except ValueError:
        raise BadFrame(f"a frame of kind {octets[start]}") from None
    number = int.from_bytes(octets[start + 1 : start + _BEFORE], "big")
    with memoryview(octets) as view:
        return Frame(kind, number, bytes(view[start + _BEFORE : end]))
