"""Giving binary parts an encoding that any mail system keeps (RFC 2045 §2.9, §6.8; RFC 3516 §4.4).

A client may append a message whose parts hold any octets. Our files know line ends only, and IMAP's FETCH
BODY no NUL. So a part in which one of these would change goes into base64, and nothing else is touched: the
content stays the same octet by octet.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from twisted_mta.message.headers import fields
from twisted_mta.message.mime import Part, scan

_LINE = 57  # octets that make a line of base64, 76 digits
_PIECE = 1000 * _LINE
_LONE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_PLAIN = frozenset({b"7bit", b"8bit", b"binary", b""})
_FIELD = b"Content-Transfer-Encoding: base64\r\n"


class NotKept(ValueError):
    """There is NUL where no encoding can be, such as in a header."""


def encode_binary(data: bytes) -> bytes:
    """The message with what is binary in base64. Raises NotKept."""
    return b"".join(encoded_pieces(data))


def encoded_pieces(data: bytes) -> Iterator[bytes]:
    """The same in small pieces, for a large message. Raises NotKept, perhaps not before the last piece."""
    done = 0
    if b"\0" in data or _LONE.search(data):
        for part in _leaves(scan(data)):
            if _is_binary(data, part):
                yield from _kept(data, done, part.header_start)
                yield from _kept(
                    declared := _declared(data[part.header_start : part.header_end]), 0, len(declared)
                )
                yield from _base64(data, part.header_end, part.body_end)
                if part.body_end == len(data):  # otherwise what follows begins with a line end
                    yield b"\r\n"
                done = part.body_end
    yield from _kept(data, done, len(data))


def _is_binary(data: bytes, part: Part) -> bool:
    start, end = part.header_end, part.body_end
    if part.encoding not in _PLAIN:
        return False
    return data.find(b"\0", start, end) >= 0 or (
        part.encoding == b"binary" and _LONE.search(data, start, end) is not None
    )


def _kept(data: bytes, start: int, end: int) -> Iterator[bytes]:
    """What stays as it is. Raises NotKept."""
    if data.find(b"\0", start, end) >= 0:
        raise NotKept
    for position in range(start, end, _PIECE):
        yield data[position : min(position + _PIECE, end)]


def _leaves(root: Part) -> Iterator[Part]:
    """All parts without parts, in the order of the message."""
    left = [root]
    while left:
        part = left.pop()
        if part.is_multipart:
            left += reversed(part.children)
        elif part.message is not None:
            left.append(part.message)
        else:
            yield part


def _declared(header: bytes) -> bytes:
    """A header that says base64, with its empty line."""
    kept = [
        header[field.start : field.end]
        for field in fields(header)
        if field.name.lower() != b"content-transfer-encoding"
    ]
    if kept and not kept[-1].endswith(b"\n"):
        kept.append(b"\r\n")
    return b"".join(kept) + _FIELD + b"\r\n"


def _base64(data: bytes, start: int, end: int) -> Iterator[bytes]:
    """In lines, without the last line end."""
    for position in range(start, end, _PIECE):
        piece = data[position : min(position + _PIECE, end)]
        lines = [
            binascii.b2a_base64(piece[at : at + _LINE], newline=False) for at in range(0, len(piece), _LINE)
        ]
        yield (b"\r\n" if position > start else b"") + b"\r\n".join(lines)
