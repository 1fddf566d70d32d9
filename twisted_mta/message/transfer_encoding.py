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
_LONE_CR = re.compile(rb"=\r(?!\n)")


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
    if b" \r\n" in octets or b"\t\r\n" in octets or b" \n" in octets or b"\t\n" in octets:
        octets = _WHITE_LINE_END.sub(b"", octets)
    if b"=\r" in octets:  # binascii takes a CR alone for a line end, and would drop the line behind it
        octets = _LONE_CR.sub(b"=3D\r", octets)
    return binascii.a2b_qp(octets)
