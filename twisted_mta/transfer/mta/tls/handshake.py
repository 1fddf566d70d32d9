"""One TLS handshake with a mail server, and what is thought of the certificate (RFC 3207, RFC 6125).

OpenSSL checks the chain and tells what it finds; nothing of that ends the handshake. When the handshake is
over, the check that the policy wants looks at the findings, the chain and the name, and if it must be right
and is not, the connection fails as if OpenSSL had refused it, before any octet of SMTP is sent inside. So
every kind of demand (anybody, a name vouched for by authorities, DANE) takes the same way, and what was
wrong can be told even where it is only to be recorded.

Causes are the result types of TLS reports (RFC 8460 §4.3).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from cryptography import x509
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion, platformTrust
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from twisted_mta.transfer.mta.tls.level import TlsVersion
from twisted_mta.wire.client_certificates import UNREADABLE

NAME_MISMATCH = "certificate-host-mismatch"
EXPIRED = "certificate-expired"
NOT_TRUSTED = "certificate-not-trusted"
OTHER = "validation-failure"

_EXPIRY = {10: "the certificate has expired", 9: "the certificate is not valid yet"}  # X509_V_ERR_…


@dataclass(frozen=True, slots=True)
class Peer:
    """What a server has shown. chain: its certificates as it sent them, its own first. errors: what OpenSSL
    found wrong with the chain on the way to an authority: (number, words), most important last."""

    chain: Sequence[x509.Certificate]
    errors: Sequence[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a certificate is not accepted. cause: result type of RFC 8460 §4.3. text: in plain words."""

    cause: str
    text: str


Check = Callable[[Peer], Doubt | None]


def authorities(names: Sequence[str]) -> Check:
    """The chain must lead to an authority, and the certificate be for one of the names (RFC 6125)."""

    def check(peer: Peer) -> Doubt | None:
        for number, words in peer.errors:
            if number in _EXPIRY:
                return Doubt(EXPIRED, _EXPIRY[number])
            return Doubt(NOT_TRUSTED, f"the certificate is not trusted ({words})")
        return named(peer.chain[0], names)

    return check


def named(certificate: x509.Certificate, names: Sequence[str]) -> Doubt | None:
    """Whether a certificate is for one of the names, or IP addresses."""
    for name in names:
        verify = verify_certificate_ip_address if is_address(name) else verify_certificate_hostname
        try:
            verify(certificate, name)
        except (VerificationError, CertificateError, ValueError):  # another name, none, or what is no name
            continue
        return None
    return Doubt(NAME_MISMATCH, f"the certificate is not for {' or '.join(names)}")


@implementer(IOpenSSLClientConnectionCreator)
class Handshake:
    """name: of the server, told to it so that it shows the right certificate. check: what is thought of its
    certificate, None: nothing. enforced: a doubt ends the connection.

    begun: there was a handshake. doubt: what was found, once the handshake is over.
    """

    def __init__(
        self, context: SSL.Context, name: str, *, check: Check | None = None, enforced: bool = False
    ) -> None:
        self._context = context
        self._name = name
        self._check = check
        self._enforced = enforced
        self.begun = False
        self.doubt: Doubt | None = None

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See IOpenSSLClientConnectionCreator."""
        self.begun = True
        connection = _Examined(self._context, self._examine)
        if self._name and not is_address(self._name):
            connection.set_tlsext_host_name(self._name.encode("ascii"))
        return connection

    def _examine(self, peer: Peer) -> str:
        if self._check is not None:
            self.doubt = judged(self._check, peer)
        return self.doubt.text if self.doubt is not None and self._enforced else ""


def judged(check: Check, peer: Peer) -> Doubt | None:
    """What is thought of what a server has shown; that it cannot be read is a doubt, too."""
    if not peer.chain:
        return Doubt(OTHER, "the server shows no certificate that can be read")
    try:
        return check(peer)
    except UNREADABLE:
        return Doubt(OTHER, "the certificate cannot be read")


def readable(certificates: Iterable[crypto.X509]) -> list[x509.Certificate]:
    """Those that can be read; none when the first, the server's own, cannot."""
    chain: list[x509.Certificate] = []
    for certificate in certificates:
        try:
            chain.append(certificate.to_cryptography())
        except UNREADABLE:
            if not chain:
                break
    return chain


class _Examined(SSL.Connection):
    """A connection whose handshake fails when `examine` has something to say of the peer."""

    def __init__(self, context: SSL.Context, examine: Callable[[Peer], str]) -> None:
        super().__init__(context, None)
        self._examine = examine
        self._errors: list[tuple[int, str]] = []
        self.set_verify(SSL.VERIFY_PEER, self._collect)

    def _collect(
        self, connection: SSL.Connection, certificate: crypto.X509, number: int, depth: int, ok: int
    ) -> bool:
        if not ok:
            self._errors.append((number, _words(number)))
        return True

    def do_handshake(self) -> None:
        """Raises SSL.Error."""
        super().do_handshake()
        chain = readable(self.get_peer_cert_chain() or ())
        if refusal := self._examine(Peer(chain, self._errors)):
            raise SSL.Error([("", "", refusal)])


def _words(number: int) -> str:
    return {
        18: "self-signed",
        19: "a self-signed certificate in its chain",
        20: "nobody that we trust has signed it",
        21: "nobody that we trust has signed it",
    }.get(number, f"OpenSSL error {number}")


_VERSIONS = {TlsVersion.TLS_1_2: TLSVersion.TLSv1_2, TlsVersion.TLS_1_3: TLSVersion.TLSv1_3}


class Contexts:
    """TLS settings, by the least version. `trust_root` signs the certificates to believe in; the platform's
    authorities when None."""

    def __init__(self, trust_root: Certificate | None = None) -> None:
        self._trust_root = trust_root
        self.at_least = cache(self._context)

    def _context(self, version: TlsVersion = TlsVersion.TLS_1_2) -> SSL.Context:
        """Settings that speak this version or a newer one."""
        trust = self._trust_root if self._trust_root is not None else platformTrust()
        return CertificateOptions(trustRoot=trust, insecurelyLowerMinimumTo=_VERSIONS[version]).getContext()


@lru_cache(maxsize=1024)
def is_address(name: str) -> bool:
    """Whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
