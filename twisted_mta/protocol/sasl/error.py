"""What is wrong with the peer's side of a SASL exchange (RFC 4422 §3)."""

from __future__ import annotations


class SaslError(Exception):
    """The peer's side of the exchange is malformed. The text is fit for the peer's eyes."""


def utf8_text(octets: bytes, what: str) -> str:
    """A login name or password as text. Raises SaslError for NUL and for what is not UTF-8 (RFC 4616
    §2)."""
    if b"\0" in octets:
        raise SaslError(f"NUL in the {what}")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise SaslError(f"The {what} is not UTF-8") from None
