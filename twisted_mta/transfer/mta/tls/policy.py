"""How much TLS a conversation with a mail server needs (RFC 3207, RFC 7435, RFC 8314 §3.3).

Between strangers TLS is opportunistic: used when offered, without asking who is there, given up when it
does not work, since the alternative is no encryption for anybody. Where we log in, it is required, and
the certificate must be right: a password must not go to whoever happens to answer.

Left out on purpose: MTA-STS and DANE; they will decide here, by domain, for what now are strangers.
"""

from __future__ import annotations

import enum
import ipaddress

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, CertificateOptions, optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from twisted_mta.transfer.mta.routing import Host, Route

SUBMISSIONS_PORT = 465  # TLS from the first octet, RFC 8314 §3.3


class TlsLevel(enum.Enum):
    """CLEAR: not to be used. MAY: opportunistic. VERIFIED: required, and the certificate is checked."""

    CLEAR = "clear"
    MAY = "may"
    VERIFIED = "verified"


@implementer(IOpenSSLClientConnectionCreator)
class _Anybody:
    """TLS with whoever is there; the name goes along, so that the right certificate may come back."""

    def __init__(self, context: SSL.Context, name: str) -> None:
        self._context = context
        self._name = name

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if not _is_address(self._name):
            connection.set_tlsext_host_name(self._name.encode("ascii"))
        return connection


class TlsPolicy:
    """`trust_root` signs the certificates to believe in; the platform's authorities when None."""

    def __init__(self, *, trust_root: Certificate | None = None) -> None:
        self._trust_root = trust_root
        self._context: SSL.Context = CertificateOptions(verify=False).getContext()
        self._verified: dict[str, IOpenSSLClientConnectionCreator] = {}  # few: the administrator's hosts

    def level(self, route: Route, host: Host) -> TlsLevel:
        """What a host on this route must offer. On the loopback nobody stands between us and the host, so
        that a local forwarder may take a password with any certificate, or without one."""
        if route.credentials is None or ipaddress.ip_address(host.address).is_loopback:
            return TlsLevel.MAY
        return TlsLevel.VERIFIED

    def creator(self, level: TlsLevel, name: str) -> IOpenSSLClientConnectionCreator:
        """What makes the TLS connection to the host of this name."""
        if level is not TlsLevel.VERIFIED:
            return _Anybody(self._context, name)
        if name not in self._verified:
            self._verified[name] = optionsForClientTLS(name, trustRoot=self._trust_root)
        return self._verified[name]


def from_the_start(route: Route, host: Host) -> bool:
    """True when the greeting itself is inside TLS: the submissions port of a host the administrator named."""
    return not route.may_be_us and host.port == SUBMISSIONS_PORT


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
