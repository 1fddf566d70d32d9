"""Who may log in: the one place where every service has credentials checked, with the price for failures.

Each failure is answered late and the third ends the connection, so that guessing over one connection is
slow and guessing over many is visible (RFC 4954 §4 and RFC 5034 §4 advise a limit). All that the peer
learns is "no": an unknown name, a wrong password, a locked account and a forbidden authorization identity
look alike, and cost the same.

A locked login is not told from a wrong password: the password is checked all the same, and for SCRAM the
keys have the right salt, but nobody has the password of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from cryptography.x509 import Certificate
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from twisted_mta.interfaces import IDirectory
from twisted_mta.journey.bus import Journey
from twisted_mta.protocol.sasl.bearer import TokenAdvice
from twisted_mta.protocol.sasl.credentials import (
    CertificateCredentials,
    Credentials,
    FailedProof,
    KeysWanted,
    PasswordCredentials,
    ProvenCredentials,
    TokenCredentials,
)
from twisted_mta.protocol.sasl.offer import Offer
from twisted_mta.protocol.sasl.scram import Keys
from twisted_mta.wire.bans import Bans
from twisted_mta.wire.client_certificates import ClientAuthorities

_LONGEST_NAME = 100  # characters of a login name that the journey keeps


@dataclass(frozen=True, slots=True)
class LoginLimits:
    """`delay` is in seconds and is paid once for the first failure, twice for the second, and so on;
    after `failures` failures on one connection there are no more attempts."""

    delay: float = 1.0
    failures: int = 3


class Vouching(Protocol):
    """Who knows tokens; see `directory.oauth.tokens`. `advice`: what is said of a bad one."""

    advice: TokenAdvice

    async def account(self, token: str, service: str) -> str | None:
        """Whose token it is, when it is good for the service. Raises MailError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginMeans:
    """What the server has for logins besides its directory. None: it has no such thing."""

    tokens: Vouching | None = None
    authorities: ClientAuthorities | None = None
    bans: Bans | None = None


class Channel(Protocol):
    """What `LoginAttempts` needs of a connection."""

    @property
    def peer_host(self) -> str:
        """The client's address."""

    @property
    def secure(self) -> bool:
        """True inside TLS."""

    @property
    def exported(self) -> bytes | None:
        """What binds a login to this connection (RFC 9266 §2)."""

    @property
    def client_certificate(self) -> Certificate | None:
        """What the client has shown in the handshake, whoever made it."""


class LoginAttempts:
    """The login attempts of one connection.

    service: "smtp", "imap", "pop3", "sieve". allow_cleartext: passwords may travel outside TLS.
    """

    def __init__(
        self,
        channel: Channel,
        directory: IDirectory,
        *,
        reactor: IReactorTime,
        journey: Journey,
        service: str,
        allow_cleartext: bool = False,
        limits: LoginLimits = LoginLimits(),
        means: LoginMeans = LoginMeans(),
    ) -> None:
        self._channel = channel
        self._directory = directory
        self._reactor = reactor
        self._journey = journey
        self._service = service
        self._allow_cleartext = allow_cleartext
        self._limits = limits
        self._means = means
        self._failures = 0
        self._certified: tuple[str, ...] | None = None  # by the client's certificate; None: not looked yet

    @property
    def exhausted(self) -> bool:
        """True when the last failure was one too many: answer it, then close the connection."""
        return self._failures >= self._limits.failures

    def offer(self) -> Offer:
        """What this client may log in with now."""
        means, secure = self._means, self._channel.secure
        return Offer(
            private=secure or self._allow_cleartext,
            keys=self._directory.offers_scram(),
            binding=self._channel.exported if secure else None,
            certificate=bool(self._certified_addresses()),
            tokens=means.tokens.advice if means.tokens is not None else None,
        )

    async def keys(self, wanted: KeysWanted) -> Sequence[Keys]:
        """What SCRAM is to be spoken with. What the directory raises goes through."""
        found = await self._directory.scram_keys(wanted.login, wanted.mechanism, self._service)
        if self._barred(wanted.login):
            return [_unprovable(keys) for keys in found]
        return found

    async def check(self, credentials: Credentials) -> str | None:
        """The account's name when the credentials are good; None, after the delay, when they are not.

        What the directory and who knows tokens raise goes through and is no failure.
        """
        account = await self._account(credentials)
        if account is not None and await self._may_act(account, credentials):
            self._succeeded(account, credentials.login)
            return account
        name = credentials.login or credentials.authorization_id
        self._failures += 1
        if self._means.bans is not None:
            self._means.bans.failed(self._service, self._channel.peer_host, name)
        self._journey.tell(
            "login-failed",
            service=self._service,
            peer=self._channel.peer_host,
            login=name[:_LONGEST_NAME],
        )
        await self._pause(self._limits.delay * self._failures)
        return None

    async def _account(self, credentials: Credentials) -> str | None:
        """Whose credentials they are."""
        directory = self._directory
        match credentials:
            case PasswordCredentials(login, password):
                found = await directory.authenticate(login, password, self._channel.peer_host, self._service)
            case ProvenCredentials(mechanism, login, keys):
                found = await directory.account_of_keys(login, mechanism, keys, self._service)
            case TokenCredentials(token) if token and self._means.tokens is not None:
                named = await self._means.tokens.account(token, self._service)
                found = None if named is None else await directory.account_of_login(named)
            case CertificateCredentials():
                found = await self._certified_account(credentials.authorization_id)
            case TokenCredentials() | FailedProof():
                return None
        barred = self._barred(credentials.login) or (found is not None and self._barred(found))
        return None if barred else found

    async def _may_act(self, account: str, credentials: Credentials) -> bool:
        """Nobody may act for somebody else: an authorization identity, and a login name beside a token,
        must name the same account (RFC 4616 §2, RFC 7628 §3.2)."""
        known = {"", account}
        if not isinstance(credentials, TokenCredentials):
            known.add(credentials.login)  # the account was found by it
        for name in {credentials.login, credentials.authorization_id} - known:
            if await self._directory.account_of_login(name) != account:
                return False
        return True

    async def _certified_account(self, wanted: str) -> str | None:
        """The account that the certificate names; with several, the one that is wanted or else the
        first."""
        accounts = [await self._directory.account_of_login(name) for name in self._certified_addresses()]
        chosen = wanted and await self._directory.account_of_login(wanted)
        return next((found for found in accounts if found and chosen in ("", found)), None)

    def _certified_addresses(self) -> tuple[str, ...]:
        if self._means.authorities is None or not self._channel.secure:
            return ()
        if self._certified is None:
            certificate = self._channel.client_certificate
            self._certified = self._means.authorities.addresses(certificate) if certificate else ()
        return self._certified

    def _barred(self, login: str) -> bool:
        bans, peer = self._means.bans, self._channel.peer_host
        return bans is not None and (bans.banned(peer) or bans.locked(login, peer))

    def _succeeded(self, account: str, login: str) -> None:
        if self._means.bans is not None:
            self._means.bans.succeeded(self._channel.peer_host, account, login)
        self._journey.tell("login", service=self._service, peer=self._channel.peer_host, account=account)

    async def _pause(self, seconds: float) -> None:
        over: Deferred[None] = Deferred()
        self._reactor.callLater(seconds, over.callback, None)
        await over


def _unprovable(keys: Keys) -> Keys:
    """Of the same looks, and nobody has the password."""
    return replace(
        keys,
        stored_key=secrets.token_bytes(len(keys.stored_key)),
        server_key=secrets.token_bytes(len(keys.server_key)),
    )
