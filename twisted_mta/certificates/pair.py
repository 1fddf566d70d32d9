"""A certificate with its chain and its key, as they are shown: from two files, or from one that has both."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.internet.ssl import AcceptableCiphers, CertificateOptions

# What is recorded today cannot be read with a key that is stolen later. The last ones are for mail servers of
# before 2015, which would not encrypt at all otherwise (RFC 9325 §4.2, RFC 7435).
CIPHERS = AcceptableCiphers.fromOpenSSLCipherString("ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!AESCCM:!aNULL")

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class NoPair(Exception):
    """The files cannot be used; the text says which one, and why."""

    def __init__(self, text: str, *, key: bool = False) -> None:
        super().__init__(text)
        self.key = key  # whether it is the private key's file that is wrong


@dataclass(frozen=True)
class CertificatePair:
    """`chain` begins with the server's own. `path` names it to people."""

    path: Path
    chain: tuple[x509.Certificate, ...]
    private_key: crypto.PKey

    @classmethod
    def read(cls, certificate: Path, private_key: Path) -> CertificatePair:
        """Both in PEM form; may be the same file. Raises NoPair, also when they do not belong together."""
        try:
            chain = x509.load_pem_x509_certificates(certificate.read_bytes())
        except OSError as error:
            raise NoPair(f"{certificate} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise NoPair(f"{certificate} is not a certificate in PEM form") from error
        try:
            key = crypto.load_privatekey(crypto.FILETYPE_PEM, private_key.read_bytes(), b"")
        except OSError as error:
            raise NoPair(f"{private_key} cannot be read: {error.strerror}", key=True) from error
        except (crypto.Error, ValueError, TypeError) as error:
            text = f"{private_key} is not a private key in PEM form without a passphrase"
            raise NoPair(text, key=True) from error
        pair = cls(certificate, tuple(chain), key)
        try:
            pair.context()
        except SSL.Error as error:
            raise NoPair(f"{private_key} is not the key of {certificate}", key=True) from error
        return pair

    @property
    def certificate(self) -> x509.Certificate:
        """The server's own."""
        return self.chain[0]

    @property
    def expires(self) -> datetime.datetime:
        """In UTC."""
        return self.certificate.not_valid_after_utc

    @property
    def lifetime(self) -> datetime.timedelta:
        """From its begin to its end."""
        return self.expires - self.certificate.not_valid_before_utc

    @property
    def renewal(self) -> datetime.datetime:
        """When two thirds of its time are over."""
        return self.expires - self.lifetime / 3

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What it is for, in lower case; "*.example.org" for whatever stands before that (RFC 9525 §6.3)."""
        try:
            extension = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            found = extension.value.get_values_for_type(x509.DNSName)
        except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
            found = []
        return tuple(dict.fromkeys(name.lower() for name in found))

    @property
    def issuer(self) -> str:
        """Who has signed it, in words for people."""
        issuer = self.certificate.issuer
        if issuer == self.certificate.subject:
            return "itself"
        named = issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        named += issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
        return ", ".join(str(attribute.value) for attribute in named) or issuer.rfc4514_string()

    def context(self) -> SSL.Context:
        """A new one: TLS 1.2 or later, CIPHERS; the keys of its tickets are its own. Clients may name
        protocols (ALPN) as they like: none is chosen, where Twisted would end the handshake. Raises
        SSL.Error."""
        mine, *others = map(crypto.X509.from_cryptography, self.chain)
        options = CertificateOptions(
            privateKey=self.private_key,
            certificate=mine,
            extraCertChain=others,
            acceptableCiphers=CIPHERS,
            enableSessions=True,
            enableSessionTickets=True,
        )
        context: SSL.Context = options.getContext()
        context.set_alpn_select_callback(lambda *_: SSL.NO_OVERLAPPING_PROTOCOLS)
        return context


def new_key(kind: str) -> PrivateKey:
    """`kind`: "ec" (P-256) or "rsa" (2,048 bits; takes a while)."""
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: PrivateKey) -> bytes:
    """As it stands in a file."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
