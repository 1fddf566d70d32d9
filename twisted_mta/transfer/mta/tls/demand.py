"""What a conversation with one host must have: how much TLS, whose word that is, and how it is made
certain."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.transfer.mta.tls.findings import ReportedPolicy
from twisted_mta.transfer.mta.tls.handshake import Handshake
from twisted_mta.transfer.mta.tls.level import TlsLevel


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
