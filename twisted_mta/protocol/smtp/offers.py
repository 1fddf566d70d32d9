"""What an SMTP server said of itself in its reply to EHLO, as values (RFC 5321 §4.1.1.1, RFC 1870, RFC
9422)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_LIMIT = re.compile(r"(MAILMAX|RCPTMAX|RCPTDOMAINMAX)=([1-9][0-9]{0,5})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limits:
    """The LIMITS extension (RFC 9422 §4); 0 where the server did not say. mails: transactions in a session.
    recipients, domains: recipients, and their different domains, in a transaction."""

    mails: int = 0
    recipients: int = 0
    domains: int = 0


@lru_cache(maxsize=256)  # asked for several times a transaction
def read_limits(parameters: str) -> Limits:
    """What stands behind LIMITS. Unknown and malformed limits are passed over (RFC 9422 §3)."""
    found: dict[str, int] = {}
    for word in parameters.split():
        if (limit := _LIMIT.fullmatch(word)) is not None:
            found.setdefault(limit[1].upper(), int(limit[2]))
    return Limits(found.get("MAILMAX", 0), found.get("RCPTMAX", 0), found.get("RCPTDOMAINMAX", 0))


def read_number(parameter: str) -> int:
    """A count, as behind SIZE (RFC 1870 §4) or DELIVERBY (RFC 2852 §3); 0 when there is none to be read."""
    return int(parameter) if parameter.isascii() and parameter.isdigit() and len(parameter) <= 20 else 0
