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
_LONE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_PLAIN = frozenset({b"7bit", b"8bit", b"binary", b""})
_FIELD = b"Content-Transfer-Encoding: base64\r\n"


class NotKept(ValueError):
    """There is NUL where no encoding can be, such as in a header."""


def encode_binary(data: bytes) -> bytes:
    """The message with what is binary in base64. Takes time and three times the memory. Raises NotKept."""
    if b"\0" not in data and not _LONE.search(data):
        return data
    pieces: list[bytes] = []
    done = 0
    for part in _leaves(scan(data)):
        body = data[part.header_end : part.body_end]
        if part.encoding in _PLAIN and (b"\0" in body or (part.encoding == b"binary" and _LONE.search(body))):
            pieces += [data[done : part.header_start], _declared(data[part.header_start : part.header_end])]
            pieces += _base64(body)
            if part.body_end < len(data):  # what follows a part begins with a line end
                pieces.pop()
            done = part.body_end
    pieces.append(data[done:])
    encoded = b"".join(pieces)
    if b"\0" in encoded:
        raise NotKept
    return encoded


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


def _base64(body: bytes) -> list[bytes]:
    lines = []
    for start in range(0, len(body), _LINE):
        lines.append(binascii.b2a_base64(body[start : start + _LINE], newline=False))
        lines.append(b"\r\n")
    return lines
