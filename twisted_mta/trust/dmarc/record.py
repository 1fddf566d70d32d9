"""One DMARC record (RFC 7489 §6.3, and the tags psd, np and t of its successor)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from twisted_mta.trust.dkim.tags import TagFault, parse_tags

POLICIES = ("none", "quarantine", "reject")
MOST_ADDRESSES = 10  # of those who want reports

_URI = re.compile(
    r"mailto:([^\s,!;?]+@[^\s,!;?]+)(?:\?[^\s,!;]*)?(?:!([0-9]{1,15})([kmgt])?)?\Z", re.IGNORECASE
)
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_PERCENT = re.compile(r"(?:100|[0-9]{1,2})\Z", re.ASCII)
_FAILURES = re.compile(r"[01ds](?:[ \t]*:[ \t]*[01ds]){0,3}\Z")
_TAG = re.compile(r"[ \t]*[A-Za-z][A-Za-z0-9_]*[ \t]*=")
_VERSION = re.compile(r"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")


@dataclass(frozen=True, slots=True)
class ReportAddress:
    """Who wants reports. `limit`: octets of a mail that are still welcome, 0 for any number."""

    address: str
    limit: int = 0


@dataclass(frozen=True, slots=True)
class DmarcRecord:
    """`policy` is for the domain, `subdomains` and `missing` for those below it that exist or do not;
    `strict_dkim`, `strict_spf`: only the very domain counts; `public_suffix` is y, n or u; `testing`: the
    domain asks for a milder treatment than its policy says; `percent`: of how much mail, and `failures`:
    which of them to report one by one, as it is written."""

    policy: str = "none"
    subdomains: str = "none"
    missing: str = "none"
    strict_dkim: bool = False
    strict_spf: bool = False
    reports: tuple[ReportAddress, ...] = ()
    public_suffix: str = "u"
    testing: bool = False
    percent: int = 100
    failures: str = "0"


def select(texts: Iterable[str]) -> list[str]:
    """Those TXT records that are DMARC's (§6.6.3)."""
    return [text for text in texts if _VERSION.match(text)]


@lru_cache(256)
def parse_record(text: str) -> DmarcRecord | None:
    """A record; None for one that says nothing that can be followed. What is wrong in single tags counts as
    not being there (§6.3)."""
    try:
        tags = parse_tags(";".join(filter(_TAG.match, text.split(";"))))
    except TagFault:
        return None
    reports = tuple(_addresses(tags.get("rua", "")))
    policy = tags.get("p", "").lower()
    if policy not in POLICIES:
        if not reports and "p" in tags:
            return None
        policy = "none"  # somebody wants to know, at least (§6.6.3, step 6)
    subdomains = _policy(tags, "sp", policy)
    return DmarcRecord(
        policy,
        subdomains,
        _policy(tags, "np", subdomains),
        strict_dkim=tags.get("adkim", "r").lower() == "s",
        strict_spf=tags.get("aspf", "r").lower() == "s",
        reports=reports,
        public_suffix=tags.get("psd", "u").lower(),
        # Its successor took pct= away, but for 0, which means the same as t=y there.
        testing=tags.get("t", "n").lower() == "y" or tags.get("pct", "100") == "0",
        percent=_percent(tags.get("pct", "")),
        failures=fo if _FAILURES.match(fo := tags.get("fo", "").lower()) else "0",
    )


def _percent(text: str) -> int:
    return int(text) if _PERCENT.match(text) else 100


def _policy(tags: dict[str, str], name: str, default: str) -> str:
    value = tags.get(name, "").lower()
    return value if value in POLICIES else default


def _addresses(text: str) -> list[ReportAddress]:
    found = (_URI.match(uri.strip()) for uri in text.split(",")[:MOST_ADDRESSES])
    return [
        ReportAddress(unquote(uri[1]), int(uri[2] or 0) * _UNITS[(uri[3] or "").lower()])
        for uri in found
        if uri
    ]
