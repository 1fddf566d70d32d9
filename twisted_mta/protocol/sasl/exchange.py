"""One SASL exchange as SMTP, IMAP and POP3 carry it, in base64 lines (RFC 4954, RFC 3501, RFC 5034 §4).

`Exchange` saves each engine the same twenty lines: lines in, encoded challenges or credentials out.
"""

from __future__ import annotations

import binascii

from twisted_mta.protocol.sasl.credentials import PasswordCredentials, SaslError
from twisted_mta.protocol.sasl.mechanism import MECHANISMS, Mechanism

CANCEL = b"*"  # the line that calls an exchange off, in all three protocols

# The longest line worth reading, CRLF not counted: PLAIN with three names or passwords of 1 KiB each.
MAX_LINE = 4 * 1024


class SaslCancelled(SaslError):
    """The peer called the exchange off with `*`."""


def decode(line: bytes) -> bytes:
    """The octets of a base64 line; b"=" stands for an empty initial response (RFC 4954 §4).

    Raises SaslError for anything but canonical base64: stray characters, missing or surplus padding.
    """
    if line == b"=":
        return b""
    try:
        octets = binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error:
        raise SaslError("Bad base64") from None
    if encode(octets) != line:  # strict_mode lets non-zero pad bits through
        raise SaslError("Bad base64")
    return octets


def encode(challenge: bytes) -> bytes:
    """The base64 line for a challenge, without line end; b"" for an empty one."""
    return binascii.b2a_base64(challenge, newline=False)


class Exchange:
    """Drives one mechanism through lines. Its results are the line of the next challenge, without
    the protocol's prefix (`334 `, `+ `), or the credentials."""

    def __init__(self, mechanism: Mechanism) -> None:
        self._mechanism = mechanism

    def start(self, initial: bytes | None) -> bytes | PasswordCredentials:
        """`initial` is the initial response as it stood on the command line, None without one.

        Raises SaslError.
        """
        return self._result(self._mechanism.start(None if initial is None else decode(initial)))

    def respond(self, line: bytes) -> bytes | PasswordCredentials:
        """The peer's next line. Raises SaslCancelled for `*`, SaslError for a malformed one."""
        if line == CANCEL:
            raise SaslCancelled("Authentication cancelled")
        return self._result(self._mechanism.step(decode(line)))

    @staticmethod
    def _result(result: bytes | PasswordCredentials) -> bytes | PasswordCredentials:
        return encode(result) if isinstance(result, bytes) else result


def begin(name: str) -> Exchange | None:
    """An exchange by mechanism name, in whatever case; None when there is no such mechanism."""
    kind = MECHANISMS.get(name.upper())
    return Exchange(kind()) if kind else None
