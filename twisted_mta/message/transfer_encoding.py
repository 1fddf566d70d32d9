"""Undoing a content-transfer-encoding (RFC 2045 §6), whatever the octets are like.

Nothing raises. base64: characters outside of the alphabet are passed over (§6.8), missing padding is made
good, and what follows padding is another run of base64, as where two encoded texts were put one behind the
other. quoted-printable: white space at the end of an encoded line is no content (§6.7 (3)), an equals sign
that begins nothing stands for itself.
"""

from __future__ import annotations

import binascii
import re

_IDENTITY = frozenset({b"7bit", b"8bit", b"binary", b""})
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_MAX_RUNS = 10_000  # of base64 in one text; the padding behind the last of them is passed over
_NOT_BASE64 = bytes(octet for octet in range(256) if octet not in _BASE64)
# It begins where a run of white space does, so that no run is looked at more than once.
_WHITE_LINE_END = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n|\Z)")
_PIECE = 256 * 1024  # octets of a large text that are decoded at a time


def decode_transfer(octets: bytes, encoding: bytes) -> bytes | None:
    """The octets without their encoding (in lower case, as `Part.encoding`); None for an unknown one."""
    if encoding in _IDENTITY:
        return octets
    if encoding == b"base64":
        return _decode_base64(octets)
    if encoding == b"quoted-printable":
        return _decode_quoted_printable(octets)
    return None


def _decode_base64(octets: bytes) -> bytes:
    """Up to the first padding in pieces, so that nothing of it is in memory several times."""
    decoded: list[bytes] = []
    held = b""  # digits that are no three octets yet
    position = 0
    while position + _PIECE < len(octets):
        digits = held + octets[position : position + _PIECE].translate(None, _NOT_BASE64)
        if b"=" in digits:
            break
        whole = len(digits) // 4 * 4
        decoded.append(binascii.a2b_base64(digits[:whole]))
        held = digits[whole:]
        position += _PIECE
    rest = held + octets[position:] if position else octets
    decoded.append(_decode_runs(rest))
    return b"".join(decoded)


def _decode_runs(octets: bytes) -> bytes:
    digits = octets.translate(None, _NOT_BASE64).rstrip(b"=")
    if b"=" not in digits:
        return _decode_run(digits)
    runs = digits.split(b"=", _MAX_RUNS)
    runs[-1] = runs[-1].replace(b"=", b"")
    return b"".join(map(_decode_run, runs))


def _decode_run(digits: bytes) -> bytes:
    left = len(digits) % 4
    if left == 1:  # six bits are no octet
        digits = digits[:-1]
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))


def _decode_quoted_printable(octets: bytes) -> bytes:
    """In pieces of whole lines."""
    decoded: list[bytes] = []
    position = 0
    while position < len(octets):
        end = octets.find(b"\n", position + _PIECE) + 1 or len(octets)
        decoded.append(_decode_lines(octets[position:end]))
        position = end
    return b"".join(decoded)


def _decode_lines(octets: bytes) -> bytes:
    if octets.endswith((b" ", b"\t")) or any(end in octets for end in (b" \r\n", b"\t\r\n", b" \n", b"\t\n")):
        octets = _WHITE_LINE_END.sub(b"", octets)
    if b"=\r" in octets:  # binascii takes a CR alone for a line end, and would drop the line behind it
        octets = b"=\r\n".join([some.replace(b"=\r", b"=3D\r") for some in octets.split(b"=\r\n")])
    return binascii.a2b_qp(octets)
