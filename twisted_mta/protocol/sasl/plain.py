"""The PLAIN mechanism (RFC 4616): `[authzid] NUL authcid NUL passwd` in one message."""

from __future__ import annotations

from typing import ClassVar

from twisted_mta.protocol.sasl.credentials import PasswordCredentials, SaslError, utf8_text


class Plain:
    """One message from the client; an empty challenge asks for it when it did not come along."""

    name: ClassVar[str] = "PLAIN"

    def start(self, initial: bytes | None) -> bytes | PasswordCredentials:
        return b"" if initial is None else self.step(initial)

    def step(self, response: bytes) -> PasswordCredentials:
        parts = response.split(b"\0")
        if len(parts) != 3 or not parts[1] or not parts[2]:
            raise SaslError("Malformed PLAIN message")
        authorization_id = utf8_text(parts[0], "authorization identity")
        login, password = utf8_text(parts[1], "login name"), utf8_text(parts[2], "password")
        return PasswordCredentials(login, password, authorization_id)
