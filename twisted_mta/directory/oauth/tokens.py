"""Whose token is this? The one question that OAUTHBEARER and XOAUTH2 end in (RFC 7628 §3.2).

Left out on purpose: an end to sessions when their token ends; tokens bound to a key or a certificate (DPoP,
mutual TLS), which no mail program sends.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol

from twisted.logger import Logger

from twisted_mta.directory.oauth.introspection import Introspection, Unanswered
from twisted_mta.directory.oauth.jwt import MAX_TOKEN, BadToken, Claims, check, key_id, verified
from twisted_mta.directory.oauth.key_set import KeySet, KeysUnknown
from twisted_mta.message.status import MailError
from twisted_mta.protocol.sasl.bearer import TokenAdvice

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # b64token of RFC 6750 §2.1


class TokenReader(Protocol):
    """Says what there is to a token."""

    async def claims(self, token: str) -> Claims:
        """Its claims, when it is good now. Raises BadToken; Unanswered or KeysUnknown when nobody can say."""


class SignedTokens:
    """JWTs of one issuer for one of `audience`. `now` is the time of day."""

    def __init__(
        self, keys: KeySet, *, issuer: str, audience: Collection[str], now: Callable[[], float]
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = frozenset(audience)
        self._now = now

    async def claims(self, token: str) -> Claims:
        """See TokenReader."""
        claims = verified(token, await self._keys.keys(key_id(token)))
        check(claims, issuer=self._issuer, audience=self._audience, now=self._now())
        return claims


class AskedTokens:
    """Whatever the issuer says is good. `issuer` and `audience` have to be right where they are
    configured."""

    def __init__(self, introspection: Introspection, *, issuer: str, audience: Collection[str]) -> None:
        self._introspection = introspection
        self._issuer = issuer
        self._audience = frozenset(audience)

    async def claims(self, token: str) -> Claims:
        """See TokenReader."""
        claims = await self._introspection.claims(token)
        if claims is None:
            raise BadToken("the issuer says it is not active")
        if self._issuer and claims.get("iss", self._issuer) != self._issuer:
            raise BadToken("it is of another issuer")
        if self._audience and not set(_words(claims.get("aud"))) & self._audience:
            raise BadToken("it is for somebody else")
        return claims


class Tokens:
    """`account_of` finds the account of a login name, `account_claim` says where a token names it. `scopes`:
    what a token has to be good for, by service; `scope`: for all others, "": anything. `advice`: what is
    said to who has no good token."""

    log = Logger(namespace="twisted_mta.directory")

    def __init__(
        self,
        reader: TokenReader,
        *,
        account_of: Callable[[str], Awaitable[str | None]],
        account_claim: str = "email",
        scope: str = "",
        scopes: Mapping[str, str] | None = None,
        advice: TokenAdvice = TokenAdvice(),
    ) -> None:
        self.advice = advice
        self._reader = reader
        self._account_of = account_of
        self._account_claim = account_claim
        self._scope = scope
        self._scopes = scopes or {}

    async def account(self, token: str, service: str) -> str | None:
        """The account that a token stands for, None when it is not good, or not good for this service (named
        as in `IDirectory.authenticate`). Raises MailError (454) when nobody can say at the moment."""
        if len(token) > MAX_TOKEN or _TOKEN.fullmatch(token) is None:
            return None
        try:
            claims = await self._reader.claims(token)
            self._check_scope(claims, service)
            name = self._name(claims)
        except BadToken as error:
            self.log.info("a token was refused: {error}", error=error)
            return None
        except (Unanswered, KeysUnknown) as error:
            self.log.warn("a token cannot be checked: {error}", error=error)
            raise MailError(
                454, "4.7.0", "Tokens cannot be checked at the moment, try again later"
            ) from error
        return await self._account_of(name)

    def _check_scope(self, claims: Claims, service: str) -> None:
        wanted = self._scopes.get(service, self._scope)
        given = claims.get("scope", claims.get("scp"))  # the second is Microsoft's and Okta's
        if wanted and wanted not in _words(given):
            raise BadToken(f"it is not good for {wanted}")

    def _name(self, claims: Claims) -> str:
        name = claims.get(self._account_claim)
        if not isinstance(name, str) or not name:
            raise BadToken(f"it has no {self._account_claim}")
        if self._account_claim == "email" and claims.get("email_verified", True) not in (True, "true"):
            raise BadToken("its email is what somebody said and nobody has verified")
        return name


def _words(value: object) -> list[str]:
    """A text of words, or a list of them."""
    if isinstance(value, str):
        return value.split(" ")
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []
