"""The PLAIN mechanism (RFC 4616): `[authzid] NUL authcid NUL passwd` in one message."""

from __future__ import annotations

from twisted_mta.protocol.sasl.credentials import PasswordCredentials
from twisted_mta.protocol.sasl.error import SaslError, utf8_text
from twisted_mta.protocol.sasl.mechanism import ClientFirst


class Plain(ClientFirst):
    """One message from the client."""

    def step(self, response: bytes) -> PasswordCredentials:
        """See Mechanism."""
        parts = response.split(b"\0")
        if len(parts) != 3 or not parts[1] or not parts[2]:
            raise SaslError("Malformed PLAIN message")
        authorization_id = utf8_text(parts[0], "authorization identity")
        login, password = utf8_text(parts[1], "login name"), utf8_text(parts[2], "password")
        return PasswordCredentials(login, password, authorization_id)
