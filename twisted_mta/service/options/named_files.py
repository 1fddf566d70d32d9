"""Files that the configuration names: a secret in the first line, certificates to believe in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.ssl import Certificate, trustRootFromCertificates

from twisted_mta.service.options.complaint import ConfigError


def first_line(key: str, path: str) -> str:
    """Raises ConfigError, which names the key."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{key}: cannot be read: {error}") from error
    return text.partition("\n")[0].rstrip("\r")


def authorities(key: str, path: str) -> Any:
    """Those in a file, or None for "": the system's. Raises ConfigError, which names the key."""
    if not path:
        return None
    try:
        pem = Path(path).read_bytes()
        end = b"-----END CERTIFICATE-----"
        found = [Certificate.loadPEM(each + end) for each in pem.split(end)[:-1]]
    except Exception as error:
        raise ConfigError(f"{key}: {path} is not a file of certificates: {error}") from error
    if not found:
        raise ConfigError(f"{key}: there is no certificate in {path}")
    return trustRootFromCertificates(found)
