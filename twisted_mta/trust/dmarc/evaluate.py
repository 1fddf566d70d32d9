"""Whether a message is its author's domain's own, and what that domain wants otherwise (RFC 7489 §6.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twisted_mta.interfaces import IResolver
from twisted_mta.resolver import ResolutionError
from twisted_mta.trust.dkim.verify import DkimResult
from twisted_mta.trust.dmarc.author import Author
from twisted_mta.trust.dmarc.discovery import Discovered, Undiscovered, discover, organization_of
from twisted_mta.trust.dmarc.look_alike import looks_alike
from twisted_mta.trust.spf.check import SpfResult

_MILDER = {"reject": "quarantine", "quarantine": "none", "none": "none"}


@dataclass(frozen=True, slots=True)
class DmarcResult:
    """`result` is none, pass, fail, temperror or permerror (RFC 7489 §11.2); `policy` is what the domain
    wants done with a failure; `author` the domain of From, "" for none; `found` where the record stands;
    `aligned_dkim` and `aligned_spf` are the domains that answer for the message, each "" for none.
    `deceptive`: it fails for its author's name alone, whatever proves that it is his."""

    result: str
    reason: str = ""
    policy: str = "none"
    author: str = ""
    found: Discovered | None = None
    aligned_dkim: str = ""
    aligned_spf: str = ""
    deceptive: bool = False


async def evaluate(
    of: Author, spf: SpfResult, dkim: Sequence[DkimResult], *, resolver: IResolver
) -> DmarcResult:
    """`spf` is the result for the reverse path, or for the host's name if that was null. Never raises."""
    author = of.domain
    if not author:
        return DmarcResult("permerror", of.fault)
    if looks_alike(author):
        return DmarcResult("fail", f"{author} mixes letters that look alike", author=author, deceptive=True)
    try:
        found = await discover(author, resolver)
        if found.record is None:
            return DmarcResult("none", f"{author} has no policy", author=author, found=found)
        by_dkim = await _aligned_dkim(author, found, dkim, resolver)
        by_spf = await _aligned_spf(author, found, spf, resolver)
        policy = await _policy(author, found, resolver)
    except Undiscovered as error:
        proven = spf.result == "pass" and spf.domain == author
        proven |= any(each.result == "pass" and each.domain == author for each in dkim)
        return DmarcResult("temperror", str(error), "none" if proven else error.policy, author)
    except ResolutionError as error:
        return DmarcResult("temperror", str(error), author=author)
    if by_dkim or by_spf:
        return DmarcResult("pass", "", policy, author, found, by_dkim, by_spf)
    undecided = any(_may_be_aligned(domain, author, found) for domain in _undecided(spf, dkim))
    reason = f"nothing proves that {author} sent it"
    return DmarcResult("temperror" if undecided else "fail", reason, policy, author, found)


def _undecided(spf: SpfResult, dkim: Sequence[DkimResult]) -> list[str]:
    """The domains that might answer for the message, had the DNS said more."""
    domains = [result.domain for result in dkim if result.result == "temperror"]
    return [*domains, spf.domain] if spf.result == "temperror" else domains


def _may_be_aligned(domain: str, author: str, found: Discovered) -> bool:
    """False for domains that prove nothing anyhow: whoever forges a message may bring along a signature of a
    domain that is never answered for. Without a domain nobody knows."""
    common = found.organization
    return not domain or domain in (author, common) or domain.endswith("." + common)


async def _aligned_dkim(
    author: str, found: Discovered, results: Sequence[DkimResult], resolver: IResolver
) -> str:
    assert found.record is not None
    passed = dict.fromkeys(result.domain for result in results if result.result == "pass")
    for domain in sorted(passed, key=lambda domain: domain != author):
        if await _is_aligned(domain, author, found, resolver, strict=found.record.strict_dkim):
            return domain
    return ""


async def _aligned_spf(author: str, found: Discovered, spf: SpfResult, resolver: IResolver) -> str:
    assert found.record is not None
    if spf.result != "pass":
        return ""
    aligned = await _is_aligned(spf.domain, author, found, resolver, strict=found.record.strict_spf)
    return spf.domain if aligned else ""


async def _is_aligned(
    domain: str, author: str, found: Discovered, resolver: IResolver, *, strict: bool
) -> bool:
    """§3.1: the same domain, or, unless strictness is asked for, one of the same organization."""
    if domain == author:
        return True
    if strict:
        return False
    common = found.organization
    if domain != common and not domain.endswith("." + common):
        return False
    return await organization_of(domain, resolver) == common


async def _policy(author: str, found: Discovered, resolver: IResolver) -> str:
    record = found.record
    assert record is not None
    if found.domain == author:
        policy = record.policy
    elif record.missing != record.subdomains and await resolver.mx(author) is None:
        policy = record.missing
    else:
        policy = record.subdomains
    return _MILDER[policy] if record.testing else policy
