"""TLS-ALPN-01 (RFC 8737): an authority connects to port 443, asks for the protocol "acme-tls/1", and must be
shown a certificate with what it has told us. Everybody else sees the certificate of always.

Only while a challenge is open is a connection looked into before its handshake.
"""

from __future__ import annotations

import datetime
import hashlib
from functools import partial
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_mta.certificates.challenges import Challenges
from twisted_mta.certificates.client_hello import LARGEST, NoHello, read_hello
from twisted_mta.certificates.pair import new_key
from twisted_mta.certificates.self_signed import own_certificate
from twisted_mta.certificates.shown import ShownContext

PROTOCOL = b"acme-tls/1"
MOST_READ = 100  # connections that are looked into at the same time; the others see what they always see
PATIENCE = 10.0  # seconds for a ClientHello, and for the authority's whole look
_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")


def challenge_context(name: str, key_authorization: str) -> SSL.Context:
    """What the authority wants to see of `name` (RFC 8737 §3)."""
    key = new_key("ec")
    digest = hashlib.sha256(key_authorization.encode("ascii")).digest()
    certificate = (
        own_certificate(key, "ACME challenge", [x509.DNSName(name)], datetime.timedelta(days=1))
        .add_extension(x509.UnrecognizedExtension(_ACME_IDENTIFIER, b"\x04\x20" + digest), critical=True)
        .sign(key, hashes.SHA256())
    )
    options = CertificateOptions(
        privateKey=crypto.PKey.from_cryptography_key(key),
        certificate=crypto.X509.from_cryptography(certificate),
    )
    context: SSL.Context = options.getContext()
    context.set_alpn_select_callback(lambda _, __: PROTOCOL)
    return context


@implementer(IProtocolFactory)
class ChallengeAware:
    """In front of `factory`, which is the one for TLS of port 443."""

    noisy = False

    def __init__(self, factory: IProtocolFactory, *, challenges: Challenges, reactor: IReactorTime) -> None:
        self.factory = factory
        self.challenges = challenges
        self.reactor = reactor
        self.reading = 0  # connections, now

    def doStart(self) -> None:
        """See IProtocolFactory."""
        self.factory.doStart()

    def doStop(self) -> None:
        """See IProtocolFactory."""
        self.factory.doStop()

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        """See IProtocolFactory."""
        if self.challenges.contexts and self.reading < MOST_READ:
            return _HelloReader(self, addr)
        built: IProtocol | None = self.factory.buildProtocol(addr)
        return built


class _HelloReader(Protocol):
    """Owns a connection until it is known what its client wants."""

    def __init__(self, owner: ChallengeAware, addr: IAddress) -> None:
        self._owner = owner
        self._addr = addr
        self._data = b""
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._owner.reading += 1
        self._timer = self._owner.reactor.callLater(PATIENCE, self._give_up)

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        try:
            hello = read_hello(self._data)
        except NoHello:
            self._hand_over(self._owner.factory)  # which knows what to say of it
            return
        if hello is None:
            if len(self._data) > 2 * LARGEST:
                self._give_up()
            return
        context = self._owner.challenges.contexts.get(hello.name)
        if PROTOCOL not in hello.protocols or context is None:
            self._hand_over(self._owner.factory)
            return
        silent = Factory.forProtocol(partial(_Silent, self._owner.reactor))
        silent.noisy = False
        self._hand_over(TLSMemoryBIOFactory(ShownContext(context), False, silent))

    def _hand_over(self, factory: IProtocolFactory) -> None:
        self._stop_waiting()
        transport: Any = self.transport
        session = factory.buildProtocol(self._addr)
        if session is None:
            transport.abortConnection()
            return
        transport.protocol = session
        session.makeConnection(transport)
        session.dataReceived(self._data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_waiting()

    def _give_up(self) -> None:
        self._stop_waiting()
        transport: Any = self.transport
        transport.abortConnection()

    def _stop_waiting(self) -> None:
        timer, self._timer = self._timer, None
        if timer is None:
            return
        self._owner.reading -= 1
        if timer.active():
            timer.cancel()


class _Silent(Protocol):
    """The authority leaves as soon as it has seen the certificate; whoever stays is sent away."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._end = self._reactor.callLater(PATIENCE, transport.abortConnection)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._end.active():
            self._end.cancel()
