"""Certificates for tests: an authority of our own, and what it signs."""

from __future__ import annotations

import datetime
import functools

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import crypto
from twisted.internet.ssl import Certificate, CertificateOptions

_VALID_FROM = datetime.datetime(2020, 1, 1)
_VALID_UNTIL = datetime.datetime(2099, 1, 1)


def _sign(subject, public_key, issuer, issuer_key, *extensions):
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_UNTIL)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


class Authority:
    """`certificate` is what a client must trust."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Authority")])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        own = _sign(self._name, self._key.public_key(), self._name, self._key, constraints)
        self.certificate = Certificate(crypto.X509.from_cryptography(own))

    @functools.cache  # noqa: B019
    def server(self, name: str) -> CertificateOptions:
        """The TLS context of a server of this name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        certificate = _sign(subject, key.public_key(), self._name, self._key, names)
        return CertificateOptions(
            privateKey=crypto.PKey.from_cryptography_key(key),
            certificate=crypto.X509.from_cryptography(certificate),
        )


@functools.cache
def authority() -> Authority:
    """One for all tests."""
    return Authority()
