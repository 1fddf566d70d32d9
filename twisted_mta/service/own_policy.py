"""What others may know of the TLS of ours: the MTA-STS policy for mail to our domains (RFC 8461 §3)."""

from __future__ import annotations

import hashlib

from twisted_mta.service.options.config import Config
from twisted_mta.transfer.mta.tls.mta_sts import StsPolicy


def own_policy(config: Config) -> StsPolicy | None:
    """The same for all our domains; None when there is to be none."""
    options = config.mta_sts
    if not options.mode:
        return None
    return StsPolicy(options.mode, int(options.max_age), tuple(options.mx) or (config.hostname,))


def policy_id(policy: StsPolicy) -> str:
    """The id to publish in the DNS: another one for another policy."""
    return hashlib.sha256(bytes(policy)).hexdigest()[:20]
