"""Which mechanisms a server offers to a client now, over its connection as it is (RFC 4422 §3.2).

Strongest first, for the many clients that take the first they know. Nothing is offered where others can
listen, unless that is allowed; SCRAM bound to the connection only where TLS exports something to bind to,
EXTERNAL only to who has shown a certificate that counts, tokens only where somebody vouches for them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from twisted_mta.protocol.sasl.bearer import OAuthBearer, TokenAdvice, XOAuth2
from twisted_mta.protocol.sasl.exchange import Exchange
from twisted_mta.protocol.sasl.external import External
from twisted_mta.protocol.sasl.login import Login
from twisted_mta.protocol.sasl.mechanism import Mechanism
from twisted_mta.protocol.sasl.plain import Plain
from twisted_mta.protocol.sasl.scram import HASHES
from twisted_mta.protocol.sasl.scram_server import ScramServer

_fresh_nonce = partial(secrets.token_urlsafe, 24)


@dataclass(frozen=True, slots=True)
class Offer:
    """`private`: nobody can listen, or it is allowed all the same. `keys`: SCRAM can be spoken with
    everybody. `binding`: what TLS exports (RFC 9266), None without TLS 1.3. `certificate`: the client has
    shown one that names an account. `tokens`: what to say of a bad one; None: there are none. `nonce`:
    makes fresh ones for SCRAM."""

    private: bool
    keys: bool = True
    binding: bytes | None = None
    certificate: bool = False
    tokens: TokenAdvice | None = None
    nonce: Callable[[], str] = _fresh_nonce

    @property
    def names(self) -> tuple[str, ...]:
        """The mechanisms as they are advertised."""
        return tuple(self._mechanisms())

    def begin(self, name: str, *, final_apart: bool = True) -> Exchange | None:
        """An exchange by mechanism name, in whatever case; None when it is not offered. final_apart: see
        Exchange."""
        make = self._mechanisms().get(name.upper())
        return Exchange(make(), final_apart=final_apart) if make else None

    def _mechanisms(self) -> dict[str, Callable[[], Mechanism]]:
        if not self.private:
            return {}
        found: dict[str, Callable[[], Mechanism]] = {}
        if self.certificate:
            found["EXTERNAL"] = External
        if self.keys:
            bound = [f"{name}-PLUS" for name in HASHES] if self.binding is not None else []
            found |= {name: partial(self._scram, name) for name in [*bound, *HASHES]}
        if self.tokens is not None:
            found["OAUTHBEARER"] = partial(OAuthBearer, self.tokens)
            found["XOAUTH2"] = partial(XOAuth2, self.tokens)
        return {**found, "PLAIN": Plain, "LOGIN": Login}

    def _scram(self, name: str) -> ScramServer:
        return ScramServer(name, nonce=self.nonce(), binding=self.binding)
