"""OAUTHBEARER (RFC 7628) and XOAUTH2, which Google and Microsoft speak: a token of OAuth instead of a
password.

A token that is no good is answered with a challenge in JSON that says what kind would be (RFC 7628 §3.2.2).

Left out on purpose: to compare `host` and `port` with our own, since a server has many names and stands
behind forwarded ports; OAuth 1.0a (OAUTH10A); channel bindings, for which no mechanism with "-PLUS" is
defined.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from twisted_mta.protocol.sasl.credentials import TokenCredentials
from twisted_mta.protocol.sasl.error import SaslError, utf8_text
from twisted_mta.protocol.sasl.mechanism import ClientFirst
from twisted_mta.protocol.sasl.scram import unescaped

_PAIR = re.compile(rb"([A-Za-z]+)=([\t\n\r\x20-\x7e]*)")
_BEARER = re.compile(rb"(?:bearer +([A-Za-z0-9._~+/-]+=*))?", re.IGNORECASE)  # RFC 6750 §2.1


@dataclass(frozen=True, slots=True)
class TokenAdvice:
    """What a client hears that has no good token: the `scope` to ask for, and the address of the OpenID
    configuration of who gives tokens out, https; "" when there is nothing to say."""

    scope: str = ""
    configuration: str = ""

    def refusal(self, status: str) -> bytes:
        """The JSON text. status: the error, as RFC 6750 §3.1 names it."""
        said = {"status": status, "schemes": "bearer"}
        if self.scope:
            said["scope"] = self.scope
        if self.configuration:
            said["openid-configuration"] = self.configuration
        return json.dumps(said, separators=(",", ":")).encode("ascii")


class OAuthBearer(ClientFirst):
    """One message: a header as GS2 has it, which may name the account, and pairs, of which `auth`
    counts."""

    def __init__(self, advice: TokenAdvice = TokenAdvice()) -> None:
        self._refusal = advice.refusal("invalid_token")

    def step(self, response: bytes) -> TokenCredentials:
        """See Mechanism."""
        header, *fields = _fields(response)
        flag, comma, rest = header.partition(b",")
        authorization, end, after = rest.partition(b",")
        if flag not in (b"n", b"y") or not comma or not end or after:
            raise SaslError("Malformed OAUTHBEARER message")
        if authorization.startswith(b"user="):  # RFC 7628's own example in §4.4
            login, authorization_id = unescaped(authorization[5:]), ""
        elif authorization.startswith(b"a=") or not authorization:
            login, authorization_id = "", unescaped(authorization[2:])
        else:
            raise SaslError("Malformed OAUTHBEARER message")
        found = [pair for pair in map(_PAIR.fullmatch, fields) if pair]
        tokens = [pair[2] for pair in found if pair[1] == b"auth"]
        if len(found) < len(fields) or len(tokens) != 1:
            raise SaslError("Malformed OAUTHBEARER message")
        return TokenCredentials(_token(tokens[0]), login, authorization_id, self._refusal)


class XOAuth2(ClientFirst):
    """One message: the account, and the token as in OAUTHBEARER."""

    def __init__(self, advice: TokenAdvice = TokenAdvice()) -> None:
        self._refusal = advice.refusal("401")  # clients know it as they know HTTP's

    def step(self, response: bytes) -> TokenCredentials:
        """See Mechanism."""
        match _fields(response):
            case [user, auth] if user.startswith(b"user=") and auth.startswith(b"auth="):
                login = utf8_text(user[5:], "login name")
                return TokenCredentials(_token(auth[5:]), login, "", self._refusal)
        raise SaslError("Malformed XOAUTH2 message")


def _fields(response: bytes) -> list[bytes]:
    """What stands before each %x01; one more ends the message."""
    *fields, last, nothing = response.split(b"\1") if response.count(b"\1") > 1 else (b"x", b"x")
    if last or nothing or not fields:
        raise SaslError("Malformed message, its end is missing")
    return fields


def _token(authorization: bytes) -> str:
    """The token of an Authorization header; an empty one asks what is wanted."""
    bearer = _BEARER.fullmatch(authorization)
    if bearer is None:
        raise SaslError("The token is not a bearer token")
    return (bearer[1] or b"").decode("ascii")
