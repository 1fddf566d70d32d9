"""What a SASL mechanism is to an engine: challenges out, responses in, credentials at the end (RFC 4422 §3).

Sans-I/O. A mechanism object serves one exchange. It never decides whether a password is right: it only
reads the exchange, and the session asks the directory. SASLprep (RFC 4013) is left to the directory too,
which has to prepare the stored and the presented password alike. Security layers are left out on purpose.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from twisted_mta.protocol.sasl.credentials import PasswordCredentials, SaslError
from twisted_mta.protocol.sasl.login import Login
from twisted_mta.protocol.sasl.plain import Plain

__all__ = ["MECHANISMS", "Mechanism", "PasswordCredentials", "SaslError"]


class Mechanism(Protocol):
    """One exchange. `start` is called once, `step` for each response until credentials come out."""

    name: ClassVar[str]

    def start(self, initial: bytes | None) -> bytes | PasswordCredentials:
        """Begin. `initial` is the decoded initial response, b"" when it was empty, None when there was none.

        Returns the next challenge, not yet encoded, or the credentials. Raises SaslError.
        """

    def step(self, response: bytes) -> bytes | PasswordCredentials:
        """Go on with the peer's decoded response to the last challenge. Returns and raises as `start`."""


MECHANISMS: dict[str, type[Mechanism]] = {"PLAIN": Plain, "LOGIN": Login}  # best first, as advertised
