"""The certificates that are shown, each to who asks for a name of it (SNI, RFC 6066 §3), the first of them to
everybody else.

What listeners hold stays the same object for ever; what it shows is what is newest when a handshake begins.
So nothing that listens is touched when a certificate is renewed, and no session that is under way notices.

The keys that session tickets are sealed with (RFC 5077, RFC 8446 §4.6.1) are OpenSSL's own, made at random
for each context and written nowhere. They are replaced together with the contexts, so that a key that is
stolen opens no more than some hours of what was recorded; a ticket of before costs its client a full
handshake.

Left out on purpose: OCSP stapling (RFC 6066 §8). Let's Encrypt, the authority of most, has ended OCSP in
2025, short lifetimes have taken its place, and neither mail programs nor mail servers ask for it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet.ssl import CertificateOptions

from twisted_mta.certificates.pair import CertificatePair

TICKETS = 12 * 3600.0  # seconds that the keys of session tickets are used


class ShownContext(CertificateOptions):
    """Of all that Twisted asks of such options, only the context: the newest one."""

    def __init__(self, newest: SSL.Context) -> None:
        super().__init__()
        self.newest = newest

    def getContext(self) -> SSL.Context:
        """See IOpenSSLContextFactory: asked for each connection."""
        return self.newest


class ShownCertificates:
    """`pairs`: the first is for clients that ask for no name, or for one that there is no certificate for;
    where two are for the same name, the earlier counts. `client_authorities`: a file with those whose
    certificates clients are asked for where `asking` is used; "": they are not. It is read once, so that
    nothing can go wrong later. Raises OSError, or ValueError when it is no such file."""

    def __init__(self, pairs: Sequence[CertificatePair], *, client_authorities: str = "") -> None:
        self.pairs = tuple(pairs)
        self._authorities: tuple[x509.Certificate, ...] = ()
        if client_authorities:
            self._authorities = tuple(x509.load_pem_x509_certificates(Path(client_authorities).read_bytes()))
        self.context = ShownContext(self._front(()))
        self.asking = ShownContext(self._front(self._authorities)) if self._authorities else self.context

    def show(self, pairs: Sequence[CertificatePair]) -> None:
        """These, from the next handshake on."""
        self.pairs = tuple(pairs)
        self.renew_tickets()

    def renew_tickets(self) -> None:
        """Forget the keys of session tickets; nobody notices but by a full handshake."""
        self.context.newest = self._front(())
        if self.asking is not self.context:
            self.asking.newest = self._front(self._authorities)

    def _front(self, client_authorities: Sequence[x509.Certificate]) -> SSL.Context:
        """The context in which every handshake begins."""
        contexts = [_asking(pair.context(), client_authorities) for pair in self.pairs]
        by_name: dict[str, SSL.Context] = {}
        mark = secrets.token_bytes(16)  # a session is resumed under the same only, whatever was chosen
        for pair, context in zip(self.pairs, contexts, strict=True):
            context.set_session_id(mark)
            for name in pair.names:
                by_name.setdefault(name, context)
        first = contexts[0]

        def choose(connection: SSL.Connection) -> None:
            name = (connection.get_servername() or b"").decode("ascii", "replace").lower().rstrip(".")
            chosen = by_name.get(name) or by_name.get(f"*.{name.partition('.')[2]}")
            if chosen is not None and chosen is not first:
                connection.set_context(chosen)

        first.set_tlsext_servername_callback(choose)
        return first


def _asking(context: SSL.Context, client_authorities: Sequence[x509.Certificate]) -> SSL.Context:
    """Clients are asked for a certificate. Whatever they show, or nothing, is no reason to end the handshake:
    what it is worth is asked at the login."""
    if client_authorities:
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        for each in client_authorities:
            context.add_client_ca(crypto.X509.from_cryptography(each))
    return context
