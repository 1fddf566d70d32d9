"""Asking the issuer about each token (RFC 7662), for tokens that say nothing themselves.

Good answers are remembered for a short while, under a keyed hash, and never beyond the token's end: what
the issuer has withdrawn is good here for that long. Bad ones are not: their sender pays with its own delays.
A token that several connections bring at once is asked about once.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from urllib.parse import quote_plus, urlencode

import msgspec

from twisted_mta.directory.oauth.jwt import Claims
from twisted_mta.https import FetchError, HttpsClient
from twisted_mta.shared_questions import SharedQuestions, TooManyQuestions

MAX_ANSWER = 32 * 1024  # octets
MOST_ASKED = 50  # questions at the same time
MOST_REMEMBERED = 2000


class Unanswered(Exception):
    """The issuer cannot be asked at the moment. Says why."""


@dataclass(frozen=True, slots=True)
class _Answer:
    claims: Claims
    until: float


class Introspection:
    """`client_id` and `client_secret` are our login there, by HTTP Basic, when there is one. `lifetime`:
    seconds for which a good answer holds. `now` is the time of day."""

    def __init__(
        self,
        url: str,
        *,
        https: HttpsClient,
        client_id: str = "",
        client_secret: str = "",
        lifetime: float = 60.0,
        now: Callable[[], float],
    ) -> None:
        self._url = url
        self._https = https
        self._authorization = _basic(client_id, client_secret) if client_id else ""
        self._lifetime = lifetime
        self._now = now
        self._key = secrets.token_bytes(32)
        self._remembered: dict[bytes, _Answer] = {}
        self._questions: SharedQuestions[bytes, Claims | None] = SharedQuestions(MOST_ASKED)

    async def claims(self, token: str) -> Claims | None:
        """What the issuer says of a token; None when it is not, or no longer, good. Raises Unanswered."""
        digest = blake2b(token.encode(), key=self._key, digest_size=32).digest()
        known = self._remembered.get(digest)
        if known is not None and known.until > self._now():
            return known.claims
        self._remembered.pop(digest, None)
        try:
            claims = await self._questions.ask(digest, lambda: self._ask(token))
        except TooManyQuestions as error:
            raise Unanswered(str(error)) from error
        if claims is not None:
            self._remember(digest, claims)
        return claims

    async def _ask(self, token: str) -> Claims | None:
        body = urlencode({"token": token, "token_type_hint": "access_token"}).encode()
        try:
            answer = await self._https.post(
                self._url,
                body,
                "application/x-www-form-urlencoded",
                authorization=self._authorization,
                limit=MAX_ANSWER,
            )
            claims = msgspec.json.decode(answer, type=dict[str, Any])
        except FetchError as error:
            raise Unanswered(str(error)) from error
        except (ValueError, RecursionError) as error:
            raise Unanswered(f"{self._url}: the answer is not a JSON object") from error
        if claims.get("active") is not True:  # §2.2: a boolean
            return None
        return claims

    def _remember(self, digest: bytes, claims: Claims) -> None:
        until, end = self._now() + self._lifetime, claims.get("exp")
        if isinstance(end, int | float):
            until = min(until, end)
        self._remembered.pop(digest, None)
        self._remembered[digest] = _Answer(claims, until)
        if len(self._remembered) > MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]


def _basic(client_id: str, client_secret: str) -> str:
    """RFC 6749 §2.3.1: both are encoded as in forms before they are put together."""
    login = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
    return f"Basic {b64encode(login.encode()).decode('ascii')}"
