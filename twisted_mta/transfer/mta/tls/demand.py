"""What a conversation with one host must have: how much TLS, whose word that is, and how it is made
certain."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from twisted_mta.transfer.mta.tls.findings import ReportedPolicy
from twisted_mta.transfer.mta.tls.handshake import Handshake


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


@dataclass(frozen=True, slots=True)
class TlsDemand:
    """creator: makes the TLS connection, checks the certificate and remembers what was wrong with it; for one
    conversation. reason: whose demand it is, in plain words, "" where nobody demands anything.
    refused: why this host must not be used at all, or "". status: the enhanced status code of a refusal.
    permanent: waiting would not help, the message must go back.
    key: what a kept connection must have in common with this demand to be used for it.
    policy: under which the conversation counts in reports (TLS-RPT), None: under none.
    """

    level: TlsLevel
    creator: Handshake
    reason: str = ""
    refused: str = ""
    status: str = "4.7.5"
    permanent: bool = False
    key: str = ""
    policy: ReportedPolicy | None = None
