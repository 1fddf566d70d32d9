"""What comes out of a SASL exchange, and what is wrong with a malformed one (RFC 4422 §3)."""

from __future__ import annotations

from dataclasses import dataclass, field


class SaslError(Exception):
    """The peer's side of the exchange is malformed. The text is fit for the peer's eyes."""


@dataclass(frozen=True, slots=True)
class PasswordCredentials:
    """Who wants in. `authorization_id` is whom the peer wants to act as, "" for "as myself" (RFC 4616 §2)."""

    login: str
    password: str = field(repr=False)
    authorization_id: str = ""


def utf8_text(octets: bytes, what: str) -> str:
    """A login name or password as text. Raises SaslError for NUL and for what is not UTF-8 (RFC 4616 §2)."""
    if b"\0" in octets:
        raise SaslError(f"NUL in the {what}")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise SaslError(f"The {what} is not UTF-8") from None
