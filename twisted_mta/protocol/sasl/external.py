"""The EXTERNAL mechanism (RFC 4422 appendix A): the client has shown a certificate in its TLS handshake."""

from __future__ import annotations

from twisted_mta.protocol.sasl.credentials import CertificateCredentials
from twisted_mta.protocol.sasl.error import utf8_text
from twisted_mta.protocol.sasl.mechanism import ClientFirst


class External(ClientFirst):
    """One message from the client: whom it wants to act as, or nothing for whom the certificate names."""

    def step(self, response: bytes) -> CertificateCredentials:
        """See Mechanism."""
        return CertificateCredentials(utf8_text(response, "authorization identity"))
