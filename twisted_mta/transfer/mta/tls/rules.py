"""What the administrator demands of TLS with a domain or a mail server.

Written as `none`, `may`, `encrypt` or `verify`, and optionally the least version: `encrypt TLSv1.3`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from twisted_mta.transfer.mta.tls.level import TlsLevel, TlsVersion

_LEVELS = {
    "none": TlsLevel.CLEAR,
    "may": TlsLevel.MAY,
    "encrypt": TlsLevel.REQUIRED,
    "verify": TlsLevel.VERIFIED,
}
_VERSIONS = {version.value.lower(): version for version in TlsVersion}


@dataclass(frozen=True, slots=True)
class TlsRule:
    """`version` or a newer one."""

    level: TlsLevel
    version: TlsVersion = TlsVersion.TLS_1_2

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError with a sentence."""
        level, *version = text.split() or [""]
        try:
            known = _VERSIONS[version[0].lower()] if version else TlsVersion.TLS_1_2
            if len(version) > 1:
                raise KeyError
            return cls(_LEVELS[level.lower()], known)
        except KeyError:
            raise ValueError(
                f"{text!r} is none of none, may, encrypt, verify, with TLSv1.2 or TLSv1.3 behind it"
            ) from None


OPPORTUNISTIC = TlsRule(TlsLevel.MAY)


def rule_for(rules: Mapping[str, TlsRule], domain: str, host: str) -> TlsRule | None:
    """The most specific one: of the domain, of those above it, of the mail server."""
    if not rules:
        return None
    rule, above = rules.get(domain), domain
    while rule is None and "." in above:
        above = above.partition(".")[2]
        rule = rules.get(f"*.{above}")
    return rules.get(host) if rule is None else rule
