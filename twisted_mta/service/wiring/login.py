"""What logins may rest on besides the directory, made from the configuration: tokens, certificates, bans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509

from twisted_mta.interfaces import IDirectory, IResolver
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import Config
from twisted_mta.service.wiring.auth import build_tokens
from twisted_mta.wire.bans import Bans
from twisted_mta.wire.client_certificates import ClientAuthorities
from twisted_mta.wire.login import LoginMeans


def build_means(
    config: Config, *, bans: Bans, directory: IDirectory, resolver: IResolver, reactor: Any
) -> LoginMeans:
    """Raises ConfigError for files that cannot be used."""
    return LoginMeans(
        tokens=build_tokens(config.auth.oauth, directory=directory, resolver=resolver, reactor=reactor),
        authorities=client_authorities(config),
        bans=bans,
    )


def client_authorities(config: Config) -> ClientAuthorities | None:
    """None when nobody logs in with a certificate. Raises ConfigError."""
    path = config.auth.client_certificates
    if not path:
        return None
    try:
        return ClientAuthorities(x509.load_pem_x509_certificates(Path(path).read_bytes()))
    except (OSError, ValueError) as error:
        raise ConfigError(f"auth.client_certificates: {path} is not a file of certificates (PEM)") from error
