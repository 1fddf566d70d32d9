"""Giving the body of a part a content-transfer-encoding (RFC 2045 §6); `transfer_encoding.py` undoes them."""

from __future__ import annotations

import binascii
from collections.abc import Iterator

from twisted_mta.message.headers import fields

_LINE = 57  # octets that make a line of base64, 76 digits
_LINES = 1000  # in a piece


def naming_encoding(header: bytes, encoding: bytes, more: bytes = b"") -> bytes:
    """A header block that names this Content-Transfer-Encoding and no other, with its empty line; `more` are
    fields to add."""
    kept = [
        header[field.start : field.end]
        for field in fields(header)
        if field.name.lower() != b"content-transfer-encoding"
    ]
    if kept and not kept[-1].endswith(b"\n"):
        kept.append(b"\r\n")
    return b"".join((*kept, more, b"Content-Transfer-Encoding: ", encoding, b"\r\n\r\n"))


def base64_lines(octets: bytes, begin: int, end: int, *, ends_line: bool = False) -> Iterator[bytes]:
    """What stands between these offsets in base64, in small pieces. Lines end in CRLF, the last one only with
    `ends_line`."""
    step = _LINES * _LINE
    for start in range(begin, end, step):
        piece = octets[start : min(start + step, end)]
        lines = [
            binascii.b2a_base64(piece[place : place + _LINE], newline=False)
            for place in range(0, len(piece), _LINE)
        ]
        yield b"\r\n".join(lines)
        if ends_line or start + step < end:
            yield b"\r\n"


def quoted_text(octets: bytes) -> bytes:
    """Text whose lines end in LF as quoted-printable, whose lines end in CRLF."""
    return binascii.b2a_qp(octets, istext=True).replace(b"\n", b"\r\n")
