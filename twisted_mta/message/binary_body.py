"""Giving binary parts an encoding that any mail system keeps (RFC 2045 §2.9, §6.8; RFC 3516 §4.4).

A client may append a message whose parts hold any octets. Our files know line ends only, and IMAP's FETCH
BODY no NUL. So a part in which one of these would change goes into base64, and nothing else is touched: the
content stays the same octet by octet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from twisted_mta.message.body_encoding import base64_lines, naming_encoding
from twisted_mta.message.mime import Part, scan

_PIECE = 64 * 1024  # octets
_LONE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_PLAIN = frozenset({b"7bit", b"8bit", b"binary", b""})


class NotKept(ValueError):
    """There is NUL where no encoding can be, such as in a header."""


def encoded_pieces(data: bytes) -> Iterator[bytes]:
    """The message with what is binary in base64, in small pieces. Raises NotKept, perhaps not before the last
    piece."""
    done = 0
    if b"\0" in data or _LONE.search(data):
        for part in _leaves(scan(data)):
            if _is_binary(data, part):
                yield from _kept(data, done, part.header_start)
                header = naming_encoding(data[part.header_start : part.header_end], b"base64")
                yield from _kept(header, 0, len(header))
                yield from base64_lines(data, part.header_end, part.body_end)
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
