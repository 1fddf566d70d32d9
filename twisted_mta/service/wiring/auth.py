"""How people prove who they are, made from the configuration: the tokens of OAuth."""

from __future__ import annotations

import time
from typing import Any

from twisted_mta.directory.oauth.introspection import Introspection
from twisted_mta.directory.oauth.key_set import KeyFile, KeySet, KeyUrl
from twisted_mta.directory.oauth.tokens import AskedTokens, SignedTokens, TokenReader, Tokens
from twisted_mta.https import HttpsClient
from twisted_mta.interfaces import IDirectory, IResolver
from twisted_mta.protocol.sasl.bearer import TokenAdvice
from twisted_mta.service.options.auth import OAuth
from twisted_mta.service.options.named_files import authorities, first_line
from twisted_mta.steady import steady_seconds

PATIENCE = 10.0  # seconds for the issuer to answer: somebody waits to be let in


def build_tokens(
    options: OAuth, *, directory: IDirectory, resolver: IResolver, reactor: Any
) -> Tokens | None:
    """None when no tokens are taken. Raises ConfigError for files that cannot be read."""
    if not options.enabled:
        return None
    https = HttpsClient(
        reactor=reactor,
        resolver=resolver,
        trust_root=authorities("auth.oauth.authorities", options.authorities),
        patience=PATIENCE,
    )
    return Tokens(
        _reader(options, https, reactor),
        account_of=directory.account_of_login,
        account_claim=options.account_claim,
        scope=options.scope,
        scopes={str(service): scope for service, scope in options.scopes.items()},
        advice=TokenAdvice(options.scope, _discovery(options.issuer)),
    )


def _discovery(issuer: str) -> str:
    """Where a client finds out how to get a token (OpenID Connect Discovery §4)."""
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration" if issuer.startswith("https://") else ""


def _reader(options: OAuth, https: HttpsClient, reactor: Any) -> TokenReader:
    if options.introspection:
        secret = options.client_secret_file
        introspection = Introspection(
            options.introspection,
            https=https,
            client_id=options.client_id,
            client_secret=first_line("auth.oauth.client_secret_file", secret) if secret else "",
            lifetime=options.cache,
            now=time.time,
        )
        return AskedTokens(introspection, issuer=options.issuer, audience=options.audience)
    source = (
        KeyFile(options.keys_file, reactor=reactor)
        if options.keys_file
        else KeyUrl(options.keys, https=https)
    )
    keys = KeySet(source, seconds=steady_seconds(reactor))
    return SignedTokens(keys, issuer=options.issuer, audience=options.audience, now=time.time)
