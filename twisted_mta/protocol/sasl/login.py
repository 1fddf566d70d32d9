"""The obsolete LOGIN mechanism (draft-murchison-sasl-login-00), which old Outlooks and devices still need.

The draft's limit of 63 characters for the name is not enforced: login names here are full addresses.
"""

from __future__ import annotations

from twisted_mta.protocol.sasl.credentials import PasswordCredentials
from twisted_mta.protocol.sasl.error import SaslError, utf8_text
from twisted_mta.protocol.sasl.mechanism import ClientFirst


class Login(ClientFirst):
    """Two challenges, two answers. An initial response, not foreseen by the draft but sent by many
    clients, is the name."""

    def __init__(self) -> None:
        self._login = ""

    def start(self, initial: bytes | None) -> bytes | PasswordCredentials:
        """See Mechanism."""
        # The draft's own prompts are "User Name" and "Password"; §2.2 allows these, which a
        # widely deployed client insists on.
        return b"Username:" if initial is None else self.step(initial)

    def step(self, response: bytes) -> bytes | PasswordCredentials:
        """See Mechanism."""
        if not self._login:
            self._login = utf8_text(response, "login name")
            if not self._login:
                raise SaslError("Empty login name")
            return b"Password:"
        password = utf8_text(response, "password")
        if not password:
            raise SaslError("Empty password")
        return PasswordCredentials(self._login, password)
