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
EXPIRED = datetime.datetime(2021, 1, 1)
CA = x509.BasicConstraints(ca=True, path_length=None)


def _sign(subject, public_key, issuer, issuer_key, *extensions, until=_VALID_UNTIL):
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID_FROM)
        .not_valid_after(until)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(issuer_key, hashes.SHA256())


class Server:
    """A server's key, its certificate and those it sends along. `chain` begins with its own."""

    def __init__(self, key, chain) -> None:
        self.key = key
        self.chain = chain

    @property
    def options(self) -> CertificateOptions:
        """The TLS context."""
        mine, *others = map(crypto.X509.from_cryptography, self.chain)
        return CertificateOptions(
            privateKey=crypto.PKey.from_cryptography_key(self.key), certificate=mine, extraCertChain=others
        )


class Authority:
    """`certificate` is what a client must trust, `own` the same as cryptography has it. Signed by `parent`,
    or by itself."""

    def __init__(self, parent: Authority | None = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        common = "Test Authority" if parent is None else "Test Intermediate"
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
        issuer, issuer_key = (self._name, self._key) if parent is None else (parent._name, parent._key)
        self.own = _sign(self._name, self._key.public_key(), issuer, issuer_key, CA)
        self.certificate = Certificate(crypto.X509.from_cryptography(self.own))

    @functools.cache  # noqa: B019
    def server(self, name: str) -> CertificateOptions:
        """The TLS context of a server of this name."""
        return self.issue(name).options

    def issue(self, name: str, *along: x509.Certificate, until=_VALID_UNTIL) -> Server:
        """A server of this name, that sends `along` behind its certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        return Server(
            key, [_sign(subject, key.public_key(), self._name, self._key, names, until=until), *along]
        )


@functools.cache
def authority() -> Authority:
    """One for all tests."""
    return Authority()
