"""What one conversation showed of TLS, in the terms of reports (TLS-RPT, RFC 8460 §4.2 to §4.4).

Result types beside those of `handshake.py`: `starttls-not-supported`, `dnssec-invalid`,
`sts-policy-fetch-error`, `sts-policy-invalid`, `sts-webpki-invalid`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

Kind = Literal["tlsa", "sts", "no-policy-found"]

NO_STARTTLS = "starttls-not-supported"
DNSSEC_INVALID = "dnssec-invalid"
FETCH_ERROR = "sts-policy-fetch-error"
INVALID_POLICY = "sts-policy-invalid"
INVALID_CERTIFICATE = "sts-webpki-invalid"


@dataclass(frozen=True, slots=True)
class ReportedPolicy:
    """Under which policy a conversation was held. strings: the policy, line by line, or the TLSA records. mx:
    the patterns of an MTA-STS policy."""

    kind: Kind
    domain: str
    strings: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What happened: with `result` "" it was a success, and the rest, which is for failures, is empty, too.
    sending and receiving: IP addresses. reason: in words."""

    policy: ReportedPolicy
    result: str = ""
    mx: str = ""
    receiving: str = ""
    sending: str = ""
    reason: str = ""

    def to_json(self) -> str:
        """One text for one finding."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse."""
        values: dict[str, Any] = json.loads(text)
        policy = values.pop("policy")
        of = ReportedPolicy(policy["kind"], policy["domain"], tuple(policy["strings"]), tuple(policy["mx"]))
        return cls(of, **values)
