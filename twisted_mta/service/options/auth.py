"""The part of the configuration that says who may log in, and by what they prove it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct
from msgspec.structs import replace

from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.quantities import Domain, DurationOrNever

Service = Literal["smtp", "imap", "pop3", "sieve", "jmap"]

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 §3.3


class OAuth(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose tokens are believed. Either `keys`, a file or an https URL with the JWK set that signs them, and
    `issuer` and `audience`, which they have to name; or `introspection`, an https URL to ask about each, with
    `client_id` and `client_secret_file` to log in there, and `audience` or `scope` to tell ours from those of
    other applications. `account_claim` names the account; `scope`, and `scopes` for single services, is what
    a token has to be good for. `cache`: seconds for which an answer of
    the introspection holds. `authorities`: certificates (PEM) to believe in instead of the system's."""

    issuer: str = ""
    audience: tuple[str, ...] = ()
    keys: str = ""
    introspection: str = ""
    client_id: str = ""
    client_secret_file: str = ""
    account_claim: Annotated[str, Meta(min_length=1)] = "email"
    scope: str = ""
    scopes: dict[Service, str] = {}
    cache: DurationOrNever = DurationOrNever(60)
    authorities: str = ""

    @property
    def enabled(self) -> bool:
        """Whether tokens are taken at all."""
        return bool(self.keys or self.introspection)

    @property
    def keys_file(self) -> str:
        """`keys` when it is a file, else ""."""
        return "" if self.keys.startswith("https://") else self.keys


class Auth(Struct, frozen=True, forbid_unknown_fields=True):
    """`allow_cleartext`: login without TLS, for demos and tests. `scram`: whether SCRAM is offered; "auto":
    once every account has keys for it; "never": none are kept. `client_certificates`: a file with the
    authorities (PEM) whose certificates log in."""

    allow_cleartext: bool = False
    scram: Literal["auto", "always", "never"] = "auto"
    client_certificates: str = ""
    oauth: OAuth = OAuth()

    @property
    def keeps_scram_keys(self) -> bool:
        """Whether a new password leaves keys for SCRAM."""
        return self.scram != "never"

    def files(self) -> dict[str, str]:
        """Every file that is named, by its key."""
        oauth = self.oauth
        named = {
            "auth.client_certificates": self.client_certificates,
            "auth.oauth.keys": oauth.keys_file,
            "auth.oauth.client_secret_file": oauth.client_secret_file,
            "auth.oauth.authorities": oauth.authorities,
        }
        return {key: path for key, path in named.items() if path}

    def absolute(self, resolve: Callable[[str], str]) -> Auth:
        """With the paths that `resolve` makes of those in the file."""
        oauth = self.oauth
        return replace(
            self,
            client_certificates=resolve(self.client_certificates),
            oauth=replace(
                oauth,
                keys=resolve(oauth.keys) if oauth.keys_file else oauth.keys,
                client_secret_file=resolve(oauth.client_secret_file),
                authorities=resolve(oauth.authorities),
            ),
        )


def check_auth(auth: Auth) -> None:
    """Raises ConfigError."""
    oauth = auth.oauth
    if not oauth.enabled:
        if oauth != OAuth():
            raise ConfigError(
                "auth.oauth: neither keys nor introspection; name the JWK set that signs the tokens, or the"
                " URL to ask about them"
            )
        return
    if oauth.keys and oauth.introspection:
        raise ConfigError("auth.oauth: either keys or introspection, not both")
    if oauth.introspection:
        _https("auth.oauth.introspection", oauth.introspection)
        if bool(oauth.client_id) != bool(oauth.client_secret_file):
            raise ConfigError("auth.oauth.client_id: goes together with client_secret_file")
        if not (oauth.audience or oauth.scope):
            raise ConfigError(
                "auth.oauth.audience: missing, and scope, too, so tokens for any other application would open"
                ' mailboxes; write for example audience = ["mail"]'
            )
    else:
        if not oauth.issuer:
            raise ConfigError(
                'auth.oauth.issuer: missing; write for example issuer = "https://id.example.org"'
            )
        if not oauth.audience:
            raise ConfigError(
                'auth.oauth.audience: missing; whom the tokens are made for, such as audience = ["mail"]'
            )
        if not oauth.keys_file:
            _https("auth.oauth.keys", oauth.keys)
    for key, scope in [("scope", oauth.scope), *((f"scopes.{name}", s) for name, s in oauth.scopes.items())]:
        if scope and _SCOPE.fullmatch(scope) is None:
            raise ConfigError(f"auth.oauth.{key}: {scope!r} is not one scope; those have no spaces")


def _https(key: str, url: str) -> None:
    """Raises ConfigError unless it is an https URL with the name of a host."""
    try:
        parts = urlsplit(url)
        host, _ = Domain.read(parts.hostname or ""), parts.port
    except ValueError as error:
        raise ConfigError(f"{key}: expected https://host.example/path, found {url!r}") from error
    if parts.scheme != "https" or "@" in parts.netloc or parts.fragment or not url.isascii() or not host:
        raise ConfigError(f"{key}: expected https://host.example/path, found {url!r}")
