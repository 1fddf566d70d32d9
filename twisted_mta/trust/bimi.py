"""BIMI: whether the author's domain has published an indicator, a picture to stand beside its mail
(draft-brand-indicators-for-message-identification §4, §7).

Recorded as a finding for those who show such pictures; nothing is fetched, and nobody's evidence is verified,
so that `policy.authority` is always "none". It is looked for only where DMARC passed and the domain has its
policy enforced. Left out on purpose: selectors other than "default", which a field of the message could name.
"""

from __future__ import annotations

from twisted_mta.interfaces import IResolver
from twisted_mta.resolver import ResolutionError
from twisted_mta.trust.check import Incoming, Verdict
from twisted_mta.trust.dkim.tags import TagFault, parse_tags
from twisted_mta.trust.dmarc.evaluate import DmarcResult
from twisted_mta.trust.finding import Finding

SELECTOR = "default"
_LONGEST_NAME = 253  # octets that the DNS can hold
_MOST_RECORDS = 10


class BimiCheck:
    """A check of content that has nothing against anybody."""

    name = "bimi"
    seconds = 5.0
    otherwise = Verdict()

    def __init__(self, resolver: IResolver) -> None:
        self._resolver = resolver

    async def judge(self, message: Incoming) -> Verdict:
        """See Check."""
        finding = None if message.dmarc is None else await bimi_finding(message.dmarc, self._resolver)
        return Verdict(findings=[] if finding is None else [finding])


async def bimi_finding(dmarc: DmarcResult, resolver: IResolver) -> Finding | None:
    """None where it does not matter. Asks two questions at most; never raises."""
    if not _is_enforced(dmarc):
        return None
    assert dmarc.found is not None
    try:
        for domain in dict.fromkeys((dmarc.author, dmarc.found.organization)):
            texts = await _records(domain, resolver)
            if texts:
                return _judged(domain, texts)
    except ResolutionError as error:
        return Finding("bimi", "temperror", reason=str(error))
    return Finding("bimi", "none")


def _is_enforced(dmarc: DmarcResult) -> bool:
    """§7.1: quarantine or reject, for all of its mail, and for the domains below as well."""
    record = None if dmarc.found is None else dmarc.found.record
    return (
        record is not None
        and dmarc.result == "pass"
        and "none" not in (dmarc.policy, record.policy, record.subdomains)
        and record.percent == 100
        and not record.testing
    )


async def _records(domain: str, resolver: IResolver) -> list[str]:
    name = f"{SELECTOR}._bimi.{domain}"
    found = await resolver.txt(name) if len(name) <= _LONGEST_NAME else None
    texts = found.records if found else ()
    return [text for text in texts[:_MOST_RECORDS] if text.replace(" ", "").lower().startswith("v=bimi1")]


def _judged(domain: str, texts: list[str]) -> Finding:
    properties = {"header.d": domain, "header.selector": SELECTOR}
    if len(texts) > 1:
        return Finding("bimi", "fail", properties, "there are several records")
    try:
        tags = parse_tags(texts[0])
    except TagFault as fault:
        return Finding("bimi", "fail", properties, str(fault))
    location, authority = tags.get("l", ""), tags.get("a", "")
    if not location and not authority:
        return Finding("bimi", "declined", properties)
    if not all(uri.lower().startswith("https://") for uri in (location, authority) if uri):
        return Finding("bimi", "fail", properties, "only https is allowed")
    properties["policy.authority"] = "none"
    properties["policy.indicator-uri"] = location
    return Finding("bimi", "pass", properties)
