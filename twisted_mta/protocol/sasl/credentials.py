"""What comes out of a SASL exchange (RFC 4422 §3).

In all credentials `login` is who the client says it is, and `authorization_id` whom it wants to act as, ""
for itself (RFC 4422 §3.4.1). `refusal`: what the mechanism has to say, in one more challenge, before a "no";
b"" for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from twisted_mta.protocol.sasl.scram import Keys


@dataclass(frozen=True, slots=True)
class PasswordCredentials:
    """A password as it is (RFC 4616 §2, and the commands that take one)."""

    login: str
    password: str = field(repr=False)
    authorization_id: str = ""
    refusal: ClassVar[bytes] = b""


@dataclass(frozen=True, slots=True)
class ProvenCredentials:
    """SCRAM: the client knows the password that `keys`, some of those it was given, come from. `mechanism`
    is without "-PLUS"; `final` is the server's own proof, still to be sent when it is not empty (RFC 5802
    §3)."""

    mechanism: str
    login: str
    keys: Keys
    authorization_id: str = ""
    final: bytes = b""
    refusal: ClassVar[bytes] = b""


@dataclass(frozen=True, slots=True)
class FailedProof:
    """SCRAM: no need to look any further. `refusal`: "e=…" with one of the values of RFC 5802 §7."""

    login: str
    refusal: bytes = b""
    authorization_id: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class TokenCredentials:
    """A token of OAuth, "" when the client only asks what kind is wanted (RFC 7628 §4.3). `login` may be
    empty: the token says who it is."""

    token: str = field(repr=False)
    login: str = ""
    authorization_id: str = ""
    refusal: bytes = b""


@dataclass(frozen=True, slots=True)
class CertificateCredentials:
    """EXTERNAL: whoever the client's certificate names (RFC 4422 appendix A)."""

    authorization_id: str = ""
    login: ClassVar[str] = ""
    refusal: ClassVar[bytes] = b""


Credentials = (
    PasswordCredentials | ProvenCredentials | FailedProof | TokenCredentials | CertificateCredentials
)


@dataclass(frozen=True, slots=True)
class KeysWanted:
    """Not credentials yet, but a question: what is kept for this login name? `mechanism` as in
    ProvenCredentials."""

    mechanism: str
    login: str
    authorization_id: str = ""
