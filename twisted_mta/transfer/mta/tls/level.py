"""How much TLS, and of which version: words that the configuration shares with the relay."""

from __future__ import annotations

import enum


class TlsLevel(enum.Enum):
    """CLEAR: not to be used. MAY: opportunistic, given up when it does not work. REQUIRED: with whoever is
    there. VERIFIED: required, and the certificate is checked."""

    CLEAR = "clear"
    MAY = "may"
    REQUIRED = "required"
    VERIFIED = "verified"

    @property
    def binding(self) -> bool:
        """Without TLS nothing may be sent."""
        return self in (TlsLevel.REQUIRED, TlsLevel.VERIFIED)


class TlsVersion(enum.Enum):
    """By name; older ones are not spoken."""

    TLS_1_2 = "TLSv1.2"
    TLS_1_3 = "TLSv1.3"
