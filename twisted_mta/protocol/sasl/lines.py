"""The base64 lines that carry a SASL exchange in SMTP, IMAP, POP3 and ManageSieve (RFC 4648 §4)."""

from __future__ import annotations

import binascii

from twisted_mta.protocol.sasl.error import SaslError

CANCEL = b"*"  # the line that calls an exchange off, in all four protocols

MAX_LINE = 12288  # octets with CRLF of the longest line worth reading: RFC 4954 §4, and a token may be long


def decode(line: bytes) -> bytes:
    """The octets of a base64 line. Raises SaslError for anything but canonical base64: stray characters,
    missing or surplus padding."""
    try:
        octets = binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error:
        raise SaslError("Bad base64") from None
    if encode(octets) != line:  # strict_mode lets non-zero pad bits through
        raise SaslError("Bad base64")
    return octets


def encode(octets: bytes) -> bytes:
    """The base64 line for some octets, without line end; b"" for none."""
    return binascii.b2a_base64(octets, newline=False)
